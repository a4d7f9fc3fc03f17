"""What pages say: words for states, steps, outcomes and moments; and who is told of what, live."""

from datetime import timedelta

import pytest

from daemon.control.changes import Changes
from daemon.control.console.live import News
from daemon.control.console.texts import Mark, ago, code_mark, state_mark
from daemon.control.console.views import MachinePage, row, said, shortened, step_lines, summary
from daemon.control.models import Activity, MachineState, MachineView, Operation, RefreshResult
from daemon.models import now
from daemon.states import State
from tests.support.versions import version_of

OLD, NEW = "a" * 40, "b" * 40
EVERYTHING = tuple(Activity)


def view(**more: object) -> MachineView:
    facts: dict[str, object] = {
        "id": "local-docker.m",
        "name": "m",
        "kind": "local-docker",
        "state": MachineState.RUNNING,
        "supports": EVERYTHING,
        "reachable": True,
        "version": version_of(OLD),
        "update_available": True,
    }
    return MachineView.model_validate(facts | more)


def operation(step: State | None = None, result: RefreshResult | None = None, **more: object) -> Operation:
    facts: dict[str, object] = {
        "id": "1",
        "machine": "local-docker.m",
        "activity": Activity.REFRESH,
        "target_ref": NEW,
        "asked_by": "ann",
        "asked_at": now(),
        "step": step,
        "finished_at": now() if result else None,
        "result": result,
    }
    return Operation.model_validate(facts | more)


GOOD = RefreshResult(success=True, outcome="succeeded", message="", from_commit=OLD, to_commit=NEW)
BAD = RefreshResult(success=False, outcome="rolled_back", message="cannot run the new code")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "just now"), (0, "just now"), (11, "11 s ago"), (61, "1 min ago"), (7300, "2 h ago"), (90000 * 3, "3 d ago")],
)
def test_moments_are_said_in_one_unit(seconds: int, text: str) -> None:
    assert ago(now() - timedelta(seconds=seconds)) == text


def test_a_state_is_what_is_being_done_then_what_is_wrong_then_what_it_is() -> None:
    assert state_mark(view(operation=operation(), problem="away")) == Mark("refreshing", "busy")
    assert state_mark(view(problem="away")) == Mark("not reachable", "warn")
    assert state_mark(view(state=MachineState.ARCHIVED)) == Mark("archived", "")


def test_code_is_compared_only_where_it_can_be_refreshed() -> None:
    assert code_mark(view()).text == "update available"
    assert code_mark(view(update_available=False)).text == "up to date"
    assert code_mark(view(update_available=None)).text == "unknown"
    assert code_mark(view(supports=())).text == "the host's own code"


def test_steps_before_the_current_one_are_done_and_those_behind_it_are_not() -> None:
    lines = step_lines(State.INSTALLING)
    assert [line.tone for line in lines] == ["good", "good", "good", "busy", "", "", ""]
    assert [line.current for line in lines].count(True) == 1
    assert step_lines(None)[0].current


def test_a_running_machine_offers_refresh_and_restart_and_a_stopped_one_its_start() -> None:
    running, stopped = MachinePage(view=view()), MachinePage(view=view(state=MachineState.STOPPED))
    assert (running.can_refresh, running.can_restart, running.can_start) == (True, True, False)
    assert (stopped.can_refresh, stopped.can_restart, stopped.can_start) == (False, False, True)
    assert [choice.activity for choice in running.lifecycle] == [Activity.STOP, Activity.ARCHIVE, Activity.DELETE]
    assert [choice.activity for choice in stopped.lifecycle] == [Activity.ARCHIVE, Activity.DELETE]
    assert MachinePage(view=view(operation=operation())).lifecycle == ()


def test_only_what_failed_can_be_tried_again() -> None:
    failed = MachinePage(view=view(last_operation=operation(result=BAD))).outcome
    assert failed
    assert (failed.retry, failed.tone, failed.message) == (NEW, "warn", "cannot run the new code")
    done = MachinePage(view=view(last_operation=operation(result=GOOD))).outcome
    assert done
    assert (done.retry, done.tone) == (None, "good")


def test_what_was_confirmed_names_the_commit() -> None:
    assert said(operation(result=GOOD)) == f"Confirmed: a new daemon answers and runs {NEW[:10]}."
    assert said(operation(result=GOOD.model_copy(update={"outcome": "unchanged"}))).startswith("Nothing to do")
    assert said(operation(result=BAD)) == "cannot run the new code"


def test_commits_are_shortened_and_names_are_not() -> None:
    assert shortened(NEW) == NEW[:10]
    assert shortened("refs/heads/" + "b" * 40) == "refs/heads/" + "b" * 40


def test_the_list_is_counted_and_each_row_is_found_by_what_it_shows() -> None:
    views = [view(), view(update_available=False), view(problem="away", update_available=None)]
    assert summary(views) == "3 machines, 1 with an update available, 1 not reachable"
    words = row(views[0]).words
    assert all(word in words for word in ("m", "local-docker", "running", "update available", OLD))


def texts(told: list[tuple[str, str]]) -> list[str]:
    return [text.partition(":")[0] for text, _ in told]


def test_a_refresh_is_told_twice_also_when_its_restart_was_too_quick_to_be_seen() -> None:
    slow = News(view())
    assert slow.of(view(operation=operation(State.STAGING))) == []
    assert texts(slow.of(view(operation=operation(State.RESTARTING)))) == ["Code updated, daemon restarting…"]
    assert slow.of(view(operation=operation(State.VERIFYING))) == []
    assert texts(slow.of(view(last_operation=operation(result=GOOD)))) == ["Confirmed"]
    assert slow.ended
    quick = News(view())
    told = quick.of(view(last_operation=operation(result=GOOD)))
    assert texts(told) == ["Code updated, daemon restarting…", "Confirmed"]


def test_a_refresh_that_failed_is_told_once_and_does_not_claim_a_restart() -> None:
    news = News(view())
    assert news.of(view(last_operation=operation(result=BAD))) == [("cannot run the new code", "bad")]
    assert news.of(view(last_operation=operation(result=BAD))) == []
    assert not news.ended


def test_who_comes_later_is_not_told_what_has_ended_before() -> None:
    assert News(view(last_operation=operation(result=GOOD))).of(view(last_operation=operation(result=GOOD))) == []


async def test_changes_that_were_not_read_yet_are_one_and_keep_their_order() -> None:
    changes = Changes()
    with changes.subscribed() as reader:
        for machine in ("b", "a", "b", "b"):
            changes.publish(machine)
        batches = reader.batches()
        assert await anext(batches) == ("b", "a")
        changes.publish("c")
        assert await anext(batches) == ("c",)
        await batches.aclose()  # type: ignore[attr-defined]
