"""What is left of an update by a process that died, and how often it may be tried. The common ways: test_engine."""

import asyncio
from pathlib import Path

import pytest

from daemon.errors import StateLoopError
from daemon.journal import MOST_ENTRIES
from daemon.models import Update, UpdateRequest
from daemon.recovery import MOST_STARTS
from daemon.refs import parse_ref
from daemon.states import State
from tests.support.s6 import eventually
from tests.support.world import World, answers

FORWARD = ["requested", "begin", "staged", "applied", "installed", "checked"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def restarting(world: World) -> Update:
    return await world.update(world.upstream({"code": "B"}))


async def test_nothing_to_recover_needs_no_restart(world: World) -> None:
    assert await world.recovery.recover() is False
    assert await world.recovery.verify(answers) is False


async def test_an_update_that_ended_is_left_alone(world: World) -> None:
    update = await restarting(world)
    await world.restart_well()
    await world.restart_well()
    assert await world.chain(update.id) == [*FORWARD, "started", "verified"]


async def test_giving_up_undoes_an_update_that_was_restarting_and_holds_it_against_the_commit(world: World) -> None:
    update = await restarting(world)
    recovery = await world.restart()
    (world.folder / "state" / "starts").write_text("4\n")
    assert await recovery.recover(give_up=True) is True
    assert await world.chain(update.id) == [*FORWARD, "undone"]
    record = await world.journal.get(update.id)
    assert record.error
    assert (record.error.code, "died 4 times" in record.error.message) == ("crash_loop", True)
    assert world.head() == world.first
    assert await world.machinery.bad_targets.reason(update.to_commit)


async def test_a_process_that_dies_while_it_verifies_is_tried_again_so_many_times_and_then_undone(world: World) -> None:
    update = await restarting(world)
    for _ in range(MOST_STARTS):
        assert await (await world.restart()).recover() is False
    assert await (await world.restart()).recover() is True
    assert await world.chain(update.id) == [*FORWARD, *["started"] * MOST_STARTS, "undone"]
    record = await world.journal.get(update.id)
    assert record.error
    assert record.error.code == "crash_loop"
    assert (world.head(), world.status()) == (world.first, "")


async def fill(world: World, update_id: str) -> None:
    """Until the record takes no more."""
    record = await world.journal.get(update_id)
    for _ in range(MOST_ENTRIES - record.last_seq):
        await world.journal.note(update_id)
    with pytest.raises(StateLoopError):
        await world.journal.note(update_id)


async def test_an_update_that_goes_round_and_round_fails_with_nothing_touched(world: World) -> None:
    target = world.upstream({"code": "B"})
    world.source.hold = asyncio.Event()
    update = await world.engine.submit(UpdateRequest(target_ref=target), parse_ref(target))
    await eventually(lambda: world.source.staged, "the update is being staged")
    await fill(world, update.id)
    world.source.hold.set()
    record = await world.engine.wait(update.id)
    assert record.error
    assert (record.state, record.error.code, record.last_seq) == (State.FAILED, "state_loop", MOST_ENTRIES + 1)
    assert (world.head(), world.status()) == (world.first, "")


async def test_an_update_that_goes_round_and_round_after_it_was_applied_is_undone(world: World) -> None:
    target = world.upstream({"code": "B"})

    async def check(*, new_libraries: bool) -> str:
        assert not new_libraries
        latest = await world.journal.latest()
        assert latest
        await fill(world, latest.id)
        return "1"

    world.checker.check = check  # type: ignore[method-assign]  # the step in which it happens
    record = await world.update(target)
    assert record.error
    assert (record.state, record.error.code) == (State.ROLLED_BACK, "state_loop")
    assert (world.head(), world.status(), world.restarts) == (world.first, "", 0)
