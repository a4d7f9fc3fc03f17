"""The table of states and events, cell by cell."""

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from daemon.states import FINAL, TOUCHED, TRANSITIONS, Event, ImpossibleTransitionError, State, after, diagram

ROOT = Path(__file__).parents[2]

# A second writing of the table, in another shape: each state with the events that it answers.
ANSWERS: dict[State, dict[Event, State]] = {
    State.REQUESTED: {Event.BEGIN: State.STAGING, Event.FAIL: State.FAILED},
    State.STAGING: {
        Event.NOTHING_TO_DO: State.UNCHANGED,
        Event.FAIL: State.FAILED,
        Event.STAGED: State.APPLYING,
    },
    State.APPLYING: {
        Event.APPLIED: State.INSTALLING,
        Event.UNDONE: State.ROLLED_BACK,
        Event.UNDO_FAILED: State.INCONSISTENT,
    },
    State.INSTALLING: {
        Event.INSTALLED: State.CHECKING,
        Event.UNDONE: State.ROLLED_BACK,
        Event.UNDO_FAILED: State.INCONSISTENT,
    },
    State.CHECKING: {
        Event.CHECKED: State.RESTARTING,
        Event.UNDONE: State.ROLLED_BACK,
        Event.UNDO_FAILED: State.INCONSISTENT,
    },
    State.RESTARTING: {
        Event.STARTED: State.VERIFYING,
        Event.UNDONE: State.ROLLED_BACK,
        Event.UNDO_FAILED: State.INCONSISTENT,
    },
    State.VERIFYING: {
        Event.STARTED: State.VERIFYING,
        Event.VERIFIED: State.SUCCEEDED,
        Event.UNDONE: State.ROLLED_BACK,
        Event.UNDO_FAILED: State.INCONSISTENT,
    },
    State.SUCCEEDED: {},
    State.UNCHANGED: {},
    State.FAILED: {},
    State.ROLLED_BACK: {},
    State.INCONSISTENT: {Event.UNDONE: State.ROLLED_BACK},
}
PRESENT = [(state, event, target) for state, answers in ANSWERS.items() for event, target in answers.items()]
ABSENT = [(state, event) for state, event in product(State, Event) if event not in ANSWERS[state]]


@pytest.mark.parametrize(("state", "event", "target"), PRESENT)
def test_a_pair_of_the_table_leads_where_it_says(state: State, event: Event, target: State) -> None:
    assert after(state, event) is target


@pytest.mark.parametrize(("state", "event"), ABSENT)
def test_an_absent_pair_is_a_defect(state: State, event: Event) -> None:
    with pytest.raises(ImpossibleTransitionError, match=f"no transition from {state} on {event}"):
        after(state, event)


def test_every_cell_has_a_decision_here() -> None:
    assert len(PRESENT) == len(TRANSITIONS)
    assert len(PRESENT) + len(ABSENT) == len(State) * len(Event)


def test_a_final_state_answers_nothing_unless_it_can_still_be_undone() -> None:
    assert {state for state in State if not ANSWERS[state]} == FINAL - {State.INCONSISTENT}
    assert {state for state in State if state.final} == FINAL


@pytest.mark.parametrize("state", sorted(set(State) - FINAL))
def test_each_other_state_can_still_end(state: State) -> None:
    assert reachable(state) & FINAL


def test_each_state_can_be_reached() -> None:
    assert reachable(State.REQUESTED) == set(State) - {State.REQUESTED}


def test_a_touched_checkout_ends_confirmed_restored_or_loudly_broken() -> None:
    ends = {target for state, _, target in PRESENT if state in TOUCHED and target in FINAL}
    assert ends == {State.SUCCEEDED, State.ROLLED_BACK, State.INCONSISTENT}


def test_an_untouched_checkout_never_ends_as_restored() -> None:
    untouched = [(state, target) for state, _, target in PRESENT if not state.touched and not state.final]
    assert {target for _, target in untouched if target in FINAL} == {State.UNCHANGED, State.FAILED}


def test_the_checkout_may_differ_from_applying_until_the_end() -> None:
    assert {state for state in State if state.touched} == {
        State.APPLYING,
        State.INSTALLING,
        State.CHECKING,
        State.RESTARTING,
        State.VERIFYING,
    }


def test_only_verification_repeats_itself() -> None:
    """A process that dies while it verifies is followed by one that verifies again."""
    assert [(state, event) for state, event, target in PRESENT if state is target] == [(State.VERIFYING, Event.STARTED)]


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[State.FAILED, Event.BEGIN] = State.STAGING  # type: ignore[index]  # that is the point


def test_the_diagram_draws_every_transition() -> None:
    lines = {line.strip() for line in diagram().splitlines()}
    for state, event, target in PRESENT:
        undo = state in TOUCHED and event in {Event.UNDONE, Event.UNDO_FAILED}
        assert f"{'touched' if undo else state} --> {target}: {event}" in lines
    for state in FINAL:
        assert f"{state} --> [*]" in lines


def test_the_diagram_is_the_same_in_each_process_and_needs_the_standard_library_only() -> None:
    printed = [
        subprocess.run(
            [sys.executable, "-S", "-m", "daemon.states"],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed == [diagram() + "\n"] * 2


def test_the_readme_shows_this_diagram() -> None:
    readme = (ROOT / "README.md").read_text()
    _, found, rest = readme.partition("<!-- states -->\n")
    assert found, "README.md has no block between <!-- states --> and <!-- /states -->"
    block, found, _ = rest.partition("<!-- /states -->")
    assert found
    assert block.strip() == f"```mermaid\n{diagram()}\n```"


def reachable(state: State) -> set[State]:
    found: set[State] = set()
    waiting = [state]
    while waiting:
        for target in ANSWERS[waiting.pop()].values():
            if target not in found:
                found.add(target)
                waiting.append(target)
    return found
