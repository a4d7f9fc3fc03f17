"""What changes on a page that somebody looks at, as server-sent events of ready-made HTML."""

from collections.abc import AsyncGenerator, Callable
from itertools import count

from daemon.control.console.views import said
from daemon.control.fleet import Fleet
from daemon.control.models import Activity, MachineView, Operation
from daemon.states import State
from daemon.triggers.server_event import ServerEvent

RETRY = 1000  # milliseconds until a browser comes back

_UPDATES = frozenset({Activity.REFRESH, Activity.ROLLBACK})
_RESTARTED = frozenset({State.RESTARTING, State.VERIFYING})


async def list_events(
    fleet: Fleet, row: Callable[[MachineView], str], *, resumed: bool
) -> AsyncGenerator[ServerEvent, None]:
    """A row for each machine that has changed, and `fleet` where the list itself has: the page asks for it then.

    `resumed`: the browser has been away and may have missed something.
    """
    numbers = count(1)
    with fleet.changes.subscribed() as reader:
        listed = {view.id for view in fleet.machines()}
        yield ServerEvent("all", "fleet" if resumed else "hello", str(next(numbers)), RETRY)
        async for changed in reader.batches():
            current = {view.id: view for view in fleet.machines()}
            if current.keys() != listed:
                listed = set(current)
                yield ServerEvent("all", "fleet", str(next(numbers)))
                continue
            for machine in changed:
                if view := current.get(machine):
                    yield ServerEvent(row(view), f"row-{machine}", str(next(numbers)))


async def machine_events(
    fleet: Fleet, machine: str, status: Callable[[MachineView], str], toast: Callable[[str, str], str]
) -> AsyncGenerator[ServerEvent, None]:
    """`status` at once and at each change, a `toast` for what a person waits for, `ended` when history has grown."""
    with fleet.changes.subscribed() as reader:
        view = fleet.get(machine)
        news = News(view)
        yield ServerEvent(status(view), "status", "1", RETRY)
        async for changed in reader.batches():
            if machine not in changed:
                continue
            found = {view.id: view for view in fleet.machines()}.get(machine)
            if found is None:
                yield ServerEvent(toast("This machine is not there any more.", "warn"), "toast")
                return
            yield ServerEvent(status(found), "status")
            for text, tone in news.of(found):
                yield ServerEvent(toast(text, tone), "toast")
            if news.ended:
                yield ServerEvent("ended", "ended")


class News:
    """What to tell somebody who waits: that the new code is in place, and then what was confirmed."""

    def __init__(self, view: MachineView) -> None:
        self._told_restart: str | None = None
        self._last = view.last_operation.id if view.last_operation else None
        self.ended = False

    def of(self, view: MachineView) -> list[tuple[str, str]]:
        told = []
        last = view.last_operation
        self.ended = last is not None and last.id != self._last
        operation = view.operation or (last if self.ended else None)
        if operation and self._is_restarting(operation):
            self._told_restart = operation.id
            told.append(("Code updated, daemon restarting…", "busy"))
        if last and self.ended:
            self._last = last.id
            told.append((said(last), "good" if last.result and last.result.success else "bad"))
        return told

    def _is_restarting(self, operation: Operation) -> bool:
        """Also when it went too fast to be seen."""
        if operation.activity not in _UPDATES or operation.id == self._told_restart:
            return False
        succeeded = bool(operation.result and operation.result.outcome == "succeeded")
        return succeeded or (operation.running and operation.step in _RESTARTED)
