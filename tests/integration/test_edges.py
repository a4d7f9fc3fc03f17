"""What a hostile client may not do, over real sockets; and that others are served meanwhile."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from daemon.server.limits import LimitedRunner, Limits
from daemon.server.security_headers import secure
from tests.support.raw_http import Connection as RawConnection
from tests.support.running import TOKEN, Served, served

QUICK = Limits(head=0.4, body=0.4, stalled=0.4, connections=3)
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(world: Served | str) -> AsyncIterator[Streams]:
    address = urlsplit(world if isinstance(world, str) else world.tcp_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def seconds_until_closed(reader: asyncio.StreamReader) -> float:
    began = time.monotonic()
    try:
        async with asyncio.timeout(10):
            await reader.read()
    except ConnectionError:
        pass
    return time.monotonic() - began


@asynccontextmanager
async def trickling(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """A byte now and then, so that the connection is never idle."""

    async def trickle() -> None:
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.05)

    task = asyncio.create_task(trickle())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_who_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    async with served(tmp_path, limits=QUICK) as world, connected(world) as (reader, _):
        assert 0.3 < await seconds_until_closed(reader) < 3


VERSION = f"GET /api/v1/version HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()


async def ask_version(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(VERSION)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert head.startswith("http/1.1 200 ")
    await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r")[0]))


@pytest.mark.parametrize("path", ["/api/v1/version", "/api/trpc/getVersion"])
async def test_a_withdrawn_token_is_refused_at_once_also_where_its_answer_was_repeated(
    tmp_path: Path, path: str
) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    async with served(tmp_path, REFRESHD_TOKEN_FILE=str(file)) as world:
        headers = {"Authorization": "Bearer first"}
        async with RawConnection(urlsplit(world.tcp_url).port or 0) as connection:
            for _ in range(3):
                await connection.send(f"GET {path}", headers=headers)
                assert (await connection.response()).status == 200
            file.write_text("second")
            await connection.send(f"GET {path}", headers=headers)
            assert (await connection.response()).status == 401


async def test_a_body_that_was_announced_is_no_request_of_its_own(tmp_path: Path) -> None:
    inside = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = VERSION.removesuffix(b"\r\n") + f"Content-Length: {len(inside)}\r\n\r\n".encode()
    async with served(tmp_path, REFRESHD_TOKEN=TOKEN) as world:
        for _ in range(3):
            async with connected(world) as (reader, writer):
                writer.write(head)
                await asyncio.sleep(0.05)
                writer.write(inside)
                await asyncio.sleep(0.05)
                writer.write(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                answers = await reader.read()
                assert answers.count(b"HTTP/1.1 200 OK") == 2
                assert answers.count(b'"status": "alive"') == 1


async def test_a_connection_that_is_idle_is_closed(tmp_path: Path) -> None:
    async with served(tmp_path, limits=Limits(idle=0.4), REFRESHD_TOKEN=TOKEN) as world, connected(world) as streams:
        await ask_version(*streams)
        assert 0.3 < await seconds_until_closed(streams[0]) < 3


async def test_one_that_is_used_is_not_and_neither_is_one_whose_answers_are_all_repeated(tmp_path: Path) -> None:
    limits = Limits(head=0.4, idle=0.4)
    async with (
        served(tmp_path, limits=limits, REFRESHD_TOKEN=TOKEN) as world,
        connected(world) as first,
        connected(world) as second,
    ):
        for _ in range(16):
            for streams in (first, second):
                await ask_version(*streams)
            await asyncio.sleep(0.05)
        assert 0.3 < await seconds_until_closed(second[0]) < 3


async def test_a_head_that_comes_byte_by_byte_is_not_waited_for(tmp_path: Path) -> None:
    async with served(tmp_path, limits=QUICK) as world, connected(world) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        async with trickling(writer):
            assert 0.3 < await seconds_until_closed(reader) < 3


async def test_nor_is_the_head_of_a_second_request(tmp_path: Path) -> None:
    async with served(tmp_path, limits=QUICK) as world, connected(world) as (reader, writer):
        writer.write(REQUEST)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.write(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        async with trickling(writer):
            assert 0.3 < await seconds_until_closed(reader) < 3


async def test_a_second_head_that_came_during_the_first_request_is_not_waited_for(tmp_path: Path) -> None:
    async with served(tmp_path, limits=QUICK) as world, connected(world) as (reader, writer):
        writer.write(REQUEST + b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        async with trickling(writer):
            assert await seconds_until_closed(reader) < 3


@pytest.mark.parametrize("path", ["/api/v1/update", "/api/trpc/selfUpdate"])
async def test_a_body_that_comes_byte_by_byte_is_not_waited_for(tmp_path: Path, path: str) -> None:
    async with served(tmp_path, limits=QUICK, REFRESHD_TOKEN=TOKEN) as world, connected(world) as (reader, writer):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n".encode())
        async with trickling(writer):
            assert 0.3 < await seconds_until_closed(reader) < 3
        assert await world.daemon.journal.history() == []


async def test_a_connection_between_two_requests_may_be_idle_for_longer(tmp_path: Path) -> None:
    async with served(tmp_path, limits=QUICK) as world, connected(world) as (reader, writer):
        for _ in range(2):
            writer.write(REQUEST)
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(0.7)


async def test_an_answer_that_takes_long_is_waited_for(tmp_path: Path) -> None:
    async with served(tmp_path, limits=QUICK) as world:
        update = await world.daemon.journal.create({"request": {"target_ref": "main", "trigger": "test"}})
        async with connected(world) as (reader, writer):
            writer.write(f"GET /api/v1/updates/{update.id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await reader.readuntil(b"event: entry")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readuntil(b"event: end"), 1)


@asynccontextmanager
async def endless(limits: Limits) -> AsyncIterator[str]:
    """A server whose answers have no end."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = LimitedRunner(app, limits=limits, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_who_does_not_read_the_answer_is_let_go() -> None:
    async with endless(QUICK) as url, connected(url) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readline()
        reader._transport.pause_reading()  # type: ignore[attr-defined]  # the stream would read ahead by itself
        await asyncio.sleep(1)
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert await seconds_until_closed(reader) < 3


