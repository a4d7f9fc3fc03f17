"""One machine's command file, watched: claimed, done, answered, one command at a time.

The folder is looked at again and again, because many of the mounts that are shared with a container tell nobody when
something changes in them.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from daemon.command_file import contract
from daemon.command_file.errors import CommandFolderError, UnacceptableError, UnfinishedError
from daemon.errors import InternalError
from daemon.host.commands import Order, execute, rejected
from daemon.host.inbox import Inbox
from daemon.host.machine import Machine
from daemon.host.telling import Telling
from daemon.log import get_logger
from daemon.tasks import ended, uncancelled

log = get_logger()

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Pace:
    """All in seconds. `interval` is from one result to the next command, so that each result can be read."""

    poll: float = 0.5
    interval: float = 5.0
    grace: float = 2.0
    longest_grace: float = 10.0
    presence: float = 5.0
    limit: float = 1800.0


class Listener:
    def __init__(self, machine: Machine, inbox: Inbox, *, default_branch: str, pace: Pace) -> None:
        self.machine = machine
        self.stopped = False
        self.on_presence: Callable[[], object] = lambda: None
        self._inbox = inbox
        self._default_branch = default_branch
        self._pace = pace
        self._not_before = 0.0
        self._complaint = ""
        self._log = log.bind(machine=machine.name, folder=str(inbox.path))

    async def run(self) -> None:
        """Until it is cancelled. A machine that stops takes its commands along: they wait for its return."""
        try:
            while True:
                await self._while_it_runs()
        finally:
            await _file_work(self._inbox.close)

    async def _while_it_runs(self) -> None:
        reason = await self.machine.stopped()
        self._note_presence(reason)
        if reason:
            await asyncio.sleep(self._pace.presence)
            return
        listening = asyncio.create_task(self._listen())
        try:
            while not listening.done() and not (reason := await self.machine.stopped()):
                await asyncio.wait({listening}, timeout=self._pace.presence)
            self._note_presence(reason)
        finally:
            # whatever is under way has its claim, and goes on under it when the machine is back
            await ended(listening)
        if not listening.cancelled():
            listening.result()

    def _note_presence(self, reason: str | None) -> None:
        if bool(reason) != self.stopped:
            self._log.info("machine has stopped" if reason else "machine is back", reason=reason)
        self.stopped = bool(reason)
        self.on_presence()

    async def _listen(self) -> None:
        while True:
            try:
                await self._turn()
                self._complain("")
            except (CommandFolderError, OSError) as error:
                self._complain(str(error))
            await asyncio.sleep(self._pace.poll)

    def _complain(self, reason: str) -> None:
        """Once for each reason, however often it is met."""
        if reason and reason != self._complaint:
            self._log.error("listening is suspended until the folder can be used", reason=reason)
        elif self._complaint and not reason:
            self._log.info("listening again")
        self._complaint = reason

    async def _turn(self) -> None:
        claim = await _file_work(self._inbox.next)
        if claim is None and asyncio.get_running_loop().time() >= self._not_before:
            claim = await _file_work(self._inbox.claim)
        if claim is not None:
            await self._handle(claim)

    async def _handle(self, claim: str) -> None:
        if not await _file_work(self._inbox.has_result, claim):
            result = await self._result(claim)
            if result:
                await self._report(result)
        await _file_work(self._inbox.forget, claim)
        self._not_before = asyncio.get_running_loop().time() + self._pace.interval

    async def _result(self, claim: str) -> contract.Result | None:
        """None when whoever asked has taken the command back."""
        try:
            request = await self._request(claim)
        except FileNotFoundError:
            return None
        except UnacceptableError as error:
            self._log.warning("command is refused", reason=str(error))
            return rejected(claim, error.request_id, error)
        except (OSError, CommandFolderError):
            raise
        except Exception:  # noqa: BLE001 - a command that ended the listener would be found again by the next one
            self._log.exception("command met a defect")
            return rejected(claim, None, InternalError())
        self._log.info("command begins", command=request.command, claim=claim)
        telling = Telling(request.request_id, self._inbox.tell)
        order = Order(
            claim=claim,
            request=request,
            machine=self.machine,
            watcher=telling,
            default_branch=self._default_branch,
            limit=self._pace.limit,
        )
        async with telling.kept_up():
            result = await execute(order)
        self._log.info("command ends", status=result.status, message=result.message, update_id=result.update_id)
        return result

    async def _request(self, claim: str) -> contract.Request:
        """Raises UnacceptableError when it is wrong, and has not changed for a while or has changed for too long."""
        loop = asyncio.get_running_loop()
        began = settled = loop.time()
        last = None
        while True:
            content = await _file_work(self._inbox.content, claim)
            try:
                return contract.read_request(content)
            except UnfinishedError:
                # by our own clock and by content: the time of the file is whatever its writer says
                settled = settled if content == last else loop.time()
                if loop.time() - settled >= self._pace.grace or loop.time() - began >= self._pace.longest_grace:
                    raise
            last = content
            await asyncio.sleep(self._pace.poll / 4)

    async def _report(self, result: contract.Result) -> None:
        """The work is done and cannot be done again: its result waits for a folder that takes it."""
        while True:
            try:
                await _file_work(self._inbox.report, result)
            except OSError as error:
                self._complain(str(error))
                await asyncio.sleep(self._pace.poll)
            else:
                return


async def listen(listeners: Sequence[Listener]) -> None:
    """Returns when none of the machines runs any more; ends by cancellation otherwise."""
    changed = asyncio.Event()
    for listener in listeners:
        listener.on_presence = changed.set
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(listener.run()) for listener in listeners]
        while not all(listener.stopped for listener in listeners):
            await changed.wait()
            changed.clear()
        for task in tasks:
            task.cancel()


async def _file_work(work: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
    """To its end, whatever happens to the one who waits: nobody else may be in the folder meanwhile."""
    return await uncancelled(asyncio.to_thread(work, *arguments, **more))
