"""No request is lost while the machine refreshes its code, is restarted, or dies: real s6, real sockets."""

import asyncio
import json
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator

import aiohttp
import pytest

from daemon.client import Client
from tests.support.load import Target, load
from tests.support.machine import TOKEN, HostMachine
from tests.support.raw_http import exchange
from tests.support.s6 import eventually

FILES = {".gitignore": "__pycache__/\n", "README": "a machine without dependencies\n"}
PROCEDURE = "/api/trpc/getVersion"


@pytest.fixture
async def machine() -> AsyncIterator[HostMachine]:
    async with HostMachine(files=FILES) as machine:
        await ready_and_kept(machine)
        yield machine


async def ready_and_kept(machine: HostMachine, after: int = 0, times: int = 1) -> int:
    """Ready with another process id than `after`, and the holder has had all sockets that many times."""
    pid = await machine.service.wait_ready_again(after)
    await eventually(lambda: machine.log().count("are kept by the holder") >= times, "sockets kept by the holder")
    return pid


def tcp(machine: HostMachine) -> Target:
    return Target(path=PROCEDURE, port=machine.port, headers=f"Authorization: Bearer {TOKEN}\r\n")


def unix(machine: HostMachine) -> Target:
    return Target(path=PROCEDURE, socket=machine.socket)


async def refresh(machine: HostMachine, number: int) -> None:
    pid = await machine.service.wait_ready()
    commit = await asyncio.to_thread(machine.upstream.commit, {"file": f"{number}\n"})
    async with Client(socket=machine.socket) as client:
        await client.update(commit)
    await machine.service.wait_ready_again(pid)


async def test_refreshes_lose_no_request(machine: HostMachine) -> None:
    async with (
        load(tcp(machine), clients=12, keep_alive=True, pause=0.05) as kept_alive,
        load(tcp(machine), clients=12, keep_alive=False, pause=0.05) as closed,
        load(unix(machine), clients=4, keep_alive=True, pause=0.05) as local,
    ):
        for number in range(2):
            await refresh(machine, number)
    for tally in (kept_alive, closed, local):
        assert not tally.lost
        assert len(tally.seconds) > 20


async def test_without_a_holder_requests_are_lost_and_counted() -> None:
    """The same measurement: it is able to say no."""
    async with HostMachine(files=FILES, holder=False) as machine:
        pid = await machine.service.wait_ready()
        async with load(tcp(machine), clients=12, keep_alive=False, pause=0.05) as tally:
            await machine.service.restart()
            await machine.service.wait_ready_again(pid)
        assert tally.failed
        assert "no holder keeps the listening sockets" in machine.log()


async def read_events(machine: HostMachine, update_id: str, after: str) -> list[dict[str, str]]:
    """The fields of each event of one stream, until the daemon ends it."""
    connector = aiohttp.UnixConnector(path=str(machine.socket))
    url, headers = f"http://localhost/api/v1/updates/{update_id}/events", {"Last-Event-ID": after}
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url, headers=headers) as response:
        assert response.status == 200
        text = await response.text()
    blocks = [block for block in text.split("\n\n") if "event: " in block]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


async def test_event_stream_is_told_of_the_restart_and_resumed_without_gap_or_repeat(machine: HostMachine) -> None:
    commit = await asyncio.to_thread(machine.upstream.commit, {"file": "streamed\n"})
    async with Client(socket=machine.socket) as client:
        update_id = (await client.update(commit)).id
    events = await read_events(machine, update_id, "0")
    assert events[-1]["event"] == "leaving"
    while events[-1]["event"] != "end":
        last = [event["id"] for event in events if "id" in event][-1]
        events += await read_events(machine, update_id, last)
    numbers = [int(event["id"]) for event in events if event["event"] == "entry"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert json.loads(events[-1]["data"])["state"] == "succeeded"


async def test_killed_daemon_loses_nothing_that_was_queued(machine: HostMachine) -> None:
    pid = await machine.service.wait_ready()
    os.kill(pid, signal.SIGSTOP)
    line = f"GET {PROCEDURE}"
    authorized = {"Authorization": f"Bearer {TOKEN}"}
    waiting = [asyncio.create_task(exchange(machine.port, line, headers=authorized)) for _ in range(10)]
    await asyncio.sleep(0.2)
    os.kill(pid, signal.SIGKILL)
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [200] * 10


async def test_sockets_survive_a_restart_of_the_holder(machine: HostMachine) -> None:
    await machine.s6.service("refreshd-holder").restart()
    pid = await ready_and_kept(machine, times=2)
    await machine.service.restart()
    await ready_and_kept(machine, after=pid, times=3)
    assert '"taken_from_holder": 2, "bound": 0' in machine.log()


async def test_socket_file_keeps_the_mode_that_it_was_given(machine: HostMachine) -> None:
    pid = await machine.service.wait_ready()
    machine.socket.chmod(0o666)
    await machine.service.restart()
    await machine.service.wait_ready_again(pid)
    assert stat.S_IMODE(machine.socket.stat().st_mode) == 0o666


async def test_socket_file_that_was_removed_is_bound_anew(machine: HostMachine) -> None:
    pid = await machine.service.wait_ready()
    machine.socket.unlink()
    await machine.service.restart()
    pid = await ready_and_kept(machine, after=pid, times=2)
    async with Client(socket=machine.socket) as client:
        assert await client.ready()
    await machine.service.restart()
    await ready_and_kept(machine, after=pid, times=3)
    assert machine.log().count('"taken_from_holder": 2') == 1


async def test_daemon_that_is_down_for_good_refuses_clients(machine: HostMachine) -> None:
    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", machine.port)).close()
        except ConnectionRefusedError:
            return True
        return False

    await machine.service.down()
    await eventually(refused, "an end of the waiting")
    await machine.service.up()
    await machine.service.wait_ready()
    assert not refused()
