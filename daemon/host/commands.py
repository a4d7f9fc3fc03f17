"""What may be asked for in a command file, and how it is done: by the same client as everybody else's updates."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from daemon.client import Client, NoAnswerError, OutcomeError, Target, TimedOutError, Watcher
from daemon.command_file import contract
from daemon.command_file.errors import UnacceptableError
from daemon.errors import InternalError, RefreshdError
from daemon.host.machine import Machine
from daemon.log import get_logger
from daemon.models import Moment, Update, now
from daemon.states import State

WAITS_FOR_DAEMON = 60.0  # seconds: a machine that has just started syncs its code first
PAUSE = 0.5  # seconds

log = get_logger()


@dataclass(frozen=True, kw_only=True)
class Order:
    """One command that was claimed, with what is needed to do it. `limit` is in seconds."""

    claim: str
    request: contract.Request
    machine: Machine
    watcher: Watcher
    default_branch: str
    limit: float
    started_at: Moment = field(default_factory=now)


Command = Callable[[Order], Awaitable[contract.Result]]


async def update_opencode(order: Order) -> contract.Result:
    """Under the claim as idempotency key: however often it is asked for, the machine does it once.

    Raises RefreshdError.
    """
    order.request.refuse_nonsense()
    async with order.machine.client() as client:
        await _until_it_answers(client)
        update = await client.refresh(
            _target(order), idempotency_key=order.claim, limit=order.limit, watcher=order.watcher
        )
    return _of_update(order, update, "success", _words(update))


COMMANDS: Mapping[str, Command] = {contract.UPDATE: update_opencode}


async def execute(order: Order) -> contract.Result:
    """Whatever happens, it is told."""
    try:
        return await _command(order.request.command)(order)
    except OutcomeError as error:
        return _of_update(order, error.update, "error", str(error), error.detail)
    except RefreshdError as error:
        return rejected(order.claim, order.request.request_id, error, order.started_at)
    except Exception:  # the boundary: the log gets the traceback, the one who waits a result
        log.exception("command met a defect", machine=order.machine.name)
        return rejected(order.claim, order.request.request_id, InternalError(), order.started_at)


def _command(name: str) -> Command:
    if name not in COMMANDS:
        raise UnacceptableError(reason=f"{name[:100]!r} is none of: {', '.join(COMMANDS)}")
    return COMMANDS[name]


def rejected(
    claim: str, request_id: contract.RequestId, error: RefreshdError, started_at: Moment | None = None
) -> contract.Result:
    finished_at = now()
    return contract.Result(
        status="error",
        request_id=request_id,
        message=str(error),
        started_at=started_at or finished_at,
        finished_at=finished_at,
        detail=error.detail or None,
        claim=claim,
    )


def _of_update(
    order: Order, update: Update, status: contract.Status, message: str, detail: str = ""
) -> contract.Result:
    return contract.Result(
        status=status,
        request_id=order.request.request_id,
        message=message,
        started_at=order.started_at,
        finished_at=now(),
        outcome=update.state,
        from_commit=update.from_commit,
        to_commit=update.to_commit,
        update_id=update.id,
        detail=detail or None,
        claim=order.claim,
    )


def _target(order: Order) -> Target:
    if order.request.commit:
        return Target(order.request.commit, "commit", trigger="command_file")
    return Target(order.request.branch or order.default_branch, "branch", trigger="command_file")


def _words(update: Update) -> str:
    to = (update.to_commit or "unknown")[:12]
    if update.state is State.UNCHANGED:
        return f"Already up to date: {to}"
    return f"Update completed: {(update.from_commit or 'unknown')[:12]}..{to}"


async def _until_it_answers(client: Client) -> None:
    """Raises TimedOutError with what stood in the way."""
    reason = ""
    try:
        async with asyncio.timeout(WAITS_FOR_DAEMON):
            while True:
                try:
                    await client.health()
                except NoAnswerError as error:
                    reason = str(error)
                    await asyncio.sleep(PAUSE)
                else:
                    return
    except TimeoutError:
        raise TimedOutError(what=f"the machine ({reason})", seconds=WAITS_FOR_DAEMON) from None
