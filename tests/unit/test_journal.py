"""The record of every update: what a crash, a full disk or an old clock can do to it, and cannot."""

import asyncio
import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon import journal as journal_module
from daemon.errors import NoSpaceError, NotFoundError
from daemon.journal import Journal, fold, parse
from daemon.models import Entry, Update
from daemon.states import Event, ImpossibleTransitionError, State

ROOT = Path(__file__).parents[2]
REQUEST = {"request": {"target_ref": "main", "trigger": "cli"}}
TO_THE_END = (
    Event.BEGIN,
    Event.STAGED,
    Event.APPLIED,
    Event.INSTALLED,
    Event.CHECKED,
    Event.STARTED,
    Event.VERIFIED,
)
STATES = (
    State.REQUESTED,
    State.STAGING,
    State.APPLYING,
    State.INSTALLING,
    State.CHECKING,
    State.RESTARTING,
    State.VERIFYING,
    State.SUCCEEDED,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "updates"


@pytest.fixture
def journal(folder: Path) -> Journal:
    return Journal(folder)


def record(folder: Path, update: Update) -> Path:
    return folder / f"{update.id}.jsonl"


async def ended(journal: Journal) -> Update:
    update = await journal.create(REQUEST)
    for event in TO_THE_END:
        update = await journal.advance(update.id, event)
    return update


# The ordinary way


async def test_a_new_update_is_requested_and_on_disk(journal: Journal, folder: Path) -> None:
    update = await journal.create(REQUEST | {"source": "git"})
    assert (update.state, update.request.target_ref, update.source) == (State.REQUESTED, "main", "git")
    assert await Journal(folder).get(update.id) == update


async def test_an_update_goes_along_the_table(journal: Journal) -> None:
    update = await ended(journal)
    assert tuple(step.state for step in update.steps) == STATES
    assert update.state is State.SUCCEEDED
    assert update.last_seq == len(STATES)


async def test_what_an_advance_returns_is_what_is_read_again(journal: Journal, folder: Path) -> None:
    update = await journal.create(REQUEST)
    update = await journal.advance(update.id, Event.BEGIN, from_commit="a" * 40)
    assert update == await Journal(folder).get(update.id)
    update = await journal.note(update.id, notes=["slow"], preserved={"snapshot": "b" * 40, "total": 1})
    assert update == await Journal(folder).get(update.id)


async def test_later_facts_replace_earlier_ones_and_notes_add_up(journal: Journal) -> None:
    update = await journal.create(REQUEST | {"notes": ["one"]})
    await journal.note(update.id, message="first", notes=["two", "one"])
    update = await journal.note(update.id, message="second", notes=["three"])
    assert update.message == "second"
    assert update.notes == ("one", "two", "three")


async def test_a_note_leaves_the_state_and_its_clock_alone(journal: Journal) -> None:
    update = await journal.create(REQUEST)
    noted = await journal.note(update.id, message="still here")
    assert (noted.state, noted.steps) == (update.state, update.steps)


async def test_a_note_after_the_end_does_not_move_the_end(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    update = await ended(journal)
    later = datetime.now(UTC) + timedelta(hours=1)
    monkeypatch.setattr(journal_module, "now", lambda: later)
    noted = await journal.note(update.id, message="seen by somebody")
    assert noted.finished_at == update.finished_at
    assert noted.steps == update.steps


async def test_a_repeated_state_is_one_step(journal: Journal) -> None:
    update = await journal.create(REQUEST)
    for event in (*TO_THE_END[:-1], Event.STARTED, Event.STARTED):
        update = await journal.advance(update.id, event)
    assert [step.state for step in update.steps].count(State.VERIFYING) == 1
    assert update.steps[-1].seconds is None


async def test_every_transition_is_synced_before_it_counts(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().suffix)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    update = await journal.create(REQUEST)
    assert synced == [".jsonl", ""]  # the file, then the folder that names it
    await journal.advance(update.id, Event.BEGIN)
    assert synced == [".jsonl", "", ".jsonl"]


async def test_a_record_is_for_its_owner_only(journal: Journal, folder: Path) -> None:
    assert record(folder, await journal.create(REQUEST)).stat().st_mode & 0o777 == 0o600


# What must not be written


async def test_an_impossible_transition_leaves_the_record_alone(journal: Journal, folder: Path) -> None:
    update = await journal.create(REQUEST)
    before = record(folder, update).read_bytes()
    with pytest.raises(ImpossibleTransitionError):
        await journal.advance(update.id, Event.VERIFIED)
    assert record(folder, update).read_bytes() == before


@pytest.mark.parametrize(
    "facts",
    [{"mesage": "misspelt"}, {"message": 3}, {"to_commit": ["a"]}, {"changes": {"added": "many"}}],
    ids=lambda facts: next(iter(facts)),
)
async def test_a_fact_that_nobody_could_read_is_refused_before_it_is_written(
    journal: Journal, folder: Path, facts: dict[str, Any]
) -> None:
    update = await journal.create(REQUEST)
    before = record(folder, update).read_bytes()
    with pytest.raises((TypeError, ValueError)):
        await journal.note(update.id, **facts)
    assert record(folder, update).read_bytes() == before


@pytest.mark.parametrize("facts", [{}, REQUEST | {"colour": "red"}], ids=["nothing", "unknown"])
async def test_an_update_without_a_sound_request_is_not_begun(
    journal: Journal, folder: Path, facts: dict[str, Any]
) -> None:
    with pytest.raises((TypeError, ValueError)):
        await journal.create(facts)
    assert not folder.exists()


@pytest.mark.parametrize(
    "update_id",
    [
        "",
        "x",
        "1-abcdef",
        "000001-ABCDEF",
        "000001-abcdef\n",
        "000001-abcdef.jsonl",
        "../000001-abcdef",
        "../../etc/passwd",
        "\u0660\u0660\u0660\u0660\u0660\u0661-abcdef",
        "000001-abcde\x00",
        "9" * 5000 + "-abcdef",
    ],
)
async def test_a_hostile_id_finds_nothing_and_is_not_echoed_at_length(journal: Journal, update_id: str) -> None:
    await journal.create(REQUEST)
    for call in (journal.get(update_id), journal.note(update_id), journal.advance(update_id, Event.BEGIN)):
        with pytest.raises(NotFoundError) as refused:
            await call
        assert len(str(refused.value)) < 120
        assert "\n" not in str(refused.value)


async def test_an_id_of_no_update_finds_nothing(journal: Journal) -> None:
    with pytest.raises(NotFoundError, match="cannot find update 000001-abcdef"):
        await journal.get("000001-abcdef")
    with pytest.raises(NotFoundError):
        await anext(journal.follow("000001-abcdef"))


# Torn, damaged, unreadable


@pytest.mark.parametrize("cut", range(1, 12))
async def test_a_torn_last_line_never_happened(journal: Journal, folder: Path, cut: int) -> None:
    update = await journal.create(REQUEST)
    await journal.advance(update.id, Event.BEGIN)
    path = record(folder, update)
    size = path.stat().st_size
    last = len(path.read_bytes().splitlines(keepends=True)[-1])
    os.truncate(path, size - cut * last // 12)
    assert (await journal.get(update.id)).state is State.REQUESTED


async def test_a_line_without_its_newline_is_torn_too(journal: Journal, folder: Path) -> None:
    """It may be whole by chance; its writer never heard that it was safe."""
    update = await journal.create(REQUEST)
    await journal.advance(update.id, Event.BEGIN)
    path = record(folder, update)
    os.truncate(path, path.stat().st_size - 1)
    assert (await journal.get(update.id)).state is State.REQUESTED


@pytest.mark.parametrize(
    "rest",
    [b'{"seq":2,"at":"20', b"\x00" * 64, b"no json\n", b'{"seq":9}\n', b"\n", b"\xff\xfe\n" * 3, b"{}\n" * 9 + b"{"],
    ids=["torn", "zeros", "no json", "no entry", "empty", "no text", "many"],
)
async def test_the_next_line_is_found_after_any_damage(journal: Journal, folder: Path, rest: bytes) -> None:
    update = await journal.create(REQUEST)
    with record(folder, update).open("ab") as file:
        file.write(rest)
    await journal.advance(update.id, Event.BEGIN)
    await journal.advance(update.id, Event.FAIL)
    again = await Journal(folder).get(update.id)
    assert [step.state for step in again.steps] == [State.REQUESTED, State.STAGING, State.FAILED]


async def test_nothing_after_damage_in_the_middle_counts(journal: Journal, folder: Path) -> None:
    update = await ended(journal)
    lines = record(folder, update).read_bytes().splitlines(keepends=True)
    lines[3] = b"damaged\n"
    record(folder, update).write_bytes(b"".join(lines))
    assert (await journal.get(update.id)).state is STATES[2]


def test_lines_out_of_order_end_the_record() -> None:
    lines = [Entry(seq=seq, at=datetime.now(UTC), state=State.STAGING).model_dump_json() for seq in (1, 2, 2, 3)]
    assert [entry.seq for entry in parse("".join(f"{line}\n" for line in lines).encode())] == [1, 2]


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b'{"seq":1}'])
async def test_a_record_that_says_nothing_is_not_found_and_hides_no_other(
    journal: Journal, folder: Path, content: bytes
) -> None:
    good = await journal.create(REQUEST)
    (folder / "000002-abcdef.jsonl").write_bytes(content)
    with pytest.raises(NotFoundError, match="a readable record"):
        await journal.get("000002-abcdef")
    assert await journal.history() == [good]
    assert await journal.latest() == good
    assert (await journal.create(REQUEST)).id.startswith("000003-")


async def test_a_record_that_cannot_be_opened_hides_no_other(journal: Journal, folder: Path) -> None:
    good = await journal.create(REQUEST)
    (folder / "000002-abcdef.jsonl").mkdir()
    with pytest.raises(IsADirectoryError):
        await journal.get("000002-abcdef")
    assert await journal.history() == [good]
    assert await journal.latest() == good


async def test_what_newer_code_wrote_is_read_as_far_as_it_is_known(journal: Journal, folder: Path) -> None:
    """After an undo, old code has to find the record of the update that failed."""
    update = await journal.create(REQUEST)
    path = record(folder, update)
    line = json.loads(path.read_bytes())
    line["colour"] = line["facts"]["colour"] = line["facts"]["request"]["colour"] = "red"
    path.write_text(json.dumps(line) + "\n")
    assert await journal.get(update.id) == update
    assert (await journal.advance(update.id, Event.BEGIN)).state is State.STAGING


async def test_a_state_that_only_newer_code_knows_ends_what_is_read(journal: Journal, folder: Path) -> None:
    update = await journal.create(REQUEST)
    path = record(folder, update)
    with path.open("a") as file:
        file.write(path.read_text().replace('"seq":1', '"seq":2').replace('"requested"', '"dreaming"'))
    assert (await journal.get(update.id)).state is State.REQUESTED


# A full disk


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_is_named_and_leaves_the_record_as_it_was(
    journal: Journal, folder: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = await journal.create(REQUEST)
    before = record(folder, update).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(code))
        with pytest.raises(NoSpaceError, match="the disk is full"):
            await journal.advance(update.id, Event.BEGIN)
    assert record(folder, update).read_bytes() == before
    assert (await journal.advance(update.id, Event.BEGIN)).state is State.STAGING


async def test_another_failure_of_the_disk_is_not_called_a_full_one(
    journal: Journal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = await journal.create(REQUEST)
    before = record(folder, update).read_bytes()
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        await journal.advance(update.id, Event.BEGIN)
    assert record(folder, update).read_bytes() == before


async def test_an_update_that_a_full_disk_refused_leaves_no_record(
    journal: Journal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.ENOSPC))
        with pytest.raises(NoSpaceError):
            await journal.create(REQUEST)
    assert list(folder.iterdir()) == []
    assert (await journal.create(REQUEST)).id.startswith("000001-")


HALF_A_LINE = """
import asyncio, resource, sys
from pathlib import Path
from daemon.journal import Journal
from daemon.states import Event

async def main():
    journal = Journal(Path(sys.argv[1]))
    update = await journal.create({"request": {"target_ref": "main"}})
    (record,) = Path(sys.argv[1]).iterdir()
    before = record.read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, resource.RLIM_INFINITY))
    try:
        await journal.advance(update.id, Event.BEGIN)
    except OSError as error:
        print(type(error).__name__, record.read_bytes() == before)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print((await journal.advance(update.id, Event.BEGIN)).state, (await journal.get(update.id)).state)

asyncio.run(main())
"""


def test_half_a_line_does_not_stay(folder: Path) -> None:
    """The kernel takes 20 bytes of the line and refuses the rest; in a process of its own because of the limit."""
    command = [sys.executable, "-c", HALF_A_LINE, str(folder)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    assert ran.stdout.splitlines() == ["OSError True", "staging staging"]


# Order and age


async def test_ids_sort_by_age_although_the_clock_jumps_back(
    journal: Journal, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = datetime(2030, 1, 1, tzinfo=UTC)
    created = []
    for hours in (0, -5000, 3, -90000):
        monkeypatch.setattr(journal_module, "now", lambda hours=hours: clock + timedelta(hours=hours))
        created.append((await journal.create(REQUEST)).id)
    assert created == sorted(created)
    assert [update.id for update in await Journal(folder).history()] == created[::-1]
    latest = await journal.latest()
    assert latest
    assert latest.id == created[-1]


async def test_a_step_never_lasts_less_than_nothing(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    update = await journal.create(REQUEST)
    monkeypatch.setattr(journal_module, "now", lambda: datetime(2000, 1, 1, tzinfo=UTC))
    update = await journal.advance(update.id, Event.BEGIN)
    assert update.steps[0].seconds == 0


async def test_ids_go_on_past_a_million(journal: Journal, folder: Path) -> None:
    first = await journal.create(REQUEST)
    record(folder, first).rename(folder / "999999-ffffff.jsonl")
    second = await journal.create(REQUEST)
    assert second.id.startswith("1000000-")
    latest = await journal.latest()
    assert latest
    assert latest.id == second.id


async def test_only_so_many_records_are_kept(folder: Path) -> None:
    journal = Journal(folder, keep=3)
    ids = [(await journal.create(REQUEST)).id for _ in range(5)]
    assert [update.id for update in await journal.history()] == ids[:1:-1]
    assert len(list(folder.iterdir())) == 3


async def test_a_record_that_cannot_be_removed_stops_no_update(folder: Path) -> None:
    journal = Journal(folder, keep=1)
    (folder / "000001-abcdef.jsonl").mkdir(parents=True)
    assert (await journal.create(REQUEST)).id.startswith("000002-")


async def test_history_is_cut_at_its_limit(journal: Journal) -> None:
    ids = [(await journal.create(REQUEST)).id for _ in range(3)]
    assert [update.id for update in await journal.history(2)] == ids[:0:-1]
    assert await journal.history(0) == []


async def test_files_of_others_in_the_folder_are_left_alone(folder: Path) -> None:
    journal = Journal(folder, keep=1)
    folder.mkdir(parents=True)
    others = {"notes.txt", "x.jsonl", "000001-abcdef.jsonl.bak", ".000001-abcdef.jsonl"}
    for name in others:
        (folder / name).touch()
    await journal.create(REQUEST)
    update = await journal.create(REQUEST)
    assert await journal.history() == [update]
    assert {path.name for path in folder.iterdir()} == others | {f"{update.id}.jsonl"}


async def test_a_machine_without_updates_has_no_latest(journal: Journal) -> None:
    assert await journal.latest() is None
    assert await journal.history() == []


# Following


async def collected(journal: Journal, update_id: str, after_seq: int = 0) -> list[int]:
    return [entry.seq async for entry in journal.follow(update_id, after_seq)]


async def test_a_follower_sees_every_entry_once_and_then_the_end(journal: Journal) -> None:
    update = await journal.create(REQUEST)
    followers = [asyncio.create_task(collected(journal, update.id)) for _ in range(3)]
    for event in TO_THE_END:
        await journal.advance(update.id, event)
        await journal.note(update.id, message=event)
        await asyncio.sleep(0)
    seen = [await follower for follower in followers]
    assert all(seqs[:-1] == list(range(1, len(seqs))) for seqs in seen)
    assert all(seqs[-1] in {14, 15} for seqs in seen)  # the note after the end may come too late


async def test_a_follower_resumes_after_what_it_has_seen(journal: Journal) -> None:
    update = await ended(journal)
    assert await collected(journal, update.id, after_seq=5) == [6, 7, 8]
    assert await collected(journal, update.id, after_seq=8) == []
    assert await collected(journal, update.id, after_seq=99) == []


async def test_an_entry_that_comes_while_a_follower_reads_is_not_waited_for(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply to `selfUpdate` follows, and must leave before the restart."""
    monkeypatch.setattr(journal_module, "_OTHER_PROCESS_POLL", 60)
    loop = asyncio.get_running_loop()
    update = await journal.create(REQUEST)
    await journal.advance(update.id, Event.BEGIN)
    read = journal._read

    async def fail() -> None:
        await journal.advance(update.id, Event.FAIL)

    def read_and_then_it_fails(update_id: str) -> object:
        folded = read(update_id)
        monkeypatch.setattr(journal, "_read", read)
        asyncio.run_coroutine_threadsafe(fail(), loop).result()
        return folded

    monkeypatch.setattr(journal, "_read", read_and_then_it_fails)
    async with asyncio.timeout(10):
        assert await collected(journal, update.id) == [1, 2, 3]


async def test_a_follower_that_leaves_does_not_disturb_the_others(journal: Journal) -> None:
    update = await journal.create(REQUEST)
    stays = asyncio.create_task(collected(journal, update.id))
    leaves = asyncio.create_task(collected(journal, update.id))
    await asyncio.sleep(0.05)
    leaves.cancel()
    await journal.advance(update.id, Event.BEGIN)
    await journal.advance(update.id, Event.FAIL)
    assert await stays == [1, 2, 3]
    assert leaves.cancelled()


OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from daemon.journal import Journal
from daemon.states import Event

async def main():
    journal = Journal(Path(sys.argv[1]))
    update = await journal.latest()
    for event in (Event.BEGIN, Event.FAIL):
        await journal.advance(update.id, event)

asyncio.run(main())
"""


async def test_a_follower_sees_what_another_process_writes(journal: Journal, folder: Path) -> None:
    update = await journal.create(REQUEST)
    follower = asyncio.create_task(collected(journal, update.id))
    await asyncio.sleep(0)
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", OTHER_PROCESS, str(folder), cwd=ROOT)
    assert await other.wait() == 0
    assert await follower == [1, 2, 3]


# Callers that leave


async def test_the_write_of_a_cancelled_caller_ends_before_the_caller_goes_on(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine writes the next line when it is cancelled, and two writers would tear each other's."""
    update = await journal.create(REQUEST)
    syncing, disk_works = threading.Event(), threading.Event()

    def slow(_: int) -> None:
        syncing.set()
        assert disk_works.wait(10)

    monkeypatch.setattr(os, "fsync", slow)
    caller = asyncio.create_task(journal.advance(update.id, Event.BEGIN))
    await asyncio.to_thread(syncing.wait, 10)
    caller.cancel()
    await asyncio.sleep(0.05)
    assert not caller.done()
    disk_works.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert (await journal.advance(update.id, Event.FAIL)).last_seq == 3


async def test_writes_at_the_same_time_are_all_kept(journal: Journal) -> None:
    update = await journal.create(REQUEST)
    await asyncio.gather(*(journal.note(update.id, notes=[f"note {n}"]) for n in range(20)))
    again = await journal.get(update.id)
    assert set(again.notes) == {f"note {n}" for n in range(20)}
    assert again.last_seq == 21


async def test_updates_created_at_the_same_time_have_ids_of_their_own(journal: Journal) -> None:
    created = await asyncio.gather(*(journal.create(REQUEST) for _ in range(8)))
    assert len({update.id.partition("-")[0] for update in created}) == 8


def test_folding_is_a_function_of_the_entries() -> None:
    entries = [
        Entry(seq=1, at=datetime(2026, 1, 1, tzinfo=UTC), state=State.REQUESTED, facts=REQUEST),
        Entry(seq=2, at=datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC), state=State.FAILED, event=Event.FAIL),
    ]
    update = fold("000001-abcdef", entries)
    assert update == fold("000001-abcdef", entries)
    assert update.steps[0].seconds == 2
    assert update.finished_at == entries[1].at
    assert entries[0].facts == REQUEST


def failing(code: int) -> Callable[[int], None]:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    return fail
