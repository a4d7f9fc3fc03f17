"""`refreshd logs` over what real s6-log writes, read in the machine and through the API."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from daemon.cli import main
from tests.support.machine_root import PROJECT, MachineRoot
from tests.support.running import TOKEN, Served, served
from tests.support.s6 import eventually


class Logger:
    """A real s6-log that rotates after 4096 bytes, the least it knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        argv = ("s6-log", "-l", "1000", "n20", "s4096", "T", str(folder))
        self._child = subprocess.Popen(argv, stdin=subprocess.PIPE)

    async def write(self, *lines: bytes) -> None:
        """Returns when the last of them is in a file."""
        assert self._child.stdin
        self._child.stdin.write(b"".join(line + b"\n" for line in lines))
        self._child.stdin.flush()
        await eventually(lambda: lines[-1] + b"\n" in self._content(), "the line in the log")

    def _content(self) -> bytes:
        """All its files, or nothing if a rotation renamed one meanwhile."""
        try:
            return b"".join(path.read_bytes() for path in self.folder.glob("*") if path.name[0] in "@c")
        except FileNotFoundError:
            return b""

    def close(self) -> None:
        assert self._child.stdin
        self._child.stdin.close()
        self._child.wait(timeout=10)


@pytest.fixture
async def logger(tmp_path: Path) -> AsyncIterator[Logger]:
    logger = Logger(tmp_path / "log")
    yield logger
    logger.close()


@pytest.fixture
async def machine(tmp_path: Path, logger: Logger) -> AsyncIterator[Served]:
    async with served(tmp_path, REFRESHD_LOG_DIR=str(logger.folder), REFRESHD_TOKEN=TOKEN) as machine:
        yield machine


def environment(**more: str) -> Mapping[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **more}


async def refreshd(*words: str, **env: str) -> "asyncio.subprocess.Process":
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "daemon",
        *words,
        cwd=PROJECT,
        env=environment(**env),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def output(*words: str, **env: str) -> bytes:
    child = await refreshd(*words, **env)
    said, complaint = await child.communicate()
    assert child.returncode == 0, complaint
    return said


async def test_the_machine_and_the_api_give_the_same_text(
    machine: Served,
    logger: Logger,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def said(*words: str) -> str:
        assert await asyncio.to_thread(main, ["logs", "--no-follow", *words]) == 0
        return capsys.readouterr().out

    lines = [f"{n:03} wanted".encode() if n % 7 == 0 else f"{n:03} noise \xff".encode("latin-1") for n in range(400)]
    await logger.write(*lines[:200])
    await logger.write(*lines[200:])
    await eventually(lambda: list(logger.folder.glob("@*.s")), "a rotation")
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("REFRESHD_LOG_DIR", str(logger.folder))
    for words in (
        ("-n", "all"),
        ("-n", "10", "--grep", "wanted"),
        ("-n", "250", "--timestamps"),
        ("--json", "-n", "3"),
    ):
        here = await said(*words)
        assert here == await said(*words, "--url", machine.tcp_url, "--token-file", str(tmp_path / "token"))
        assert here == await said(*words, "--socket", str(machine.socket))
    assert await said("-n", "1") == "399 wanted\n"
    assert (await said("-n", "all")).splitlines()[1] == "001 noise \\xff"


async def test_following_shows_each_line_once_over_rotations(machine: Served, logger: Logger) -> None:
    await logger.write(b"before")
    children = [
        await refreshd("logs", "-n", "1", REFRESHD_LOG_DIR=str(logger.folder)),
        await refreshd("logs", "-n", "1", "--socket", str(machine.socket)),
    ]
    try:
        for child in children:
            assert child.stdout
            async with asyncio.timeout(60):
                assert await child.stdout.readline() == b"before\n"
        lines = [b"%05d %s" % (number, b"x" * 80) for number in range(300)]
        for begin in range(0, len(lines), 50):
            await logger.write(*lines[begin : begin + 50])
        for child in children:
            assert child.stdout
            async with asyncio.timeout(60):
                assert [await child.stdout.readline() for _ in lines] == [line + b"\n" for line in lines]
    finally:
        for child in children:
            child.terminate()
            await child.communicate()


async def test_the_stream_of_the_api_ends_when_the_daemon_leaves(machine: Served, logger: Logger) -> None:
    await logger.write(b"a line")
    asking = asyncio.create_task(machine.get("/api/v1/logs?follow=true"))
    await asyncio.sleep(0.3)
    assert not asking.done()
    machine.daemon.supervisor.leave()
    async with asyncio.timeout(5):
        answer = await asking
    assert json.loads(answer.text.splitlines()[0])["text"] == "a line"


@pytest.mark.parametrize("query", ["lines=-1", "lines=x", "after=1", "follow=maybe", f"grep={'x' * 1001}"])
async def test_a_query_that_makes_no_sense_is_refused(machine: Served, logger: Logger, query: str) -> None:
    await logger.write(b"a line")
    answer = await machine.get(f"/api/v1/logs?{query}")
    assert (answer.status, answer.json["code"]) == (400, "bad_request")


async def test_the_log_wants_the_token_over_tcp(machine: Served, logger: Logger) -> None:
    await logger.write(b"a line")
    assert (await machine.get("/api/v1/logs", tcp=True)).status == 401
    assert (await machine.get("/api/v1/logs", tcp=True, Authorization=f"Bearer {TOKEN}")).status == 200


async def test_a_log_that_is_not_there_is_not_found_both_ways(
    machine: Served, logger: Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await logger.write(b"a line")
    assert (await machine.get("/api/v1/logs?service=web")).status == 404
    monkeypatch.setenv("REFRESHD_LOG_DIR", str(logger.folder))
    assert await asyncio.to_thread(main, ["logs", "--service", "web"]) == 4
    assert "cannot find a log of the service 'web'" in capsys.readouterr().err


# Under real s6


async def test_the_log_is_read_in_the_machine_while_the_daemon_is_down(tmp_path: Path) -> None:
    machine = MachineRoot(tmp_path)
    machine.behave(serve={"say": "my last words", "exit": 100, "ready": False})
    async with machine.start() as s6:
        await s6.service("refreshd").wait_down()
        await eventually(lambda: "misconfigured" in machine.log(), "the end in the log")
        text = await output("logs", "--no-follow", "-n", "2", REFRESHD_LOG_DIR=str(machine.log_dir))
    assert text.splitlines()[0] == b"my last words"


async def test_another_service_is_read_where_its_own_logger_keeps_it(tmp_path: Path) -> None:
    machine = MachineRoot(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    say = "#!/bin/sh\necho hello from web\nexec sleep 60\n"
    machine.define("web", type="longrun\n", run=say, producer_for="web-log\n")
    logger = f"#!/bin/sh\nexec s6-log -- t {elsewhere}\n"
    machine.define("web-log", type="longrun\n", run=logger, consumer_for="web\n")
    for name in ("web", "web-log"):
        (machine.definitions / name / "run").chmod(0o755)
    async with machine.start() as s6:
        await s6.service("web").wait_up()
        current = elsewhere / "current"
        await eventually(lambda: current.exists() and b"hello" in current.read_bytes(), "the line of web")
        env = {"REFRESHD_LOG_DIR": str(machine.log_dir), "REFRESHD_RUN_DIR": str(machine.run_dir)}
        text = await output("logs", "--service", "web", "--no-follow", **env)
    assert text == b"hello from web\n"
