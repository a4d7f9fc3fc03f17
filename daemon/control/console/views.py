"""What a page shows of a machine: values that a template only has to print. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from daemon.control.console.texts import DOING, OUTCOME_TONES, STEPS, Mark, code_mark, outcome_mark, state_mark, took
from daemon.control.models import Activity, Fact, MachineState, MachineView, Operation, ShellCommand
from daemon.models import Update
from daemon.states import State

COMMIT_DIGITS = 40
_STARTABLE = frozenset({MachineState.STOPPED, MachineState.ARCHIVED, MachineState.FAILED})
_UPDATES = frozenset({Activity.REFRESH, Activity.ROLLBACK})


class Row(NamedTuple):
    """One line of the list. `words` is what the filter looks at, `key` a part of an element's id."""

    view: MachineView
    state: Mark
    code: Mark
    words: str
    key: str


def row(view: MachineView) -> Row:
    state, code = state_mark(view), code_mark(view)
    sha = view.version.running.sha if view.version else None
    words = " ".join((view.name, view.kind, state.text, code.text, sha or "")).lower()
    return Row(view, state, code, words, view.id.replace(".", "-"))


def summary(views: Sequence[MachineView]) -> str:
    behind = sum(view.update_available is True for view in views)
    away = sum(bool(view.problem) for view in views)
    parts = [f"{len(views)} machine{'' if len(views) == 1 else 's'}"]
    parts += [f"{behind} with an update available"] if behind else []
    parts += [f"{away} not reachable"] if away else []
    return ", ".join(parts)


class StepLine(NamedTuple):
    label: str
    tone: str
    mark: str
    current: bool


class Outcome(NamedTuple):
    """How the last operation ended. `retry` is the target to try again, None where that makes no sense."""

    title: str
    tone: str
    message: str
    log: str
    at: datetime
    by: str
    retry: str | None


class Choice(NamedTuple):
    activity: Activity
    label: str
    tone: str = ""
    confirm: str = ""


@dataclass(frozen=True, kw_only=True)
class MachinePage:
    view: MachineView
    facts: Sequence[Fact] = ()
    commands: Sequence[ShellCommand] = ()
    provider_problem: str = ""

    @property
    def state(self) -> Mark:
        return state_mark(self.view)

    @property
    def code(self) -> Mark:
        return code_mark(self.view)

    @property
    def edits(self) -> str:
        dirty = self.view.version.dirty if self.view.version else None
        return "unknown" if dirty is None else ("yes, they are kept" if dirty else "none")

    @property
    def refreshable(self) -> bool:
        return self.view.supports_activity(Activity.REFRESH)

    @property
    def can_refresh(self) -> bool:
        return self.refreshable and not self.can_start

    @property
    def can_restart(self) -> bool:
        return self.view.supports_activity(Activity.RESTART) and not self.can_start

    @property
    def can_start(self) -> bool:
        return self.view.supports_activity(Activity.START) and self.view.state in _STARTABLE

    @property
    def blocked(self) -> bool:
        return self.view.busy

    @property
    def refreshing(self) -> bool:
        return self._activity in _UPDATES

    @property
    def restarting(self) -> bool:
        return self._activity is Activity.RESTART

    @property
    def _activity(self) -> Activity | None:
        return self.view.operation.activity if self.view.operation else None

    @property
    def progress(self) -> str:
        operation = self.view.operation
        if operation is None:
            return ""
        target = f" to {shortened(operation.target_ref)}" if operation.target_ref else ""
        return f"{DOING[operation.activity].capitalize()}{target}, asked by {operation.asked_by}"

    @property
    def steps(self) -> Sequence[StepLine]:
        operation = self.view.operation
        if operation is None:
            return ()
        if operation.activity not in _UPDATES:
            return (StepLine(f"{DOING[operation.activity].capitalize()} the machine", "busy", "", current=True),)
        return step_lines(operation.step)

    @property
    def outcome(self) -> Outcome | None:
        last = self.view.last_operation
        if last is None or last.result is None or last.finished_at is None:
            return None
        result = last.result
        retry = last.target_ref if not result.success and last.activity is Activity.REFRESH else None
        return Outcome(
            title=f"{last.activity.value.capitalize()}: {outcome_mark(result.outcome).text}",
            tone="good" if result.success else OUTCOME_TONES.get(result.outcome, "bad"),
            message=said(last),
            log=result.log,
            at=last.finished_at,
            by=last.asked_by,
            retry=retry,
        )

    @property
    def lifecycle(self) -> Sequence[Choice]:
        if self.view.busy:
            return ()
        stopped = self.view.state in _STARTABLE
        choices = (
            Choice(Activity.STOP, "Stop", confirm="Stop the machine? Everything that runs in it ends."),
            Choice(Activity.ARCHIVE, "Archive", confirm="Archive the machine? It stops and costs less."),
            Choice(Activity.DELETE, "Delete", "danger", "Delete the machine and everything in it, for ever?"),
        )
        return [
            choice
            for choice in choices
            if self.view.supports_activity(choice.activity) and not (stopped and choice.activity is Activity.STOP)
        ]


def shortened(ref: str) -> str:
    """A commit id as people read it; names stay whole."""
    return ref[:10] if len(ref) >= COMMIT_DIGITS and all(c in "0123456789abcdef" for c in ref) else ref


def said(operation: Operation) -> str:
    """What was confirmed, or what went wrong."""
    result = operation.result
    if result is None:
        return ""
    if result.success and operation.activity in _UPDATES and result.to_commit:
        commit = result.to_commit[:10]
        if result.outcome == "unchanged":
            return f"Nothing to do: {commit} ran already."
        return f"Confirmed: a new daemon answers and runs {commit}."
    return result.message


def step_lines(step: State | None) -> Sequence[StepLine]:
    order = [state for state, _ in STEPS]
    reached = order.index(step) if step in order else (len(order) if step else 0)
    return [
        StepLine(
            label,
            "good" if position < reached else ("busy" if position == reached else ""),
            "✓" if position < reached else "○",
            position == reached,
        )
        for position, (_, label) in enumerate(STEPS)
    ]


@dataclass(frozen=True, kw_only=True)
class HistoryItem:
    id: str
    mark: Mark
    what: str
    from_commit: str | None
    to_commit: str | None
    at: datetime
    by: str
    seconds: str | None
    problem: str
    files: Sequence[str]
    total: int
    can_roll_back: bool


@dataclass(frozen=True, kw_only=True)
class History:
    """`problem`: why there is nothing to show."""

    items: Sequence[HistoryItem] = ()
    problem: str = ""


def history_item(update: Update, askers: Mapping[str, str]) -> HistoryItem:
    """`askers`: who asked the control plane, by the key that it gave to the machine."""
    seconds = (update.finished_at - update.started_at).total_seconds() if update.finished_at else None
    changes = update.changes
    return HistoryItem(
        id=update.id,
        mark=outcome_mark(update.state.value) if update.state.final else Mark(update.state.value, "busy"),
        what=_what(update),
        from_commit=update.from_commit,
        to_commit=update.to_commit,
        at=update.started_at,
        by=askers.get(update.request.idempotency_key or "", update.request.trigger.replace("_", " ")),
        seconds=None if seconds is None else took(seconds),
        problem=update.error.message if update.error else "",
        files=changes.files if changes else (),
        total=changes.total if changes else 0,
        can_roll_back=update.state is State.SUCCEEDED and update.from_commit is not None,
    )


def _what(update: Update) -> str:
    if update.request.rollback_of:
        return "Rollback"
    return "Refresh" if update.from_commit else "First sync"
