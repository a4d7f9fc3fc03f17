"""A control plane without its sockets: a real database file, and machines from an inventory that are played."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.control.actions import Operator
from daemon.control.changes import Changes
from daemon.control.database import Operations, Sightings
from daemon.control.database.engine import database_url, open_database
from daemon.control.fleet import Fleet
from daemon.control.providers.inventory import InventoryProvider
from tests.support.fake_machine import NEW, FakeMachine


@dataclass
class Plane:
    """One control plane. `look` is done by the test and not by a clock."""

    fleet: Fleet
    operations: Operations
    operator: Operator


def write_inventory(path: Path, machines: Sequence[dict[str, Any]]) -> None:
    path.write_text(json.dumps({"machines": machines}))


def entry(machine: FakeMachine, folder: Path, name: str = "m", kind: str = "daytona") -> dict[str, Any]:
    token = folder / f"{name}.token"
    token.write_text(machine.token or "none")
    return {"name": name, "kind": kind, "url": machine.url, "token_file": str(token)}


@asynccontextmanager
async def database(folder: Path) -> AsyncIterator[AsyncEngine]:
    engine = await open_database(database_url(f"sqlite:///{folder}/control.sqlite"))
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def plane(
    engine: AsyncEngine, inventory: Path, *, os_sha: str = NEW, lease_seconds: float = 30
) -> AsyncIterator[Plane]:
    operations, changes = Operations(engine, lease_seconds=lease_seconds), Changes()
    fleet = Fleet([InventoryProvider(inventory)], operations, Sightings(engine), changes, os_sha=os_sha)
    operator = Operator(fleet, operations, lease_seconds=lease_seconds)
    await fleet.open()
    await fleet.look()
    try:
        yield Plane(fleet, operations, operator)
    finally:
        await operator.stop()
