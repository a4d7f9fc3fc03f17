"""The first answers of a process come before the rest of it, and nobody is lost in between."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from daemon import __version__
from daemon.head import Head
from daemon.server.front import MAX_BODY, Front, Handler
from daemon.server.lame_duck import LameDuck

COMMIT = "a" * 40
PATIENCE = 1.5  # seconds


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """Of a checkout at COMMIT; it listens on the socket `s` of the folder."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(f"{COMMIT}\n")
    front = Front(Head(tmp_path), LameDuck().count, patience=PATIENCE)
    runner = web.AppRunner(front.app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "s")).start()
    yield front
    await runner.cleanup()


@contextlib.asynccontextmanager
async def asked(tmp_path: Path, path: str, method: str = "GET", **more: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    connector = aiohttp.UnixConnector(path=str(tmp_path / "s"))
    async with (
        aiohttp.ClientSession("http://localhost", connector=connector) as session,
        session.request(method, path, **more) as response,
    ):
        yield response


async def text(tmp_path: Path, path: str, method: str = "GET") -> tuple[int, str]:
    async with asked(tmp_path, path, method) as response:
        return response.status, await response.text()


@web.middleware
async def marked(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = web.Response(status=error.status, text="phrased")
    response.headers["X-Whole"] = "yes"
    return response


def whole_application() -> web.Application:
    async def named(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text=f"{request.path} {request.match_info.get('id')}")

    app = web.Application(middlewares=[marked])
    app.add_routes([web.get("/healthz", named), web.get("/things/{id}", named), web.post("/things", named)])
    return app


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/readyz", 503)])
async def test_a_probe_is_answered_before_the_rest_is_there(
    front: Front, tmp_path: Path, path: str, status: int
) -> None:
    async with asked(tmp_path, path) as response:
        assert response.status == status
        assert await response.json() == {
            "status": "starting",
            "version": __version__,
            "sha": COMMIT,
            "boot_id": front.boot_id,
        }


async def test_every_other_request_waits_for_the_whole_and_is_answered_by_it(front: Front, tmp_path: Path) -> None:
    wanted = (("/things/7", "GET"), ("/nothing", "GET"), ("/things/7", "DELETE"), ("/healthz", "POST"))
    waiting = [asyncio.create_task(text(tmp_path, *one)) for one in wanted]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in waiting)
    await front.open(whole_application())
    assert await asyncio.gather(*waiting) == [
        (200, "/things/7 7"),
        (404, "phrased"),
        (405, "phrased"),
        (405, "phrased"),
    ]


async def test_the_whole_answers_everything_once_it_is_there(front: Front, tmp_path: Path) -> None:
    await front.open(whole_application())
    async with asked(tmp_path, "/healthz") as response:
        assert (await response.text(), response.headers["X-Whole"]) == ("/healthz None", "yes")


async def test_a_body_is_bounded_before_the_whole_sees_it(front: Front, tmp_path: Path) -> None:
    await front.open(whole_application())
    async with asked(tmp_path, "/things", "POST", data=b"x" * (MAX_BODY + 1)) as response:
        assert response.status == 413


async def test_a_client_that_leaves_takes_nobody_along(front: Front, tmp_path: Path) -> None:
    stays, leaves = (asyncio.create_task(text(tmp_path, f"/things/{n}")) for n in (1, 2))
    await asyncio.sleep(0.05)
    leaves.cancel()
    await asyncio.wait({leaves})
    await front.open(whole_application())
    assert await stays == (200, "/things/1 1")


async def test_whoever_waits_for_a_process_that_ends_is_told_to_come_again(front: Front, tmp_path: Path) -> None:
    async def ask() -> tuple[int, str, str]:
        async with asked(tmp_path, "/things/1") as response:
            return response.status, response.headers["Retry-After"], (await response.json())["code"]

    waiting = asyncio.create_task(ask())
    await asyncio.sleep(0.05)
    front.refuse()
    assert await waiting == await ask() == (503, "1", "restarting")


async def test_the_whole_is_started_and_ended_with_the_server(tmp_path: Path) -> None:
    front, seen = Front(Head(tmp_path), LameDuck().count, patience=60), []
    runner = web.AppRunner(front.app)
    await runner.setup()
    app = whole_application()

    def note(what: str) -> Callable[[web.Application], Awaitable[None]]:
        async def hook(_: web.Application) -> None:
            seen.append(what)

        return hook

    app.on_startup.append(note("startup"))
    app.on_shutdown.append(note("shutdown"))
    app.on_cleanup.append(note("cleanup"))
    await front.open(app)
    await runner.cleanup()
    assert seen == ["startup", "shutdown", "cleanup"]


async def test_request_that_waited_long_is_told_to_come_again(front: Front, tmp_path: Path) -> None:
    async with asked(tmp_path, "/things/1") as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
    await front.open(whole_application())
    assert (await text(tmp_path, "/things/1"))[0] == 200
