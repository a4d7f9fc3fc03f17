"""The same answer to the same bytes: only while it holds, and only where nothing can be mistaken."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

import daemon.log
from daemon.server.access_log import AccessLog, flush
from daemon.server.limits import LimitedRunner, Limits
from daemon.server.repeat import HOLDS, RepeatingConnection
from tests.support.raw_http import Connection as Client

REQUEST = "GET /counted"


class Served:
    """`asked` counts how often the handler ran; its answers hold as long as `holds` says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.holds = True
        self.port = 0
        self.runner: LimitedRunner

    async def counted(self, request: web.Request) -> web.Response:
        self.asked += 1
        if "unmarked" not in request.query:
            request[HOLDS] = lambda: self.holds
        response = web.json_response({"asked": self.asked}, status=int(request.query.get("status", "200")))
        if "cookie" in request.query:
            response.set_cookie("session", "secret")
        return response

    async def echo(self, request: web.Request) -> web.Response:
        return web.json_response({"body": await request.text()})


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    app = web.Application()
    app.add_routes([web.get("/counted", served.counted), web.post("/echo", served.echo)])
    runner = served.runner = LimitedRunner(app, limits=Limits(), access_log_class=AccessLog)
    await runner.setup()
    server = await asyncio.get_running_loop().create_server(runner.server, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    yield served
    server.close()
    await runner.cleanup()


async def answers(client: Client, *lines: str) -> list[int]:
    found = []
    for line in lines:
        await client.send(line)
        found.append((await client.response()).json["asked"])
    return found


async def test_the_same_bytes_get_the_same_bytes(served: Served) -> None:
    async with Client(served.port) as client:
        await client.send(REQUEST)
        first = await client.response()
        await client.send(REQUEST)
        assert await client.response() == first
    assert served.asked == 1


async def test_an_answer_that_does_not_hold_is_made_anew_and_then_repeated(served: Served) -> None:
    async with Client(served.port) as client:
        assert await answers(client, REQUEST) == [1]
        served.holds = False
        assert await answers(client, REQUEST, REQUEST) == [2, 3]
        served.holds = True
        assert await answers(client, REQUEST, REQUEST) == [3, 3]


@pytest.mark.parametrize("query", ["unmarked", "status=404", "cookie"])
async def test_an_answer_that_is_not_marked_not_fine_or_personal_is_not_repeated(served: Served, query: str) -> None:
    async with Client(served.port) as client:
        assert await answers(client, f"{REQUEST}?{query}", f"{REQUEST}?{query}") == [1, 2]


async def test_other_bytes_get_an_answer_of_their_own(served: Served) -> None:
    async with Client(served.port) as client:
        assert await answers(client, REQUEST, f"{REQUEST}?x", REQUEST) == [1, 2, 3]


async def test_another_connection_gets_an_answer_of_its_own(served: Served) -> None:
    for number in (1, 2):
        async with Client(served.port) as client:
            assert await answers(client, REQUEST) == [number]


async def test_who_sent_a_body_is_served_the_usual_way_from_then_on(served: Served) -> None:
    async with Client(served.port) as client:
        assert await answers(client, REQUEST, REQUEST) == [1, 1]
        await client.send("POST /echo", body=b"GET /counted HTTP/1.1\r\n\r\n")
        assert (await client.response()).json == {"body": "GET /counted HTTP/1.1\r\n\r\n"}
        assert await answers(client, REQUEST, REQUEST) == [2, 3]


async def test_pipelined_requests_are_answered_in_their_order(served: Served) -> None:
    async with Client(served.port) as client:
        assert await answers(client, REQUEST) == [1]
        await client.send_raw(b"GET /counted?unmarked HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
        await client.send(REQUEST)
        assert [(await client.response()).json["asked"] for _ in range(3)] == [2, 3, 4]


async def test_a_request_in_pieces_is_answered_once(served: Served) -> None:
    async with Client(served.port) as client:
        for piece in (b"GET /coun", b"ted HTTP/1.1\r\nHost: ", b"localhost\r\n\r\n"):
            await client.send_raw(piece)
            await asyncio.sleep(0.02)
        assert (await client.response()).json == {"asked": 1}
        assert await answers(client, REQUEST, REQUEST) == [2, 3]


async def test_a_connection_that_forgets_repeats_nothing(served: Served) -> None:
    async with Client(served.port) as client:
        assert await answers(client, REQUEST, REQUEST) == [1, 1]
        (connection,) = served.runner.server.connections
        assert isinstance(connection, RepeatingConnection)
        connection.forget()
        assert await answers(client, REQUEST, REQUEST) == [2, 3]


async def test_every_answer_has_its_line_in_the_log(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.log.configure("json", "info")
    async with Client(served.port) as client:
        await answers(client, f"{REQUEST}?token=x", f"{REQUEST}?token=x")
    flush()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [list(line) for line in lines] == [
        ["timestamp", "level", "event", "method", "path", "status", "peer", "seconds"]
    ] * 2
    assert {line["path"] for line in lines} == {"/counted"}
    assert {line["peer"] for line in lines} == {"127.0.0.1"}


async def test_no_line_is_written_where_only_warnings_are(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.log.configure("json", "warning")
    async with Client(served.port) as client:
        await answers(client, REQUEST, REQUEST)
    flush()
    assert capsys.readouterr().err == ""
