"""Doing things to machines: recorded before they begin, one at a time for each machine, and ended by what is true."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from daemon.client import NoAnswerError, RefusedError, Watcher
from daemon.control.database import Operations
from daemon.control.errors import ActionUnsupportedError, MachineStoppedError, NoTargetError
from daemon.control.fleet import Fleet
from daemon.control.models import Activity, MachineState, MachineView, Operation, RefreshResult
from daemon.control.providers import BringsGitToken, MachineProvider, RefreshesCode
from daemon.control.providers.asking import PATIENCE, UNSUPPORTED, client_of, roll_back_by
from daemon.errors import InternalError, RefreshdError
from daemon.log import get_logger
from daemon.models import Entry, Update
from daemon.refs import parse_ref
from daemon.tasks import ended

RENEW_EVERY = 3  # times within a lease
ANSWERS_WITHIN = 180.0  # seconds, for the daemon of a machine that was started
ASK_AGAIN = 0.3  # seconds
LOOKS_FOR_AN_END = 10
LAST = "last"
NEWEST = 50  # updates of a machine, among which one is looked for

_DOWN = frozenset({MachineState.STOPPED, MachineState.ARCHIVED, MachineState.FAILED})

log = get_logger()


class Operator:
    """`ended` is told of each operation that this control plane has brought to its end."""

    def __init__(
        self,
        fleet: Fleet,
        operations: Operations,
        *,
        lease_seconds: float,
        ended: Callable[[Operation], None] = lambda _: None,
    ) -> None:
        self._fleet = fleet
        self._operations = operations
        self._ended = ended
        self._renew_every = lease_seconds / RENEW_EVERY
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self, machine: str, activity: Activity, *, by: str, target_ref: str = "") -> Operation:
        """Returns when it is recorded; it goes on by itself, whatever happens to the caller.

        A refresh without a target goes to the control plane's own commit; the target of a rollback is an update's id.
        Raises MachineNotFoundError, ActionUnsupportedError, MachineStoppedError, OperationRunningError, NoTargetError,
        InvalidRefError.
        """
        view = self._fleet.get(machine)
        if not view.supports_activity(activity):
            raise ActionUnsupportedError(action=activity.value, machine=machine, kind=view.kind)
        if activity in {Activity.REFRESH, Activity.ROLLBACK} and view.state in _DOWN:
            raise MachineStoppedError(action=activity.value, machine=machine, state=view.state)
        target = self._target(activity, target_ref)
        operation = await self._operations.begin(machine, activity, by=by, target_ref=target)
        log.info("operation begins", operation=operation.id, machine=machine, activity=activity.value, by=by)
        self._start(operation, self._work(operation))
        await self._fleet.refresh_views()
        return operation

    async def refresh_code(self, machine: str, *, by: str, target_ref: str = "") -> RefreshResult:
        """To its end. That a machine does not support it, or is stopped, is an answer here and no error."""
        try:
            operation = await self.begin(machine, Activity.REFRESH, by=by, target_ref=target_ref)
        except ActionUnsupportedError:
            return UNSUPPORTED
        except MachineStoppedError as error:
            return RefreshResult(success=False, outcome="stopped", message=str(error))
        return await self.wait(operation)

    async def wait(self, operation: Operation) -> RefreshResult:
        """What it came to. Where this control plane ends before it does, another one finds out."""
        if task := self._tasks.get(operation.id):
            await asyncio.wait({task})
        ended = await self._operations.get(operation.id)
        return ended.result or _unknown("the control plane is leaving; look at the machine again")

    async def take_over(self) -> None:
        """Finishes what a control plane that died has left: no machine stays busy in the books for ever."""
        for operation in await self._operations.take_over():
            log.warning("operation is taken over", operation=operation.id, machine=operation.machine)
            self._start(operation, self._look_back(operation))

    async def stop(self) -> None:
        """Lets go of what is under way. Its machines go on, and whoever holds the database next looks after it."""
        await ended(*self._tasks.values())

    def _target(self, activity: Activity, target_ref: str) -> str:
        match activity:
            case Activity.REFRESH:
                if not (target_ref or self._fleet.os_sha):
                    raise NoTargetError
                return parse_ref(target_ref or self._fleet.os_sha).requested
            case Activity.ROLLBACK:
                return target_ref or LAST
            case _:
                return ""

    def _start(self, operation: Operation, work: Awaitable[RefreshResult]) -> None:
        task = asyncio.create_task(self._run(operation, work), name=f"operation {operation.id}")
        self._tasks[operation.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(operation.id, None))

    async def _run(self, operation: Operation, work: Awaitable[RefreshResult]) -> None:
        working = asyncio.ensure_future(_answered(work))
        keeping = asyncio.create_task(self._keep(operation))
        try:
            await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                log.warning("operation was taken over by another control plane", operation=operation.id)
                return
            await self._finish(operation, working.result())
        except asyncio.CancelledError:
            await asyncio.shield(self._operations.let_go(operation.id))
            raise
        finally:
            await ended(working, keeping)

    async def _keep(self, operation: Operation) -> None:
        """Returns when the operation is not ours any more. A database that is away for a moment is no loss."""
        while True:
            await asyncio.sleep(self._renew_every)
            try:
                if not await self._operations.renew(operation.id):
                    return
            except Exception:  # the driver's errors are many, and the next renewal decides
                log.exception("lease was not renewed", operation=operation.id)

    async def _finish(self, operation: Operation, result: RefreshResult) -> None:
        """The machine is looked at first: who reads that it ended sees what it is now."""
        if operation.activity is Activity.DELETE and result.success:
            ours = await self._operations.finish(operation.id, result)
            await self._fleet.forget(operation.machine)
        else:
            await self._fleet.look_again(operation.machine)
            ours = await self._operations.finish(operation.id, result)
            await self._fleet.refresh_views()
        if ours:
            self._ended(await self._operations.get(operation.id))
        outcome = {"success": result.success, "outcome": result.outcome, "commit": result.to_commit}
        log.info("operation ends", operation=operation.id, machine=operation.machine, **outcome)

    async def _work(self, operation: Operation) -> RefreshResult:
        match operation.activity:
            case Activity.REFRESH | Activity.ROLLBACK:
                return await self._while_it_runs(operation.machine, self._update(operation))
            case Activity.RESTART:
                return await self._restart(operation.machine)
            case _:
                provider, found = self._fleet.provided(operation.machine)
                await _simple(provider)[operation.activity](found.ref)
                return RefreshResult(success=True, outcome="done", message=f"{operation.activity.value} is done")

    async def _update(self, operation: Operation) -> RefreshResult:
        provider, found = self._fleet.provided(operation.machine)
        watcher = _Steps(self._operations, self._fleet, operation)
        try:
            if operation.activity is Activity.REFRESH and isinstance(provider, RefreshesCode):
                return await provider.refresh_code(found.ref, operation.target_ref, key=operation.id, watcher=watcher)
            preview = await provider.preview_url(found.ref)
            if preview is None:
                return UNSUPPORTED
            token = await provider.git_token() if isinstance(provider, BringsGitToken) else None
            return await roll_back_by(preview, operation.target_ref, key=operation.id, watcher=watcher, git_token=token)
        finally:
            await watcher.close()

    async def _while_it_runs(self, machine: str, work: Awaitable[RefreshResult]) -> RefreshResult:
        """A machine that was stopped or killed meanwhile will not answer, and nobody has to wait for it."""
        working = asyncio.ensure_future(work)
        stopped = asyncio.create_task(self._fleet.until(machine, _is_down))
        try:
            await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if working.done() and not await self._has_stopped(machine, working.result()):
                return working.result()
            message = "the machine stopped during the update; when it starts, it finishes it or goes back by itself"
            return RefreshResult(success=False, outcome="stopped", message=message)
        finally:
            await ended(working, stopped)

    async def _has_stopped(self, machine: str, result: RefreshResult) -> bool:
        """Why it does not answer, where it does not. A connection breaks before its provider knows of the end."""
        if result.outcome != "unreachable":
            return False
        for _ in range(LOOKS_FOR_AN_END):
            if _is_down(await self._fleet.look_again(machine)):
                return True
            await asyncio.sleep(ASK_AGAIN)
        return False

    async def _restart(self, machine: str) -> RefreshResult:
        provider, found = self._fleet.provided(machine)
        view = self._fleet.get(machine)
        old_boot = view.version.boot_id if view.version else None
        await provider.restart(found.ref)
        if view.version is None:
            return RefreshResult(success=True, outcome="done", message="the machine was restarted")
        return await self._answers_again(machine, old_boot)

    async def _answers_again(self, machine: str, old_boot: str | None) -> RefreshResult:
        def answers(view: MachineView | None) -> bool:
            return bool(view and view.reachable and view.version and view.version.boot_id != old_boot)

        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                await self._fleet.look_again(machine)
                await self._fleet.until(machine, answers)
        except TimeoutError:
            message = f"the machine was restarted, and its daemon did not answer within {ANSWERS_WITHIN:g} s"
            return RefreshResult(success=False, outcome="timed_out", message=message)
        return RefreshResult(success=True, outcome="done", message="the machine was restarted, and its daemon answers")

    async def _look_back(self, operation: Operation) -> RefreshResult:
        """How an operation ended, or ends, that somebody else has begun. It is never begun a second time."""
        view = await self._fleet.look_again(operation.machine)
        if operation.activity not in {Activity.REFRESH, Activity.ROLLBACK} or view is None:
            state = view.state.value if view else "gone"
            return _unknown(f"the control plane died meanwhile; the machine is {state}")
        return await self._while_it_runs(operation.machine, self._join(operation))

    async def _join(self, operation: Operation) -> RefreshResult:
        """Under the same key an update is joined, also when it has ended; one that never began must not begin now."""
        updates = await self._updates(operation.machine)
        if not any(update.request.idempotency_key == operation.id for update in updates):
            return _unknown("the control plane died before the machine knew of it; nothing was asked for")
        give_up = asyncio.get_running_loop().time() + PATIENCE
        while True:
            result = await self._update(operation)
            if result.outcome != "unreachable" or asyncio.get_running_loop().time() > give_up:
                return result
            await asyncio.sleep(ASK_AGAIN)

    async def _updates(self, machine: str) -> Sequence[Update]:
        """Patiently: the update itself may be restarting the daemon. Raises NoAnswerError at the bound."""
        give_up = asyncio.get_running_loop().time() + PATIENCE
        while True:
            preview = await self._fleet.preview(machine)
            if preview is None:
                return ()
            try:
                async with client_of(preview) as client:
                    return await client.updates(NEWEST)
            except NoAnswerError:
                if asyncio.get_running_loop().time() > give_up:
                    raise
                await asyncio.sleep(ASK_AGAIN)


class _Steps(Watcher):
    """Records how far an update is, for everybody who looks. Steps that come too fast to be written are skipped."""

    def __init__(self, operations: Operations, fleet: Fleet, operation: Operation) -> None:
        self._operations = operations
        self._fleet = fleet
        self._operation = operation
        self._latest: Entry | None = None
        self._writing: asyncio.Task[None] | None = None

    def entry(self, entry: Entry) -> None:
        self._latest = entry
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def close(self) -> None:
        if self._writing:
            await asyncio.wait({self._writing})

    async def _write(self) -> None:
        written = None
        while self._latest is not None and self._latest.state is not written:
            written = self._latest.state
            await self._operations.reached(self._operation.id, written)
            await self._fleet.refresh_views()


async def _answered(work: Awaitable[RefreshResult]) -> RefreshResult:
    """Whatever happens is a result: an operation must end."""
    try:
        return await work
    except (NoAnswerError, RefusedError) as error:
        return RefreshResult(success=False, outcome="unreachable", message=str(error), log=error.detail)
    except RefreshdError as error:
        return RefreshResult(success=False, outcome=error.code, message=str(error), log=error.detail)
    except Exception:  # a defect of ours must not leave the machine busy
        log.exception("operation met a defect")
        return RefreshResult(success=False, outcome=InternalError.code, message=str(InternalError()))


def _simple(provider: MachineProvider) -> Mapping[Activity, Callable[[str], Awaitable[None]]]:
    return {
        Activity.START: provider.start,
        Activity.STOP: provider.stop,
        Activity.ARCHIVE: provider.archive,
        Activity.DELETE: provider.delete,
    }


def _is_down(view: MachineView | None) -> bool:
    return view is None or view.state in _DOWN


def _unknown(message: str) -> RefreshResult:
    return RefreshResult(success=False, outcome="unknown", message=message)
