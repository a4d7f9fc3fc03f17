"""Two control planes, each a process of its own, on one PostgreSQL: one refresh at a time, and nothing left busy."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.support.control_app import TOKEN
from tests.support.control_world import entry, write_inventory
from tests.support.fake_machine import NEW, OLD, FakeMachine, Pause, begins, succeeds
from tests.support.machine import PROJECT, free_port
from tests.support.postgres import postgres
from tests.support.s6 import eventually

ID = "inventory.m"
PATIENCE = 60.0  # seconds


@dataclass
class Plane:
    process: Process
    url: str
    session: ClientSession

    async def call(self, procedure: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
        url = f"{self.url}/api/trpc/{procedure}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        ask = (
            self.session.get(url, headers=headers)
            if given is None
            else self.session.post(url, headers=headers, json=given)
        )
        async with ask as answer:
            content: dict[str, Any] = await answer.json()
            return content

    async def machine(self) -> dict[str, Any] | None:
        listed = (await self.call("machine.list"))["result"]["data"]
        return next((machine for machine in listed if machine["id"] == ID), None)

    async def refresh(self) -> dict[str, Any]:
        return await self.call("machine.refreshCode", {"id": ID})

    async def until(self, **facts: object) -> dict[str, Any]:
        """The machine, when all of these are so at once."""
        async with asyncio.timeout(PATIENCE):
            while True:
                machine = await self.machine()
                if machine and facts.items() <= {**simple(machine), "busy": machine["operation"] is not None}.items():
                    return machine
                await asyncio.sleep(0.1)


def simple(machine: dict[str, Any]) -> dict[str, object]:
    return {name: value for name, value in machine.items() if isinstance(value, bool | str)}


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture
async def machine() -> AsyncIterator[FakeMachine]:
    async with FakeMachine(token="t") as machine:
        yield machine


@pytest.fixture
async def planes(database: str, machine: FakeMachine, tmp_path: Path) -> AsyncIterator[tuple[Plane, Plane]]:
    write_inventory(tmp_path / "inventory.json", [entry(machine, tmp_path)])
    async with (
        ClientSession() as session,
        plane(database, tmp_path, session) as one,
        plane(database, tmp_path, session) as two,
    ):
        for each in (one, two):
            await each.until(reachable=True)
        yield one, two


@asynccontextmanager
async def plane(database: str, folder: Path, session: ClientSession) -> AsyncIterator[Plane]:
    port = free_port()
    env = {
        **os.environ,
        "CONTROL_LISTEN": f"127.0.0.1:{port}",
        "CONTROL_STATE_DIR": str(folder / "control"),
        "CONTROL_DATABASE_URL": database,
        "CONTROL_TOKEN": TOKEN,
        "CONTROL_INVENTORY": str(folder / "inventory.json"),
        "CONTROL_POLL_INTERVAL": "0.2",
        "CONTROL_LEASE": "2",
        "ITERATE_GIT_SHA": NEW,
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "daemon", "control", cwd=PROJECT, env=env)
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(PATIENCE):
            while not await answers(session, url):
                assert process.returncode is None
                await asyncio.sleep(0.1)
        yield Plane(process, url, session)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0


async def answers(session: ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/healthz") as answer:
            return answer.status == 200
    except OSError:
        return False


async def test_of_two_that_refresh_one_machine_at_once_one_may_and_one_is_told_of_it(
    planes: tuple[Plane, Plane], machine: FakeMachine
) -> None:
    machine.script = [*begins(), Pause(1), *succeeds()[len(begins()) :]]
    asked = await asyncio.gather(*(plane.refresh() for plane in planes))
    (refused,) = [answer["error"] for answer in asked if "error" in answer]
    (done,) = [answer["result"]["data"] for answer in asked if "result" in answer]
    assert refused["data"]["code"] == "CONFLICT"
    assert "is under way" in refused["message"]
    assert (done["success"], done["from"], done["to"]) == (True, OLD, NEW)
    assert len(machine.entries) == 1
    for plane in planes:
        await plane.until(updateAvailable=False, busy=False)


async def test_where_one_is_killed_in_the_middle_the_other_finds_out_how_it_ended(
    planes: tuple[Plane, Plane], machine: FakeMachine
) -> None:
    machine.script = [*begins(), Pause(4), *succeeds()[len(begins()) :]]
    dying, heir = planes
    asking = asyncio.create_task(dying.refresh())
    assert (await heir.until(busy=True))["operation"]["activity"] == "refresh"
    await eventually(lambda: machine.entries, "the machine was asked")
    dying.process.kill()
    await dying.process.wait()
    await asyncio.gather(asking, return_exceptions=True)
    found = await heir.until(busy=False)
    last = found["lastOperation"]
    assert (last["result"]["success"], last["result"]["to"], last["askedBy"]) == (True, NEW, "token")
    assert len(machine.entries) == 1
