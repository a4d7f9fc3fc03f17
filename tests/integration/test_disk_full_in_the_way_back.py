"""A disk on which not even the way back has room: somebody takes what was kept free for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from daemon.client import Client, InconsistentError
from daemon.models import Update
from daemon.states import State
from tests.integration.test_guard import ready
from tests.support.faults import Fault
from tests.support.matrix_machine import EDITED, FaultyMachine
from tests.support.s6 import Service

TAKES_ALL = Fault("git", "* read-tree -u --reset *", "before", "fill")


async def started_again(service: Service, client: Client, status: str = "rescue") -> None:
    """By s6, whose own record of the process may be old: it has no room either."""
    before = (await client.health()).boot_id
    await service.restart()
    await ready(client, status=status, after=before)


@asynccontextmanager
async def left_without_room() -> AsyncIterator[tuple[FaultyMachine, Client, Update]]:
    """A machine that the rescue serves, for its last update could not be undone."""
    async with FaultyMachine(mounted=False, own_disk=True, extras=False, env={}) as machine, machine.client() as client:
        await ready(client)
        (machine.repo / EDITED).write_text("mine\n")
        broken = machine.upstream.commit({"daemon/engine.py": "raise SystemExit(1)\n"})
        machine.faults.arm(TAKES_ALL)
        with pytest.raises(InconsistentError) as told:
            await client.refresh(broken)
        assert f"the way back failed: cannot write to {machine.repo}: the disk is full" in str(told.value)
        assert told.value.update.preserved

        await started_again(machine.service, client)
        version = await client.version()
        assert (version.sha, version.running.sha) == (broken, None)
        yield machine, client, told.value.update


async def test_the_machine_is_reachable_meanwhile_and_no_edit_is_lost() -> None:
    async with left_without_room() as (machine, client, update):
        machine.faults.disarm()
        rescue = (await client.health()).boot_id
        assert (await client.refresh(machine.first)).state is State.SUCCEEDED
        assert (await ready(client, after=rescue)).sha == machine.first
        assert update.preserved
        await client.restore(update.preserved.snapshot, [EDITED])
        assert (machine.repo / EDITED).read_text() == "mine\n"


async def test_the_first_start_with_room_undoes_the_update() -> None:
    async with left_without_room() as (machine, client, update):
        machine.faults.disarm()
        await started_again(machine.service, client, "alive")
        version = await client.version()
        assert version.sha == version.running.sha == machine.first
        assert (await client.get(update.id)).state is State.ROLLED_BACK
        assert (await client.status()).status != "unhealthy"
        assert (machine.repo / EDITED).read_text() == "mine\n"
