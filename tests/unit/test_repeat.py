"""The same answer to the same bytes: only while it holds, and only where nothing can be mistaken."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

import daemon.log
from daemon.server.access_log import AccessLog, flush
from daemon.server.limits import LimitedRunner, Limits
from daemon.server.repeat import LASTING, MOST_ANSWERS, RepeatingConnection
from tests.support.raw_http import Connection as Client
from tests.support.s6 import eventually

REQUEST = "GET /counted"


class Switch:
    """An answer that holds, and is fresh, as long as this says so."""

    def __init__(self) -> None:
        self.held = True
        self.new = True

    def holds(self) -> bool:
        return self.held

    def fresh(self) -> bool:
        return self.new


class Served:
    """`asked` counts how often the handler ran; with `slow` in the query it waits until it may `go` on."""

    def __init__(self) -> None:
        self.asked = 0
        self.switch = Switch()
        self.go = asyncio.Event()
        self.port = 0
        self.runner: LimitedRunner

    def connected(self) -> int:
        return len([one for one in self.runner.server.connections if one.transport])

    async def counted(self, request: web.Request) -> web.Response:
        self.asked += 1
        if "unmarked" not in request.query:
            request[LASTING] = self.switch
        if "slow" in request.query and self.asked > 1:
            await self.go.wait()
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
        served.switch.held = False
        assert await answers(client, REQUEST, REQUEST) == [2, 3]
        served.switch.held = True
        assert await answers(client, REQUEST, REQUEST) == [3, 3]


@pytest.mark.parametrize("query", ["unmarked", "status=404", "cookie"])
async def test_an_answer_that_is_not_marked_not_fine_or_personal_is_not_repeated(served: Served, query: str) -> None:
    async with Client(served.port) as client:
        assert await answers(client, f"{REQUEST}?{query}", f"{REQUEST}?{query}") == [1, 2]


async def test_other_bytes_get_an_answer_of_their_own(served: Served) -> None:
    async with Client(served.port) as client:
        assert await answers(client, REQUEST, f"{REQUEST}?x", REQUEST) == [1, 2, 1]


async def test_another_connection_of_the_same_address_gets_the_same_answer(served: Served) -> None:
    for _ in range(2):
        async with Client(served.port) as client:
            assert await answers(client, REQUEST) == [1]


async def test_another_address_gets_an_answer_of_its_own(served: Served) -> None:
    for number in (1, 2):
        async with Client(served.port, source=f"127.0.0.{number}") as client:
            assert await answers(client, REQUEST, REQUEST) == [number, number]


async def test_another_connection_to_a_unix_socket_gets_an_answer_of_its_own(served: Served, tmp_path: Path) -> None:
    server = await asyncio.get_running_loop().create_unix_server(served.runner.server, tmp_path / "socket")
    for number in (1, 2):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
        for _ in range(2):
            writer.write(b"GET /counted HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            assert json.loads(await reader.readuntil(b"}")) == {"asked": number}
        writer.close()
    server.close()


async def test_one_request_renews_an_answer_that_is_not_fresh_and_the_others_do_not_wait_for_it(served: Served) -> None:
    slow = f"{REQUEST}?slow"
    async with Client(served.port) as renewing, Client(served.port) as other:
        assert await answers(renewing, slow) == [1]
        served.switch.new = False
        await renewing.send(slow)
        await eventually(lambda: served.asked == 2, "the renewal")
        assert await answers(other, slow, slow) == [1, 1]
        served.switch.new = True
        served.go.set()
        assert (await renewing.response()).json == {"asked": 2}
        assert await answers(other, slow) == [2]


async def test_a_renewal_whose_client_leaves_is_taken_over_by_the_next(served: Served) -> None:
    slow = f"{REQUEST}?slow"
    async with Client(served.port) as leaving, Client(served.port) as next_one:
        assert await answers(leaving, slow) == [1]
        served.switch.new = False
        await leaving.send(slow)
        await eventually(lambda: served.asked == 2, "the renewal")
        leaving.reset()
        await eventually(lambda: served.connected() == 1, "the end of its connection")
        served.go.set()
        assert await answers(next_one, slow) == [3]


async def test_a_connection_that_is_lost_before_its_first_answer_is_not_kept_by_a_timer(served: Served) -> None:
    async with Client(served.port) as first:
        assert await answers(first, REQUEST) == [1]
    await eventually(lambda: served.connected() == 0, "the end of the first")
    async with Client(served.port) as leaving:
        await leaving.send(f"{REQUEST}?slow")
        await eventually(lambda: served.asked == 2, "its request")
        (connection,) = served.runner.open_connections()
        leaving.reset()
        await eventually(lambda: served.connected() == 0, "its end")
        served.go.set()
        await eventually(lambda: not connection._in_request, "the end of its request")
        assert connection._idle is None


async def test_an_answer_that_does_not_hold_is_not_told_while_another_is_made(served: Served) -> None:
    slow = f"{REQUEST}?slow"
    async with Client(served.port) as first, Client(served.port) as second:
        assert await answers(first, slow) == [1]
        served.switch.held = False
        for client in (first, second):
            await client.send(slow)
        await eventually(lambda: served.asked == 3, "both on the whole way")
        served.go.set()
        assert {(await client.response()).json["asked"] for client in (first, second)} <= {2, 3}


async def test_what_was_made_first_is_forgotten_first(served: Served) -> None:
    async with Client(served.port) as client:
        lines = [f"{REQUEST}?{number}" for number in range(MOST_ANSWERS + 1)]
        await answers(client, *lines)
        assert await answers(client, lines[-1], lines[0]) == [MOST_ANSWERS + 1, MOST_ANSWERS + 2]


async def test_who_sent_a_body_is_served_the_usual_way_from_then_on(served: Served) -> None:
    async with Client(served.port) as client:
        assert await answers(client, REQUEST, REQUEST) == [1, 1]
        await client.send("POST /echo", body=b"GET /counted HTTP/1.1\r\n\r\n")
        assert (await client.response()).json == {"body": "GET /counted HTTP/1.1\r\n\r\n"}
        assert await answers(client, REQUEST, REQUEST) == [2, 3]


@pytest.mark.parametrize("announced", ["Content-Length", "content-length", "Expect", "Upgrade"])
async def test_a_head_that_announces_more_is_not_answered_again(served: Served, announced: str) -> None:
    value = {"Expect": "100-continue", "Upgrade": "websocket"}.get(announced, "0")
    async with Client(served.port) as client:
        for number in (1, 2):
            await client.send(REQUEST, headers={announced: value})
            answer = await client.response()
            if answer.status == 100:
                answer = await client.response()
            assert answer.json == {"asked": number}


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
