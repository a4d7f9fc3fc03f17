"""A look that was begun beside the staging counts while nobody is waited for since."""

from pathlib import Path

import pytest

from daemon.ahead import Ahead
from daemon.refs import parse_ref
from daemon.sources import Staged
from tests.support.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def staged_in(world: World) -> Staged:
    source = world.machinery.source
    assert source
    return await source.stage(parse_ref(world.upstream({"code": "B"})))


async def test_a_look_that_was_begun_when_the_commit_was_found_is_the_snapshots(world: World) -> None:
    staged = await staged_in(world)
    (world.repo / "code").write_text("edited")
    ahead = Ahead(world.machinery, "1", world.first)
    ahead.found()
    draft = await ahead.draft(staged)
    await ahead.end()
    assert draft
    assert draft.tree == await world.machinery.snapshots.tree()


async def test_a_look_before_a_remote_is_asked_once_more_does_not_count(world: World) -> None:
    staged = await staged_in(world)
    ahead = Ahead(world.machinery, "1", world.first)
    ahead.found()
    ahead.asking()
    assert await ahead.draft(staged) is None
    await ahead.end()


async def test_where_nothing_is_to_be_applied_there_is_no_look(world: World) -> None:
    source = world.machinery.source
    assert source
    staged = await source.stage(parse_ref(world.first))
    assert staged.current
    ahead = Ahead(world.machinery, "1", world.first)
    assert await ahead.draft(staged) is None
    await ahead.end()
    assert not world.machinery.snapshots.index.exists()
