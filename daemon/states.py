"""The states of an update, as data. Standard library only: the guard's tests and the README's picture read it too.

`python -m daemon.states` prints the README's diagram.
"""

from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    REQUESTED = "requested"
    STAGING = "staging"
    APPLYING = "applying"
    INSTALLING = "installing"
    CHECKING = "checking"
    RESTARTING = "restarting"
    VERIFYING = "verifying"
    SUCCEEDED = "succeeded"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    INCONSISTENT = "inconsistent"

    @property
    def final(self) -> bool:
        """Nobody waits any longer: it has ended, or it is inconsistent and may yet be undone."""
        return self in FINAL

    @property
    def touched(self) -> bool:
        """The checkout may differ from what it was before the update."""
        return self in TOUCHED


class Event(StrEnum):
    BEGIN = "begin"  # the engine took the update up
    NOTHING_TO_DO = "nothing_to_do"
    FAIL = "fail"  # before the checkout was touched
    STAGED = "staged"  # snapshot and undo are on disk: the next step mutates
    APPLIED = "applied"
    INSTALLED = "installed"
    CHECKED = "checked"
    STARTED = "started"  # a new process runs
    VERIFIED = "verified"
    UNDONE = "undone"
    UNDO_FAILED = "undo_failed"


TOUCHED = frozenset({State.APPLYING, State.INSTALLING, State.CHECKING, State.RESTARTING, State.VERIFYING})
FINAL = frozenset({State.SUCCEEDED, State.UNCHANGED, State.FAILED, State.ROLLED_BACK, State.INCONSISTENT})

TRANSITIONS: MappingProxyType[tuple[State, Event], State] = MappingProxyType(
    {
        (State.REQUESTED, Event.BEGIN): State.STAGING,
        (State.REQUESTED, Event.FAIL): State.FAILED,
        (State.STAGING, Event.NOTHING_TO_DO): State.UNCHANGED,
        (State.STAGING, Event.FAIL): State.FAILED,
        (State.STAGING, Event.STAGED): State.APPLYING,
        (State.APPLYING, Event.APPLIED): State.INSTALLING,
        (State.INSTALLING, Event.INSTALLED): State.CHECKING,
        (State.CHECKING, Event.CHECKED): State.RESTARTING,
        (State.RESTARTING, Event.STARTED): State.VERIFYING,
        (State.VERIFYING, Event.STARTED): State.VERIFYING,
        (State.VERIFYING, Event.VERIFIED): State.SUCCEEDED,
        **{(state, Event.UNDONE): State.ROLLED_BACK for state in TOUCHED},
        **{(state, Event.UNDO_FAILED): State.INCONSISTENT for state in TOUCHED},
        # at a later attempt, when there is room for it
        (State.INCONSISTENT, Event.UNDONE): State.ROLLED_BACK,
    }
)


class ImpossibleTransitionError(Exception):
    """The engine asked for something the table does not have: a defect of ours, never of the caller."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"no transition from {state} on {event}")


def after(state: State, event: Event) -> State:
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ImpossibleTransitionError(state, event) from None


def diagram() -> str:
    """The table as a Mermaid state diagram; the two undo events of the touched states are drawn once."""
    lines = ["stateDiagram-v2", "    [*] --> requested", "    state touched {"]
    inner = [(s, e, t) for (s, e), t in TRANSITIONS.items() if s in TOUCHED and t in TOUCHED]
    outer = [(s, e, t) for (s, e), t in TRANSITIONS.items() if not (s in TOUCHED and t in TOUCHED)]
    lines += [f"        {source} --> {target}: {event}" for source, event, target in inner]
    lines.append("    }")
    drawn: set[str] = set()
    for source, event, target in outer:
        undo = source in TOUCHED and event in {Event.UNDONE, Event.UNDO_FAILED}
        line = f"    {'touched' if undo else source} --> {target}: {event}"
        if line not in drawn:
            drawn.add(line)
            lines.append(line)
    lines += [f"    {state} --> [*]" for state in State if state in FINAL]
    return "\n".join(lines)


if __name__ == "__main__":
    print(diagram())  # noqa: T201 - this is the program's output
