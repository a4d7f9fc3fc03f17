"""A process that leaves: what it still answers, and when it has fallen quiet."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from daemon.server.lame_duck import FIRST_REQUEST, QUIET, LameDuck
from daemon.server.limits import LimitedRunner, Limits
from tests.support.raw_http import Connection

LIMIT = 3.0  # seconds


class Served:
    """An application with one handler, which answers when it is told to."""

    def __init__(self) -> None:
        self.duck = LameDuck()
        self.answer = asyncio.Event()
        self.asked = asyncio.Event()
        app = web.Application(middlewares=[self.duck.count])
        app.router.add_get("/", self._handle)
        self.runner = LimitedRunner(app, limits=Limits())
        self.port = 0

    async def _handle(self, _request: web.Request) -> web.Response:
        self.asked.set()
        await self.answer.wait()
        return web.Response(text="answered")

    def connect(self) -> Connection:
        return Connection(self.port)

    async def leave(self, limit: float = LIMIT) -> float:
        """How long it took to fall quiet."""
        began = time.monotonic()
        await self.duck.quiet(self.runner.open_connections, limit)
        return time.monotonic() - began


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    await served.runner.setup()
    server = await asyncio.get_running_loop().create_server(served.runner.server, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    yield served
    server.close()
    await served.runner.cleanup()


async def test_nobody_is_waited_for_where_nobody_is_connected(served: Served) -> None:
    assert await served.leave() < QUIET


async def test_connection_is_kept_until_the_process_leaves(served: Served) -> None:
    served.answer.set()
    async with served.connect() as connection:
        await connection.send("GET /")
        assert "connection" not in (await connection.response()).headers
        leaving = asyncio.create_task(served.leave())
        await asyncio.sleep(0)
        await connection.send("GET /")
        assert (await connection.response()).headers["connection"] == "close"
        await leaving


async def test_request_in_flight_is_waited_for(served: Served) -> None:
    async with served.connect() as connection:
        await connection.send("GET /")
        await served.asked.wait()
        leaving = asyncio.create_task(served.leave())
        await asyncio.sleep(2 * QUIET)
        assert not leaving.done()
        served.answer.set()
        assert (await connection.response()).body == b"answered"
        await leaving


async def test_request_that_does_not_end_is_waited_for_no_longer_than_the_limit(served: Served) -> None:
    async with served.connect() as connection:
        await connection.send("GET /")
        await served.asked.wait()
        assert 0.3 <= await served.leave(limit=0.3) < LIMIT
        served.answer.set()


async def test_idle_connection_gets_a_moment_for_its_next_request(served: Served) -> None:
    served.answer.set()
    async with served.connect() as connection:
        await connection.send("GET /")
        await connection.response()
        assert QUIET <= await served.leave() < FIRST_REQUEST


async def test_connection_without_a_request_so_far_gets_more_than_a_moment(served: Served) -> None:
    served.answer.set()
    async with served.connect() as connection:
        leaving = asyncio.create_task(served.leave())
        await asyncio.sleep(3 * QUIET)
        assert not leaving.done()
        await connection.send("GET /")
        assert (await connection.response()).status == 200
        await leaving
