"""A machine by its container's name, from the host: the same commands, with the same words and exit codes, as in it."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.client import UnreachableError
from daemon.host.docker import Container
from tests.e2e.conftest import StartMachine
from tests.support.docker import Done, Machine, docker
from tests.support.page_repo import commit_page, new_repo, page_in, until_healthy


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repo(tmp_path)


@pytest.fixture
async def machine(start_machine: StartMachine, repo: Path) -> Machine:
    machine = await start_machine(mounts={repo: "/local-iterate-repo:ro"})
    await until_healthy(machine)
    return machine


async def host(machine: Machine, *words: str) -> Done:
    """The command on this host, which knows nothing but the container's name."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")}
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "daemon",
        *words,
        "--machine",
        machine.name,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
    )
    async with asyncio.timeout(60):
        stdout, stderr = await child.communicate()
    return Done(child.returncode or 0, stdout.decode(), stderr.decode())


def comparable(done: Done, machine: Machine) -> tuple[int, str, str]:
    """What differs between two runs of a command: the time, and the way that leads there."""

    def plain(text: str) -> str:
        text = re.sub(r'"dirty_at": "[^"]*"', "WHEN", text.replace(f" --machine {machine.name}", ""))
        return re.sub(r"\d+(\.\d+)? m?s\b", "TIME", text)

    return done.code, plain(done.stdout), plain(done.stderr)


READING = [
    ("status", "--quiet"),
    ("user", "list"),
    ("user", "list", "--json"),
    ("version",),
    ("version", "--json"),
    ("history",),
    ("history", "-n", "1", "--json"),
    ("snapshots", "list"),
    ("snapshots", "show", "ffff"),
    ("logs", "--no-follow", "--grep", "update begins"),
    ("logs", "--no-follow", "--grep", "update begins", "--timestamps", "-n", "1"),
    ("update", "--dry-run", "main"),
    ("update", "no..such", "--quiet"),
    ("rollback", "no-such-update"),
]


async def test_every_command_says_the_same_on_both_ends(machine: Machine, repo: Path) -> None:
    brought = json.loads((await host(machine, "history", "--json")).stdout)["updates"]
    assert [update["state"] for update in brought] == ["succeeded"], brought
    second = commit_page(repo, "two")
    updated = await host(machine, "update", "main", "--json", "--quiet")
    assert updated.code == 0, updated.stderr
    assert json.loads(updated.stdout)["to_commit"] == second
    assert await page_in(machine) == "two"
    assert (await host(machine, "user", "add", "ann", "--role", "read", "--quiet")).code == 0
    for words in READING:
        inside, outside = await asyncio.gather(machine.exec("refreshd", *words, check=False), host(machine, *words))
        assert comparable(outside, machine) == comparable(inside, machine), words
    # what the machine's own supervisor and load say differs from moment to moment, and from here it is not asked
    inside = json.loads((await machine.exec("refreshd", "status", "--json")).stdout)
    outside = json.loads((await host(machine, "status", "--json")).stdout)
    assert [outside[name] for name in ("status", "healthy", "reasons")] == [
        inside[name] for name in ("status", "healthy", "reasons")
    ]
    back = await host(machine, "rollback")
    assert back.code == 0, back.stderr
    assert await page_in(machine) == "one"
    there = await machine.exec("refreshd", "rollback", check=False)
    assert comparable(there, machine)[0] == 0
    assert await page_in(machine) == "two"


async def test_machine_that_cannot_be_reached_is_said_by_its_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    container = Container(machine.name, patience=1)
    assert await container.stopped() is None
    await machine.exec("sh", "-c", "mv /run/refreshd/refreshd.sock /run/refreshd/moved")
    async with container.client() as client:
        with pytest.raises(UnreachableError, match=r"refreshd.sock: No such file or directory"):
            await client.health()
    await docker("stop", machine.name)
    assert await container.stopped() == f"container {machine.name}: exited"
    async with container.client() as client:
        with pytest.raises(UnreachableError, match="it does not run"):
            await client.health()
    async with Container("no-such-machine", patience=1).client() as client:
        with pytest.raises(UnreachableError, match="no-such-machine: there is no such container"):
            await client.health()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    async with container.client() as client:
        with pytest.raises(UnreachableError, match="Cannot connect to Docker Engine"):
            await client.health()
    assert "Cannot connect to Docker Engine" in (await container.stopped() or "")
    monkeypatch.setenv("DOCKER_HOST", "ssh://elsewhere")
    async with container.client() as client:
        with pytest.raises(UnreachableError, match="required for SSH"):
            await client.health()
