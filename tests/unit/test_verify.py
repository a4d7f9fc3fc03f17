"""What makes an update a failure in the eyes of the process that it led to, and what does not."""

import shutil
from pathlib import Path

import pytest

from daemon.models import Update
from daemon.states import State
from tests.support.world import World, answers, git


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def judged(world: World, update: Update) -> Update:
    """The record after the new process has come up and looked."""
    await world.restart()
    assert await world.recovery.recover() is False
    restart = await world.recovery.verify(answers)
    record = await world.journal.get(update.id)
    assert restart == (record.state is State.ROLLED_BACK)
    return record


def refused(record: Update, words: str) -> None:
    assert record.error
    assert (record.state, record.error.code) == (State.ROLLED_BACK, "verify_failed")
    assert words in record.error.message


async def test_what_the_update_intended_is_on_record_before_the_restart(world: World) -> None:
    update = await world.update(world.upstream({"code": "B", "deps": "two"}))
    assert update.tree == await world.machinery.snapshots.tree()
    assert update.installed == {"fake": world.installer.installs[-1]}


async def test_an_edit_of_another_file_meanwhile_is_no_failure(world: World) -> None:
    update = await world.update(world.upstream({"code": "B"}))
    (world.repo / "deps").write_text("edited")
    (world.repo / "new").write_text("added")
    record = await judged(world, update)
    assert (record.state, record.notes) == (State.SUCCEEDED, ())
    assert (world.repo / "deps").read_text() == "edited"


@pytest.mark.parametrize("content", ["edited", None])
async def test_an_edit_of_a_file_that_the_update_changed_is_told_and_no_failure(
    world: World, content: str | None
) -> None:
    update = await world.update(world.upstream({"code": "B"}))
    (world.repo / "code").unlink()
    if content:
        (world.repo / "code").write_text(content)
    record = await judged(world, update)
    assert (record.state, record.notes) == (State.SUCCEEDED, ("changed since the update put them there: code",))
    assert (world.repo / "code").exists() == bool(content)


async def test_one_file_that_is_as_before_is_an_edit_as_well(world: World) -> None:
    update = await world.update(world.upstream({"code": "B", "more": "B"}))
    (world.repo / "code").write_text("A")
    assert (await judged(world, update)).state is State.SUCCEEDED


async def test_an_update_of_which_no_file_is_there_any_more_has_failed(world: World) -> None:
    update = await world.update(world.upstream({"code": "B", "more": "B"}))
    (world.repo / "code").write_text("A")
    (world.repo / "more").unlink()
    refused(await judged(world, update), "code, more and all else that it changed is what it was before")


async def test_head_elsewhere_is_a_failure(world: World) -> None:
    update = await world.update(world.upstream({"code": "B"}))
    git(world.repo, "update-ref", "--no-deref", "HEAD", world.first)
    refused(await judged(world, update), "the checkout is at")


async def test_dependencies_that_went_are_a_failure(world: World) -> None:
    update = await world.update(world.upstream({"deps": "two"}))
    (world.repo / "installed").unlink()
    refused(await judged(world, update), "installed with fake are not there any more")


async def test_dependencies_that_were_missing_before_and_are_not_the_updates_are_no_failure(world: World) -> None:
    git(world.repo, "rm", "--quiet", "--cached", "deps")
    git(world.repo, "commit", "--quiet", "--message", "without dependencies")
    (world.repo / "deps").unlink()
    update = await world.update(world.upstream({"code": "B"}))
    assert not (world.repo / "installed").exists()
    assert (await judged(world, update)).state is State.SUCCEEDED


async def test_a_repository_of_snapshots_that_went_is_no_failure_of_the_update(world: World) -> None:
    update = await world.update(world.upstream({"code": "B"}))
    shutil.rmtree(world.machinery.snapshots.folder / "objects")
    assert (await judged(world, update)).state is State.SUCCEEDED
