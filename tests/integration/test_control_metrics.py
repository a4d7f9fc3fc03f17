"""What Prometheus reads of a control plane, and who may."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon.auth.users import Users
from daemon.control.app import Control
from daemon.control.models import Activity, RefreshResult
from daemon.models import Role
from daemon.triggers.openapi import PATH
from tests.support.control_app import TOKEN, served
from tests.support.control_world import entry, write_inventory
from tests.support.fake_machine import FakeMachine, fails, succeeds

ID = "inventory.m"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class World:
    control: Control
    url: str
    machine: FakeMachine
    folder: Path
    bearer: dict[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {TOKEN}"})

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path, headers=headers) as answer:
            return answer.status, await answer.text()

    async def samples(self) -> Samples:
        status, text = await self.get("/metrics", **self.bearer)
        assert status == 200
        families = text_string_to_metric_families(text)
        return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with FakeMachine(token="t") as machine:
        inventory = tmp_path / "inventory.json"
        write_inventory(inventory, [entry(machine, tmp_path), entry(machine, tmp_path, "mine", "local")])
        async with served(tmp_path, inventory) as (control, url):
            yield World(control, url, machine, tmp_path)


def named(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"refreshd_control_{name}", frozenset(labels.items())))


async def refresh(world: World) -> RefreshResult:
    return await world.control.operator.refresh_code(ID, by="test")


async def test_machines_are_counted_by_kind_and_state(world: World) -> None:
    samples = await world.samples()
    views = world.control.fleet.machines()
    for view in views:
        assert named(samples, "machines", kind=view.kind, state=view.state.value) == 1.0
    assert sum(value for (name, _), value in samples.items() if name == "refreshd_control_machines") == len(views)
    assert named(samples, "machines", kind="daytona", state="failed") == 0.0
    assert named(samples, "provider_up", provider="inventory") == 1.0
    # they are two names of one machine that plays
    assert (named(samples, "machines_reachable"), named(samples, "machines_outdated")) == (2.0, 2.0)


async def test_a_provider_that_does_not_answer_is_down(world: World) -> None:
    (world.folder / "inventory.json").write_text("no inventory")
    await world.control.fleet.look()
    assert named(await world.samples(), "provider_up", provider="inventory") == 0.0


async def test_refreshes_are_counted_by_what_they_came_to_with_their_time(world: World) -> None:
    assert not [name for name, _ in await world.samples() if name.startswith("refreshd_control_operation_seconds")]
    world.machine.script = fails()
    assert not (await refresh(world)).success
    world.machine.script = succeeds()
    assert (await refresh(world)).success
    samples = await world.samples()
    for outcome in ("failed", "succeeded"):
        labels = {"activity": "refresh", "provider": "inventory", "outcome": outcome}
        assert named(samples, "operation_seconds_count", **labels) == 1.0
        seconds = named(samples, "operation_seconds_sum", **labels)
        assert seconds is not None
        assert 0 < seconds < 60


async def test_what_is_being_done_is_counted_while_it_lasts(world: World) -> None:
    operation = await world.control.operator._operations.begin(ID, Activity.REFRESH, by="test")
    await world.control.fleet.refresh_views()
    assert named(await world.samples(), "operations_running", activity="refresh") == 1.0
    await world.control.operator._operations.finish(operation.id, RefreshResult(success=True, message="", outcome=""))
    await world.control.fleet.refresh_views()
    assert named(await world.samples(), "operations_running", activity="refresh") == 0.0


@pytest.mark.parametrize("path", ["/metrics", PATH])
async def test_only_who_may_read_is_told(world: World, path: str) -> None:
    assert (await world.get(path))[0] == 401
    assert (await world.get(path, Authorization="Bearer wrong"))[0] == 401
    users = Users(world.folder / "control" / "users.json")
    reader = await asyncio.to_thread(users.add, "ann", Role.READ)
    assert (await world.get(path, Authorization=f"Bearer {reader.token}"))[0] == 200


async def test_every_rest_route_is_described_and_no_other(world: World) -> None:
    async with aiohttp.ClientSession() as session, session.get(world.url + PATH, headers=world.bearer) as answer:
        document = await answer.json()
    real = {
        (route.method.lower(), route.resource.canonical)
        for route in world.control.app.router.routes()
        if route.resource and route.method not in {"*", "HEAD"}
    }
    described = {(method, path) for path, item in document["paths"].items() for method in item}
    assert {(method, path) for method, path in real if path.startswith("/api/v1")} <= described <= real
    assert ("get", "/metrics") in described
    assert document["info"]["title"] == "refreshd control"
