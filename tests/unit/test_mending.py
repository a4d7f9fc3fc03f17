"""What could not be undone for want of room is undone as soon as there is some, and nothing else is tried again."""

import asyncio
from pathlib import Path

import pytest

from daemon import mending
from daemon.disk import FLOOR, Disk, Need, Room
from daemon.errors import CheckError, InstallError, NoSpaceError, RefreshdError
from daemon.models import Update
from daemon.states import State
from tests.support.world import World, git

PLENTY = 10 * FLOOR


class SmallDisk:
    """`free` may be changed at any time."""

    def __init__(self, world: World) -> None:
        self.free = PLENTY
        self.looks = 0
        world.disk = Disk((Need(world.repo, FLOOR),), room=self._room)
        world.new_process(world.first)

    def _room(self, _: Path) -> Room:
        self.looks += 1
        return Room(bytes=self.free, files=None)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def disk(world: World) -> SmallDisk:
    return SmallDisk(world)


def fail(world: World, error: RefreshdError) -> list[None]:
    """From now on the way back of this process fails; the list has an entry for each time."""
    tried: list[None] = []

    async def run() -> None:
        tried.append(None)
        raise error

    world.machinery.undo.run = run  # type: ignore[method-assign]  # what a full disk does to it
    return tried


async def leave_inconsistent(world: World, disk: SmallDisk, error: RefreshdError | None = None) -> Update:
    fail(world, error or NoSpaceError(path="/checkout"))
    world.checker.error = CheckError(reason="it does not run")
    update = await world.update(world.upstream({"code": "B"}))
    world.checker.error = None
    assert (update.state, (world.repo / "code").read_text()) == (State.INCONSISTENT, "B")
    disk.free = 0
    return update


async def test_the_next_start_with_room_undoes_it(world: World, disk: SmallDisk) -> None:
    update = await leave_inconsistent(world, disk)
    assert update.undo_error
    assert update.undo_error.code == "no_space"
    recovery = await world.restart()
    assert (await recovery.recover(), await recovery.stuck(), world.head()) == (False, True, update.to_commit)
    disk.free = PLENTY
    recovery = await world.restart()
    assert (await recovery.recover(), await recovery.stuck(), world.head()) == (True, False, world.first)
    record = await world.journal.get(update.id)
    assert (record.state, (world.repo / "code").read_text(), world.status()) == (State.ROLLED_BACK, "A", "")
    assert record.message == f"cannot run the new code: it does not run; back at {world.first[:12]} after all"
    assert (await world.chain(update.id))[-2:] == ["undo_failed", "undone"]
    assert record.finished_at == update.finished_at


async def test_what_somebody_did_to_the_files_meanwhile_is_kept(world: World, disk: SmallDisk) -> None:
    update = await leave_inconsistent(world, disk)
    (world.repo / "code").write_text("mine")
    disk.free = PLENTY
    assert await (await world.restart()).recover() is True
    (note,) = (await world.journal.get(update.id)).notes
    assert note.startswith("what was there until then: refreshd snapshots restore ")
    assert git(world.machinery.snapshots.folder, "show", f"{note.split()[-2]}:code") == "mine"


async def test_what_failed_for_another_reason_waits_for_somebody(world: World, disk: SmallDisk) -> None:
    update = await leave_inconsistent(world, disk, InstallError(installer="fake", reason="no network"))
    disk.free = PLENTY
    recovery = await world.restart()
    assert (await recovery.recover(), await recovery.stuck(), world.head()) == (False, True, update.to_commit)


async def test_an_update_that_touched_nothing_is_not_in_its_way(world: World, disk: SmallDisk) -> None:
    update = await leave_inconsistent(world, disk)
    disk.free = PLENTY
    await world.restart()
    assert (await world.update("no-such-ref")).state is State.FAILED
    assert await (await world.restart()).recover() is True
    assert (await world.journal.get(update.id)).state is State.ROLLED_BACK


async def test_what_a_later_update_has_put_right_is_left_alone(world: World, disk: SmallDisk) -> None:
    update = await leave_inconsistent(world, disk)
    disk.free = PLENTY
    await world.restart()
    newer = await world.update(world.upstream({"code": "C"}))
    await world.restart_well()
    assert world.head() == newer.to_commit
    assert (await world.journal.get(update.id)).state is State.INCONSISTENT


async def test_the_process_that_goes_on_undoes_it_when_room_comes_back(
    world: World, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "LOOK_EVERY", 0.01)
    working = asyncio.create_task(world.recovery.mended())
    update = await leave_inconsistent(world, disk)
    del world.machinery.undo.run
    await asyncio.sleep(0.2)
    assert not working.done()
    disk.free = PLENTY
    await asyncio.wait_for(working, 10)
    assert (await world.journal.get(update.id)).state is State.ROLLED_BACK
    assert world.machinery.lock.acquire() is False, "no update begins before the restart"


async def test_an_attempt_in_vain_is_repeated_when_there_is_more_room_and_not_before(
    world: World, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "LOOK_EVERY", 0.01)
    await leave_inconsistent(world, disk)
    disk.free = PLENTY
    recovery = await world.restart()
    tried = fail(world, NoSpaceError(path="/checkout"))
    assert await recovery.recover() is False
    working = asyncio.create_task(recovery.mended())
    await asyncio.sleep(0.2)
    assert len(tried) == 1
    disk.free += FLOOR
    async with asyncio.timeout(10):
        while len(tried) < 2:  # noqa: ASYNC110 - it has no event for that
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert len(tried) == 2
    working.cancel()


async def test_who_has_nothing_to_mend_never_looks(
    world: World, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "LOOK_EVERY", 0.0)
    recovery = await world.restart()
    assert await recovery.recover() is False
    working = asyncio.create_task(recovery.mended())
    await asyncio.sleep(0.1)
    assert disk.looks == 0
    working.cancel()
