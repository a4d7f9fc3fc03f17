"""What is done to machines, and how it ends: asked, confirmed, refused, unsupported, cut off, taken over."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.control.errors import MachineNotFoundError, NoTargetError, OperationRunningError
from daemon.control.models import Activity, MachineState, Operation
from daemon.errors import InvalidRefError
from daemon.states import State
from tests.support.control_world import Plane, database, entry, plane, write_inventory
from tests.support.fake_machine import (
    NEW,
    OLD,
    FakeMachine,
    Pause,
    Restart,
    begins,
    ends_inconsistent,
    fails,
    finds_nothing_to_do,
    problem,
    rolls_back,
    succeeds,
)

ID = "inventory.m"


@pytest.fixture
async def machine() -> AsyncIterator[FakeMachine]:
    async with FakeMachine(token="t") as machine:
        yield machine


@pytest.fixture
def inventory(machine: FakeMachine, tmp_path: Path) -> Path:
    path = tmp_path / "inventory.json"
    write_inventory(path, [entry(machine, tmp_path), entry(machine, tmp_path, "mine", "local")])
    return path


@pytest.fixture
async def control(inventory: Path, tmp_path: Path) -> AsyncIterator[Plane]:
    async with database(tmp_path) as engine, plane(engine, inventory) as made:
        yield made


async def test_what_a_machine_runs_is_compared_with_the_control_planes_commit(control: Plane) -> None:
    view = control.fleet.get(ID)
    assert view.reachable
    assert view.version
    assert (view.version.running.sha, view.update_available) == (OLD, True)
    assert view.state is MachineState.RUNNING


async def test_a_refresh_is_confirmed_and_the_mismatch_is_gone(control: Plane, machine: FakeMachine) -> None:
    result = await control.operator.refresh_code(ID, by="ann")
    assert (result.success, result.outcome, result.from_commit, result.to_commit) == (True, "succeeded", OLD, NEW)
    view = control.fleet.get(ID)
    assert (view.update_available, view.busy) == (False, False)
    assert view.version
    assert view.version.boot_id == machine.boot_id != "boot-1"
    (asked,) = machine.asked()
    assert asked.body["target_ref"] == NEW
    (recorded,) = await control.operations.history(ID)
    assert (recorded.asked_by, recorded.result) == ("ann", result)
    assert asked.body["idempotency_key"] == recorded.id


async def test_a_rollback_brings_the_git_token_of_its_provider(
    control: Plane, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def git_token(_provider: object) -> str:
        return "secret"

    provider, _ = control.fleet.provided(ID)
    monkeypatch.setattr(type(provider), "git_token", git_token, raising=False)
    operation = await control.operator.begin(ID, Activity.ROLLBACK, by="ann", target_ref="000001-abcdef")
    await control.operator.wait(operation)
    (asked,) = machine.asked()
    assert (asked.path, asked.body["git_token"]) == ("/api/v1/updates/000001-abcdef/rollback", "secret")


async def test_a_proxy_that_answers_502_during_the_restart_is_no_failure(control: Plane, machine: FakeMachine) -> None:
    machine.script = succeeds(Restart(seconds=0.5, gateway=True))
    assert (await control.operator.refresh_code(ID, by="ann")).outcome == "succeeded"


async def test_nothing_to_do_is_a_success(control: Plane, machine: FakeMachine) -> None:
    machine.script = finds_nothing_to_do()
    result = await control.operator.refresh_code(ID, by="ann", target_ref=OLD)
    assert (result.success, result.outcome) == (True, "unchanged")


@pytest.mark.parametrize(
    ("script", "outcome", "reason"),
    [
        (fails(), "failed", "no route"),
        (rolls_back(), "rolled_back", "does not import"),
        (ends_inconsistent(), "inconsistent", "the way back failed"),
        (succeeds(Restart(keeps_boot_id=True)), "inconsistent", "the process from before the update still answers"),
        (succeeds(Restart(keeps_commit=True)), "inconsistent", "and not"),
    ],
)
async def test_an_update_that_does_not_succeed_is_told_as_it_ended(
    control: Plane, machine: FakeMachine, script: list[object], outcome: str, reason: str
) -> None:
    machine.script = script  # type: ignore[assignment]
    result = await control.operator.refresh_code(ID, by="ann")
    assert (result.success, result.outcome) == (False, outcome)
    assert reason in result.message
    assert not control.fleet.get(ID).busy


async def test_a_machine_that_runs_the_hosts_code_answers_that_it_is_not_supported(
    control: Plane, machine: FakeMachine
) -> None:
    result = await control.operator.refresh_code("inventory.mine", by="ann")
    assert (result.success, result.outcome) == (False, "unsupported")
    assert machine.asked() == []
    assert Activity.REFRESH not in control.fleet.get("inventory.mine").supports


async def test_a_daemon_that_refuses_is_quoted(control: Plane, machine: FakeMachine) -> None:
    machine.replace = lambda request: (
        problem(422, "bad_target", "cannot update to that again") if request.method == "POST" else None
    )
    result = await control.operator.refresh_code(ID, by="ann")
    assert (result.success, result.outcome, result.message) == (False, "refused", "cannot update to that again")


async def test_a_second_refresh_meets_the_first_by_name(control: Plane, machine: FakeMachine) -> None:
    machine.script = [*begins(), Pause(0.3), *succeeds()[len(begins()) :]]
    first = await control.operator.begin(ID, Activity.REFRESH, by="ann")
    with pytest.raises(OperationRunningError) as refused:
        await control.operator.begin(ID, Activity.REFRESH, by="bob")
    assert first.id in str(refused.value)
    assert "ann" in str(refused.value)
    assert (await control.operator.wait(first)).success


async def test_the_steps_are_seen_while_they_happen(control: Plane, machine: FakeMachine) -> None:
    machine.script = [*begins(), Pause(0.3), *succeeds()[len(begins()) :]]
    operation = await control.operator.begin(ID, Activity.REFRESH, by="ann")

    def step() -> State | None:
        shown = control.fleet.get(ID).operation
        return shown.step if shown else None

    async with asyncio.timeout(5):
        await control.fleet.until(ID, lambda _: step() is State.CHECKING)
    assert (await control.operator.wait(operation)).success


async def test_an_unknown_machine_a_bad_ref_and_no_target_are_refused_before_anything_is_recorded(
    control: Plane,
) -> None:
    with pytest.raises(MachineNotFoundError):
        await control.operator.begin("inventory.no", Activity.REFRESH, by="ann")
    with pytest.raises(InvalidRefError):
        await control.operator.begin(ID, Activity.REFRESH, by="ann", target_ref="--upload-pack=x")
    control.fleet.os_sha = ""
    with pytest.raises(NoTargetError):
        await control.operator.begin(ID, Activity.REFRESH, by="ann")
    assert await control.operations.history(ID) == []


async def test_a_wrong_token_is_shown_as_the_reason_and_the_last_version_is_kept(
    control: Plane, machine: FakeMachine
) -> None:
    machine.token = "another"
    await control.fleet.look()
    view = control.fleet.get(ID)
    assert not view.reachable
    assert "token" in view.problem
    assert view.version
    assert view.version.running.sha == OLD


async def dies_in_the_middle(engine_folder: Path, inventory: Path, machine: FakeMachine, pause: float) -> Operation:
    """A control plane that lets go of a refresh which goes on in the machine."""
    machine.script = [*begins(), Pause(pause), *succeeds()[len(begins()) :]]
    async with database(engine_folder) as engine, plane(engine, inventory) as dying:
        operation = await dying.operator.begin(ID, Activity.REFRESH, by="ann")
        async with asyncio.timeout(5):
            await dying.fleet.until(ID, lambda view: bool(view and view.operation and view.operation.step))
        return operation


@pytest.mark.parametrize("pause", [0.0, 0.6])
async def test_what_a_dead_control_plane_began_is_followed_to_its_end_by_the_next(
    inventory: Path, machine: FakeMachine, tmp_path: Path, pause: float
) -> None:
    operation = await dies_in_the_middle(tmp_path, inventory, machine, pause)
    async with database(tmp_path) as engine, plane(engine, inventory) as heir:
        assert heir.fleet.get(ID).busy
        await heir.operator.take_over()
        result = await heir.operator.wait(operation)
        assert (result.success, result.outcome, result.to_commit) == (True, "succeeded", NEW)
        assert len(machine.entries) == 1
        assert not heir.fleet.get(ID).busy


async def test_what_never_reached_the_machine_is_not_begun_a_second_time(control: Plane, machine: FakeMachine) -> None:
    lost = await control.operations.begin(ID, Activity.REFRESH, by="ann", target_ref=NEW)
    await control.operations.let_go(lost.id)
    await control.operator.take_over()
    result = await control.operator.wait(lost)
    assert (result.success, result.outcome) == (False, "unknown")
    assert machine.asked() == []


async def test_nobody_waits_for_a_machine_that_is_gone(control: Plane, machine: FakeMachine, inventory: Path) -> None:
    machine.script = [*begins(), Pause(60)]
    operation = await control.operator.begin(ID, Activity.REFRESH, by="ann")
    await control.fleet.until(ID, lambda view: bool(view and view.operation and view.operation.step))
    write_inventory(inventory, [])
    await control.fleet.look()
    async with asyncio.timeout(5):
        result = await control.operator.wait(operation)
    assert result.outcome == "stopped"
