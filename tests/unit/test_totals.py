"""What updates have come to: counted once each, and never less than before."""

from pathlib import Path

import pytest

from daemon.journal import Journal
from daemon.metrics.totals import Totals, labels, target_class
from daemon.models import Preserved, Problem, Update, UpdateRequest, now
from daemon.states import Event, State


async def ended(journal: Journal, event: Event = Event.FAIL) -> str:
    request = {"target_ref": "refs/heads/main", "trigger": "rest"}
    update = await journal.create({"request": request, "source": "git"})
    await journal.advance(update.id, Event.BEGIN, from_commit="a" * 40)
    if event is Event.FAIL:
        await journal.advance(update.id, event, error=Problem(code="remote_failed", message="dead").snake())
    else:
        await journal.advance(update.id, event)
    return update.id


def totals(folder: Path, journal: Journal) -> Totals:
    return Totals(folder / "metrics.json", journal)


async def number(counted: Totals) -> int:
    return sum(value for _, value in labels(await counted.current(), "updates"))


async def test_each_update_is_counted_once_by_how_it_ended(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "updates")
    counted = totals(tmp_path, journal)
    await ended(journal)
    await ended(journal)
    await ended(journal, Event.NOTHING_TO_DO)
    for _ in range(2):
        series = await counted.current()
        assert dict(labels(series, "updates")) == {
            ("failed", "git", "known", "branch"): 2,
            ("unchanged", "git", "known", "branch"): 1,
        }
        assert dict(labels(series, "errors")) == {("remote_failed",): 2}
        assert series["steps_count", State.STAGING] == 3
        assert series["steps_bucket", State.STAGING, "300.0"] == 3


async def test_an_update_that_still_runs_is_counted_when_it_has_ended(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "updates")
    counted = totals(tmp_path, journal)
    update = await journal.create({"request": {"target_ref": "main", "trigger": "rest"}})
    assert await number(counted) == 0
    await journal.advance(update.id, Event.FAIL)
    assert await number(counted) == 1


async def test_another_process_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "updates")
    await ended(journal)
    assert await number(totals(tmp_path, journal)) == 1
    await ended(journal)
    assert await number(totals(tmp_path, journal)) == 2


async def test_a_counter_does_not_fall_when_the_journal_forgets(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "updates", keep=2)
    counted = totals(tmp_path, journal)
    for expected in range(1, 6):
        await ended(journal)
        assert await number(counted) == expected
    assert await number(totals(tmp_path, journal)) == 5
    assert len(await journal.history()) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"through": 1}', b'{"through": "x", "series": {}}', b"\xff"])
async def test_a_damaged_file_costs_only_what_the_journal_has_forgotten(tmp_path: Path, content: bytes) -> None:
    journal = Journal(tmp_path / "updates")
    await ended(journal)
    (tmp_path / "metrics.json").write_bytes(content)
    assert await number(totals(tmp_path, journal)) == 1


async def test_preserved_edits_add_up(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "updates")
    for edits in (2, 3):
        update = await journal.create({"request": {"target_ref": "main", "trigger": "rest"}})
        await journal.advance(update.id, Event.BEGIN)
        kept = Preserved(snapshot="b" * 40, total=edits).snake()
        await journal.advance(update.id, Event.STAGED, preserved=kept)
        await journal.advance(update.id, Event.UNDONE)
    assert (await totals(tmp_path, journal).current())["preserved",] == 5


@pytest.mark.parametrize(
    ("target", "rollback_of", "kind"),
    [
        ("refs/heads/main", None, "branch"),
        ("refs/tags/v1", None, "tag"),
        ("refs/pull/1/head", None, "ref"),
        ("a" * 40, None, "commit"),
        ("main", None, "name"),
        ("g" * 40, None, "name"),
        ("a" * 40, "000001-abcdef", "rollback"),
    ],
)
def test_the_kinds_of_targets_are_few(target: str, rollback_of: str | None, kind: str) -> None:
    request = UpdateRequest(target_ref=target, rollback_of=rollback_of)
    assert target_class(Update(id="000001-abcdef", request=request, state=State.FAILED, started_at=now())) == kind
