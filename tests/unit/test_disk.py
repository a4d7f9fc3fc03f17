"""Room for the next step: asked for before it writes, and refused with nothing touched."""

import os
from pathlib import Path

import pytest

from daemon.disk import FEWEST_FILES, MIB, Disk, Need, Room, room
from daemon.errors import NoSpaceError
from daemon.states import State
from tests.support.world import World


def disk(free: dict[Path, Room], **floors: int) -> Disk:
    return Disk(tuple(Need(Path("/") / name, floor) for name, floor in floors.items()), room=free.__getitem__)


STATE, REPO = Path("/state"), Path("/repo")
PLENTY = Room(bytes=100 * MIB, files=None)


async def test_room_for_every_floor_is_enough() -> None:
    await disk({STATE: Room(MIB, FEWEST_FILES), REPO: PLENTY}, state=MIB, repo=MIB).require()


async def test_the_folder_without_room_is_named_with_what_it_lacks() -> None:
    with pytest.raises(NoSpaceError) as refused:
        await disk({STATE: PLENTY, REPO: Room(MIB - 1, None)}, state=MIB, repo=MIB).require()
    assert refused.value.path == "/repo"
    assert refused.value.detail == "1.0 MiB are free, the step needs 1.0"


async def test_what_a_step_needs_comes_on_top_of_the_floor_of_its_folder_only() -> None:
    free = {STATE: Room(2 * MIB, None), REPO: Room(2 * MIB, None)}
    await disk(free, state=MIB, repo=MIB).require(Need(STATE / "snapshots", MIB))
    with pytest.raises(NoSpaceError) as refused:
        await disk(free, state=MIB, repo=MIB).require(Need(STATE / "snapshots", MIB + 1))
    assert refused.value.path == "/state"


async def test_a_file_system_that_has_no_room_for_files_is_full_too() -> None:
    with pytest.raises(NoSpaceError, match="/state") as refused:
        await disk({STATE: Room(100 * MIB, FEWEST_FILES - 1)}, state=MIB).require()
    assert f"{FEWEST_FILES - 1} more files" in refused.value.detail


def test_a_folder_that_is_still_to_be_made_has_the_room_of_the_one_above(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    size = found.f_blocks * found.f_frsize
    assert 0 < room(tmp_path / "not" / "yet").bytes <= size


async def test_an_update_without_room_fails_before_anything_is_fetched_or_touched(tmp_path: Path) -> None:
    world = World(tmp_path)
    target = world.upstream({"code": "B"})
    full = Disk((Need(world.folder / "state", MIB),), room=lambda _: Room(0, None))
    object.__setattr__(world.machinery, "disk", full)
    update = await world.update(target)
    assert update.error
    assert (update.state, update.error.code) == (State.FAILED, "no_space")
    assert update.message.endswith("nothing was changed")
    assert (world.source.staged, world.head(), world.status()) == ([], world.first, "")
    assert not (world.folder / "state" / "snapshots").exists()


async def test_an_update_that_loses_its_room_while_staging_is_not_applied(tmp_path: Path) -> None:
    world = World(tmp_path)
    target = world.upstream({"code": "B"})
    answers = iter((PLENTY, Room(MIB, None)))
    shrinking = Disk((Need(world.folder / "state", MIB),), room=lambda _: next(answers))
    object.__setattr__(world.machinery, "disk", shrinking)
    update = await world.update(target)
    assert update.error
    assert (update.state, update.error.code) == (State.FAILED, "no_space")
    assert (world.source.staged, world.head(), world.status()) == ([target], world.first, "")
    assert not (world.folder / "state" / "undo").exists()
