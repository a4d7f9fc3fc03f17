"""The way back, as a program: what it needs is looked at before anything is touched, and what it meets is kept."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.errors import CheckError, NoSpaceError
from daemon.models import Update
from daemon.recovery import Recovery
from daemon.snapshots import Snapshots
from daemon.states import State
from daemon.undo import PROGRAM, RESERVE
from tests.support.world import World, git


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def damage(snapshots: Snapshots, name: str) -> None:
    blob = git(snapshots.folder, "rev-parse", name)
    path = snapshots.folder / "objects" / blob[:2] / blob[2:]
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-5])


async def fails_the_check(world: World, files: dict[str, str], *, meanwhile: str = "") -> Update:
    """An update whose new code does not run; `meanwhile` is done by the check: damage, edit."""

    async def check(*, new_libraries: bool) -> str:
        assert not new_libraries
        latest = await world.journal.latest()
        assert latest
        if meanwhile == "damage":
            await asyncio.to_thread(damage, world.machinery.snapshots, f"{latest.snapshot}:code")
        if meanwhile == "edit":
            await asyncio.to_thread((world.repo / "code").write_text, "edited meanwhile")
        raise CheckError(reason="it does not run")

    world.checker.check = check  # type: ignore[method-assign]  # the step in which it happens
    return await world.update(world.upstream(files))


@pytest.mark.parametrize(
    ("begins", "name", "status"),
    [
        ("merge", "MERGE_HEAD", "still merging|have unmerged paths"),
        ("cherry-pick", "CHERRY_PICK_HEAD", "currently cherry-picking"),
    ],
)
async def test_what_was_under_way_is_under_way_again(world: World, begins: str, name: str, status: str) -> None:
    target = world.upstream({"code": "B"})
    git(world.repo, "switch", "--quiet", "--create", "other")
    other = world.commit({"code": "other"})
    git(world.repo, "switch", "--quiet", "main")
    world.commit({"code": "mine"})
    subprocess.run(("git", "-C", world.repo, begins, "other"), capture_output=True, check=False)
    before = git(world.repo, "status")
    assert re.search(status, before)
    world.checker.error = CheckError(reason="it does not run")
    update = await world.update(target)
    assert update.state is State.ROLLED_BACK
    assert git(world.repo, "status") == before
    assert git(world.repo, "rev-parse", name) == other
    assert f"the update ends a {begins} of {other[:12]}; its files are in the snapshot" in update.notes


async def test_what_is_begun_meanwhile_is_not_under_way_after_it(world: World) -> None:
    async def check(*, new_libraries: bool) -> str:
        assert not new_libraries
        await asyncio.to_thread((world.repo / ".git" / "MERGE_HEAD").write_text, world.first)
        raise CheckError(reason="it does not run")

    world.checker.check = check  # type: ignore[method-assign]  # the step in which it happens
    assert (await world.update(world.upstream({"code": "B"}))).state is State.ROLLED_BACK
    assert "merg" not in git(world.repo, "status")


async def test_a_damaged_snapshot_stops_it_before_anything_is_touched(world: World) -> None:
    record = await fails_the_check(world, {"code": "B", "more": "B"}, meanwhile="damage")
    assert record.state is State.INCONSISTENT
    assert "the way back failed" in record.message
    assert (world.head(), world.status()) == (record.to_commit, "")
    assert ((world.repo / "code").read_text(), (world.repo / "more").read_text()) == ("B", "B")


async def test_damage_that_it_does_not_need_does_not_stop_it(world: World) -> None:
    record = await fails_the_check(world, {"more": "B"}, meanwhile="damage")
    assert (record.state, world.head(), world.status()) == (State.ROLLED_BACK, world.first, "")


async def test_an_edit_made_meanwhile_is_kept_in_a_snapshot_of_its_own(world: World) -> None:
    record = await fails_the_check(world, {"code": "B"}, meanwhile="edit")
    assert (record.state, (world.repo / "code").read_text()) == (State.ROLLED_BACK, "A")
    (note,) = record.notes
    assert note.startswith("edits made after the files were updated: refreshd snapshots restore ")
    snapshot = note.split()[-2]
    assert git(world.machinery.snapshots.folder, "show", f"{snapshot}:code") == "edited meanwhile"


async def test_without_edits_meanwhile_there_is_no_such_snapshot(world: World) -> None:
    assert (await fails_the_check(world, {"code": "B"})).notes == ()


async def test_room_for_it_is_reserved_and_given_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = world.folder / "state" / "undo" / RESERVE
    update = await world.update(world.upstream({"code": "B"}))
    assert reserve.stat().st_size > world.machinery.snapshots.index.stat().st_size

    def full(*_: object) -> None:
        raise NoSpaceError(path=str(reserve))

    await world.restart_well()
    assert update.state is State.RESTARTING
    assert not reserve.exists()
    monkeypatch.setattr("os.posix_fallocate", full)
    refused = await world.update(world.first)
    assert refused.error
    assert (refused.state, refused.error.code, world.head()) == (State.FAILED, "no_space", update.to_commit)


async def test_one_that_did_not_work_outlives_the_updates_after_it_that_touch_nothing(world: World) -> None:
    await fails_the_check(world, {"code": "B"}, meanwhile="damage")
    failed = await world.update("no-such-ref")
    assert failed.state is State.FAILED
    assert await (await world.restart()).recover() is False
    assert (world.folder / "state" / "undo" / PROGRAM).exists()
    assert await stuck(world)


async def test_a_machine_that_is_updated_after_all_is_not_stuck_any_more(world: World) -> None:
    await fails_the_check(world, {"code": "B"}, meanwhile="damage")
    del world.checker.check
    shutil.rmtree(world.machinery.snapshots.folder)
    assert (await world.update(world.upstream({"code": "C"}))).state is State.RESTARTING
    await world.restart_well()
    assert not await stuck(world)


async def stuck(world: World) -> bool:
    recovery: Recovery = await world.restart()
    await recovery.recover()
    return await recovery.stuck()


async def test_a_rollback_to_a_damaged_snapshot_touches_nothing(world: World) -> None:
    update = await world.update(world.upstream({"code": "B"}))
    await world.restart_well()
    damage(world.machinery.snapshots, f"{update.snapshot}:code")
    back = await world.engine.rollback(update.id, trigger="test")
    record = await world.engine.wait(back.id)
    assert record.error
    assert (record.state, record.error.code) == (State.FAILED, "snapshot_damaged")
    assert (world.head(), world.status()) == (update.to_commit, "")


async def test_what_only_this_checkout_ignores_stays(world: World) -> None:
    (world.repo / ".git" / "info" / "exclude").write_text("secret\n")
    (world.repo / "secret").write_text("of nobody else")
    world.checker.error = CheckError(reason="it does not run")
    record = await world.update(world.upstream({"code": "B"}))
    assert record.state is State.ROLLED_BACK
    assert (world.repo / "secret").read_text() == "of nobody else"


async def test_what_was_ignored_before_stays_though_the_new_code_ignores_it_no_more(world: World) -> None:
    first = world.upstream({".gitignore": "installed\nsecret\n"})
    git(world.repo, "checkout", "--quiet", "--detach", first)
    (world.repo / "secret").write_text("of nobody else")
    world.checker.error = CheckError(reason="it does not run")
    record = await world.update(world.upstream({".gitignore": "installed\n", "code": "B"}))
    assert record.state is State.ROLLED_BACK
    assert (world.repo / "secret").read_text() == "of nobody else"
    assert world.status() == ""


async def test_python_runs_the_old_code_though_the_new_has_its_size_and_second(world: World) -> None:
    first = world.upstream({"answer.py": "print('old')", ".gitignore": "installed\n__pycache__/\n"})
    git(world.repo, "checkout", "--quiet", "--detach", first)
    target = world.upstream({"answer.py": "print('new')"})

    async def check(*, new_libraries: bool) -> str:
        assert not new_libraries
        assert await asyncio.to_thread(said_by_module, world.repo) == "new"
        raise CheckError(reason="it does not run")

    world.checker.check = check  # type: ignore[method-assign]  # the step in which the byte code is written
    record = await world.update(target)
    assert record.state is State.ROLLED_BACK
    assert said_by_module(world.repo) == "old"


def said_by_module(folder: Path) -> str:
    """What a fresh interpreter prints; it leaves byte code for a source of always the same second."""
    os.utime(folder / "answer.py", (1_700_000_000, 1_700_000_000))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ran = subprocess.run(
        (sys.executable, "-c", "import answer"), cwd=folder, env=environ, capture_output=True, check=True, text=True
    )
    assert list(folder.glob("__pycache__/*.pyc"))
    return ran.stdout.strip()
