"""What only HEAD or the index leads to: an update that moves them gives it a name."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from daemon.errors import CheckError
from daemon.keeper import KEPT, Keeper
from daemon.refs import Ref
from daemon.sources import Staged
from daemon.states import State
from tests.support.world import World, git


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def updated(world: World, target: str) -> tuple[str, ...]:
    """Its notes."""
    update = await world.update(target)
    assert update.state is State.RESTARTING, update.message
    await world.restart_well()
    return update.notes


def kept(world: World) -> list[str]:
    return git(world.repo, "for-each-ref", "--format=%(refname)", KEPT).split()


def forget_what_has_no_name(world: World) -> None:
    git(world.repo, "reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
    git(world.repo, "gc", "--quiet", "--prune=now")


async def test_commits_on_a_detached_head_are_kept_under_a_name(world: World) -> None:
    second, third = world.upstream({"code": "B"}), world.upstream({"code": "C"})
    git(world.repo, "branch", "third", third)
    await updated(world, second)
    mine = world.commit({"mine": "work"})
    notes = await updated(world, third)
    assert kept(world) == [f"{KEPT}{mine}"]
    assert notes == (f"{mine[:12]} was on no branch: {KEPT}{mine} keeps it",)
    git(world.repo, "update-ref", "-d", "ORIG_HEAD")
    forget_what_has_no_name(world)
    assert git(world.repo, "show", f"{mine}:mine") == "work"


async def test_a_commit_that_is_made_while_the_update_begins_is_kept_too(world: World) -> None:
    second, third = world.upstream({"code": "B"}), world.upstream({"code": "C"})
    await updated(world, second)
    stage, mine = world.source.stage, []

    async def stage_slowly(ref: Ref) -> Staged:
        staged = await stage(ref)
        mine.append(await asyncio.to_thread(world.commit, {"mine": "work"}))
        return staged

    world.source.stage = stage_slowly  # type: ignore[method-assign]  # the step in which it happens
    await updated(world, third)
    assert kept(world) == [f"{KEPT}{mine[0]}"]


async def test_a_commit_on_code_that_is_undone_is_kept(world: World) -> None:
    target, mine = world.upstream({"code": "B"}), []

    async def check(*, new_libraries: bool) -> str:
        assert not new_libraries
        mine.append(await asyncio.to_thread(world.commit, {"mine": "work"}))
        raise CheckError(reason="it does not run")

    world.checker.check = check  # type: ignore[method-assign]  # the step in which it happens
    update = await world.update(target)
    assert (update.state, world.head()) == (State.ROLLED_BACK, world.first)
    assert kept(world) == [f"{KEPT}{mine[0]}"]
    assert f"{mine[0][:12]} was on no branch: {KEPT}{mine[0]} keeps it" in update.notes


async def test_commits_on_a_branch_need_no_other_name(world: World) -> None:
    target = world.upstream({"code": "B"})
    git(world.repo, "switch", "--quiet", "--create", "mine")
    world.commit({"mine": "work"})
    assert not any("keeps it" in note for note in await updated(world, target))
    assert kept(world) == []


async def test_a_detached_commit_that_a_branch_or_a_tag_leads_to_needs_no_other_name(world: World) -> None:
    target = world.upstream({"code": "B"})
    git(world.repo, "checkout", "--quiet", "--detach")
    world.commit({"mine": "work"})
    git(world.repo, "tag", "mine")
    await updated(world, target)
    assert kept(world) == []


async def test_what_an_update_brought_is_not_kept_when_the_next_one_comes(world: World) -> None:
    second, third = world.upstream({"code": "B"}), world.upstream({"code": "C"})
    await updated(world, second)
    await updated(world, third)
    await updated(world, world.first)
    assert kept(world) == []


async def test_an_update_that_fails_before_it_begins_leaves_it_to_the_next(world: World) -> None:
    second, third = world.upstream({"code": "B"}), world.upstream({"code": "C"})
    await updated(world, second)
    mine = world.commit({"mine": "work"})
    assert (await world.update("gone")).state is State.FAILED
    assert kept(world) == []
    await updated(world, third)
    assert kept(world) == [f"{KEPT}{mine}"]


async def test_a_broken_ref_does_not_keep_a_commit_from_getting_a_name(world: World) -> None:
    git(world.repo, "checkout", "--quiet", "--detach")
    mine = world.commit({"mine": "work"})
    (world.repo / ".git" / "refs" / "heads" / "broken").write_text("no commit\n")
    assert await Keeper(world.repo).keep_commit(mine) == f"{KEPT}{mine}"
    assert await Keeper(world.repo).keep_commit(mine) is None


async def test_what_was_staged_and_is_not_in_the_files_is_kept(world: World) -> None:
    target = world.upstream({"code": "B"})
    (world.repo / "new").write_text("staged")
    (world.repo / "code").write_text("staged")
    git(world.repo, "add", "--all")
    (world.repo / "new").unlink()
    (world.repo / "code").write_text("edited")
    (note,) = await updated(world, target)
    (name,) = kept(world)
    assert note == f"what was staged is not in the files: {name} keeps it"
    assert [git(world.repo, "show", f"{name}:{file}") for file in ("new", "code")] == ["staged", "staged"]
    assert git(world.repo, "rev-parse", f"{name}^") == world.first
    assert world.status() == ""


async def test_what_was_staged_and_is_in_the_files_needs_no_other_name(world: World) -> None:
    target = world.upstream({"code": "B"})
    (world.repo / "code").write_text("edited")
    (world.repo / "new").write_text("edited")
    git(world.repo, "add", "--all")
    (world.repo / "deps").write_text("edited and not staged")
    await updated(world, target)
    assert kept(world) == []


async def test_a_conflict_is_no_reason_to_fail(world: World) -> None:
    target = world.upstream({"code": "B"})
    git(world.repo, "switch", "--quiet", "--create", "other")
    world.commit({"code": "other"})
    git(world.repo, "switch", "--quiet", "main")
    world.commit({"code": "mine"})
    with pytest.raises(subprocess.CalledProcessError):
        git(world.repo, "merge", "other")
    await updated(world, target)
    assert kept(world) == []
