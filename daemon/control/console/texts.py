"""How states, moments and outcomes are said to a person. No I/O."""

from datetime import UTC, datetime
from typing import NamedTuple

from daemon.control.models import Activity, MachineState, MachineView
from daemon.models import now
from daemon.states import State

_JUST_NOW = 10.0  # seconds
_SIZES = ((60.0, 1, "s"), (3600.0, 60, "min"), (86400.0, 3600, "h"), (float("inf"), 86400, "d"))
_STATE_TONES = {
    MachineState.RUNNING: "good",
    MachineState.STARTING: "busy",
    MachineState.STOPPING: "busy",
    MachineState.FAILED: "bad",
}
DOING = {
    Activity.REFRESH: "refreshing",
    Activity.ROLLBACK: "rolling back",
    Activity.RESTART: "restarting",
    Activity.START: "starting",
    Activity.STOP: "stopping",
    Activity.ARCHIVE: "archiving",
    Activity.DELETE: "deleting",
}
OUTCOME_TONES = {
    "succeeded": "good",
    "unchanged": "good",
    "done": "good",
    "rolled_back": "warn",
    "unknown": "warn",
}


class Mark(NamedTuple):
    """A word, and the tone that goes with it."""

    text: str
    tone: str = ""


def ago(moment: datetime) -> str:
    seconds = max(0.0, (now() - moment).total_seconds())
    if seconds < _JUST_NOW:
        return "just now"
    size, name = next((size, name) for limit, size, name in _SIZES if seconds < limit)
    return f"{int(seconds // size)} {name} ago"


def exact(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def took(seconds: float) -> str:
    return f"{seconds:.1f} s"


def state_mark(view: MachineView) -> Mark:
    if view.operation:
        return Mark(DOING[view.operation.activity], "busy")
    if view.problem:
        return Mark("not reachable", "warn")
    return Mark(view.state.value, _STATE_TONES.get(view.state, ""))


def code_mark(view: MachineView) -> Mark:
    if Activity.REFRESH not in view.supports:
        return Mark("the host's own code")
    match view.update_available:
        case True:
            return Mark("update available", "warn")
        case False:
            return Mark("up to date", "good")
        case None:
            return Mark("unknown")


def outcome_mark(outcome: str) -> Mark:
    return Mark(outcome.replace("_", " "), OUTCOME_TONES.get(outcome, "bad"))


STEPS: tuple[tuple[State, str], ...] = (
    (State.REQUESTED, "Asked the machine"),
    (State.STAGING, "Fetching the code"),
    (State.APPLYING, "Changing the checkout"),
    (State.INSTALLING, "Installing dependencies"),
    (State.CHECKING, "Checking the new code"),
    (State.RESTARTING, "Restarting the daemon"),
    (State.VERIFYING, "Confirming what runs"),
)
