"""A state folder that cannot be used: the daemon says so, answers what it can, and refuses updates with the reason."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.client import Client, RefusedError
from daemon.errors import RefreshdError
from daemon.starts import Starts
from tests.support.machine import PROJECT
from tests.support.running import Served, new_checkout, served
from tests.support.s6 import PATIENCE
from tests.support.world import git

NOWHERE = "/proc/self/state"  # where not even root can make a folder


@contextlib.asynccontextmanager
async def daemon(folder: Path, state: str) -> AsyncIterator[tuple[Client, asyncio.subprocess.Process]]:
    """As a process of its own, which is told to end at the end."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ITERATE_REPO": str(new_checkout(folder)),
        "REFRESHD_ENVIRONMENT": "daytona",
        "REFRESHD_LISTEN": "none",
        "REFRESHD_RUN_DIR": str(folder / "run"),
        "REFRESHD_STATE_DIR": state,
        "REFRESHD_LOG_FORMAT": "json",
    }
    with (folder / "log").open("wb") as log:
        argv = (sys.executable, "-m", "daemon", "serve")
        process = await asyncio.create_subprocess_exec(*argv, cwd=PROJECT, env=env, stdout=log, stderr=log)
    try:
        async with Client(socket=folder / "run" / "refreshd.sock") as client:
            await ready(client)
            yield client, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def ready(client: Client) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(RefreshdError):
                if await client.ready():
                    return
            await asyncio.sleep(0.05)


async def test_the_daemon_stays_up_and_an_update_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with daemon(tmp_path, NOWHERE) as (client, process):
        version = await client.version()
        assert (len(version.sha or ""), version.last_update) == (40, None)
        assert await client.updates() == ()
        with pytest.raises(RefusedError) as refused:
            await client.update("main")
        assert refused.value.refusal == "system_call_failed"
        assert f"cannot use {NOWHERE}" in str(refused.value)
        assert process.returncode is None
    assert process.returncode == 0
    errors = [line for line in logged(tmp_path) if line["level"] == "error"]
    assert [line["event"] for line in errors][:1] == ["state folder cannot be used"]


def logged(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def in_the_way(path: Path) -> None:
    """A file where a folder has to be, or the other way round."""
    path.parent.mkdir()
    if path.suffix:
        (path / "inner").mkdir(parents=True)
    else:
        path.write_text("in the way")


def publish(machine: Served) -> None:
    """A commit that only the remote has."""
    git(machine.repo, "commit", "--quiet", "--allow-empty", "--message", "two")
    git(machine.repo, "push", "--quiet", "origin", "HEAD:main")
    git(machine.repo, "reset", "--quiet", "--hard", "HEAD~1")


@pytest.mark.parametrize("name", ["updates", "update.lock", "snapshots", "undo"])
async def test_what_is_in_the_way_of_one_of_its_parts_is_named_and_nothing_is_touched(
    tmp_path: Path, name: str
) -> None:
    in_the_way(tmp_path / "state" / name)
    async with served(tmp_path) as machine:
        publish(machine)
        before = git(machine.repo, "rev-parse", "HEAD")
        answer = await machine.post("/api/v1/update", {"branch": "main", "wait": True})
        problem = answer.json if answer.status >= 400 else answer.json["error"]
        assert problem["code"] == "system_call_failed"
        assert f"cannot use {tmp_path}/state/{name}" in answer.text
        assert (await machine.get("/healthz")).status == 200
        assert git(machine.repo, "rev-parse", "HEAD") == before


async def test_a_count_of_starts_that_cannot_be_kept_ends_nothing(tmp_path: Path) -> None:
    in_the_way(tmp_path / "state" / "starts.d")
    starts = Starts(tmp_path / "state" / "starts.d" / "inner" / "gone")
    await starts.stable_after("000001-abcdef")
    assert not await starts.was_stable_after("000001-abcdef")
