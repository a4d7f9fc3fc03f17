"""A whole control plane on a port of loopback, in this process, with an inventory of machines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from daemon.control.app import Control, build
from daemon.control.serve import serve
from daemon.control.settings import ControlSettings
from daemon.settings import Address
from tests.support.fake_machine import NEW
from tests.support.machine import free_port

TOKEN = "token-for-the-console"


@asynccontextmanager
async def served(folder: Path, inventory: Path, **more: str) -> AsyncIterator[tuple[Control, str]]:
    """The control plane, which has looked at its machines, and its URL."""
    address = Address("127.0.0.1", free_port())
    given = {
        "CONTROL_LISTEN": str(address),
        "CONTROL_STATE_DIR": str(folder / "control"),
        "CONTROL_TOKEN": TOKEN,
        "CONTROL_INVENTORY": str(inventory),
        "CONTROL_POLL_INTERVAL": "0.2",
        "ITERATE_GIT_SHA": NEW,
    }
    async with AsyncExitStack() as stack:
        control = await build(ControlSettings.from_environment(given | more), stack)
        await control.fleet.look()
        serving = asyncio.create_task(serve(control))
        try:
            while not await _listens(address):
                assert not serving.done(), serving.exception()
                await asyncio.sleep(0.01)
            yield control, f"http://{address}"
        finally:
            control.leaving.set()
            await serving


async def _listens(address: Address) -> bool:
    try:
        _, writer = await asyncio.open_connection(*address)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