async def test_one_connection_too_many_is_closed_and_the_unix_socket_still_answers(tmp_path: Path) -> None:
    async with served(tmp_path, limits=QUICK) as world, connected(world), connected(world), connected(world):
        async with connected(world) as (reader, writer):
            writer.write(REQUEST)
            assert await seconds_until_closed(reader) < 0.3
        assert (await world.get("/healthz")).status == 200


async def test_who_leaves_makes_room(tmp_path: Path) -> None:
    async with served(tmp_path, limits=QUICK) as world:
        for _ in range(10):
            assert (await world.get("/healthz", tcp=True)).status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 10_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(200)) + b"\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"planted secret\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_what_is_no_request_gets_a_fixed_text_and_no_second_one(tmp_path: Path, head: bytes) -> None:
    async with served(tmp_path, limits=QUICK) as world, connected(world) as (reader, writer):
        writer.write(head)
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.")
    assert answer.split()[1] == b"400"
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert json.loads(body)["detail"] == "cannot read the request: it is not valid HTTP"


async def test_no_answer_names_the_server_or_lets_a_browser_guess(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        for path in ("/healthz", "/api/v1/version", "/api/trpc/getVersion", "/nothing"):
            headers = (await world.get(path)).headers
            assert (headers["Server"], headers["X-Content-Type-Options"]) == ("refreshd", "nosniff")


async def test_a_page_may_load_nothing_of_others_and_nobody_may_frame_it() -> None:
    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<p>", content_type="text/html")

    app = web.Application()
    app.on_response_prepare.append(secure)
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with connected(f"http://127.0.0.1:{runner.addresses[0][1]}") as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = (await reader.read()).decode()
    await runner.cleanup()
    assert "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'" in answer
    assert "frame-ancestors 'none'" in answer
    assert "X-Frame-Options: DENY" in answer
    assert "unsafe" not in answer
