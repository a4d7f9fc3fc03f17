"""The whole round through a real engine: a container writes its command file, and its host updates it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from daemon.client import Client
from tests.e2e.conftest import StartMachine
from tests.support.docker import Machine, docker
from tests.support.page_repo import PATIENCE, commit_page, new_repo, page_in, until_healthy

INSIDE = "/home/opencoder/.local/state/opencode"
COMMANDS = f"{INSIDE}/opencode-cloud/commands"


@asynccontextmanager
async def listening(machine: Machine, state: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")}
    words = ("-m", "daemon", "listen", "--machine", f"{machine.name}={state}", "--default-branch", "main")
    child = await asyncio.create_subprocess_exec(sys.executable, *words, env=environ, stdin=subprocess.DEVNULL)
    try:
        yield child
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await child.wait()


async def ask_as_the_document_says(machine: Machine, request_id: str) -> None:
    request = json.dumps({"command": "update_opencode", "request_id": request_id})
    name = f"{COMMANDS}/update-command.json"
    script = f"printf %s '{request}' >{name}.tmp && mv {name}.tmp {name}"
    await machine.exec("sh", "-c", script)


async def result(machine: Machine, request_id: str) -> dict[str, str]:
    async with asyncio.timeout(PATIENCE):
        while True:
            done = await machine.exec("cat", f"{COMMANDS}/update-command.result.json", check=False)
            if done.code == 0 and (found := json.loads(done.stdout)).get("request_id") == request_id:
                return dict(found)
            await asyncio.sleep(0.1)


async def test_container_is_updated_by_its_host_also_after_it_was_stopped(
    start_machine: StartMachine, tmp_path: Path
) -> None:
    repo = new_repo(tmp_path)
    state = tmp_path / "state"
    run_dir = tmp_path / "run"
    for folder in (state, run_dir):
        folder.mkdir()
    run_dir.chmod(0o777)
    machine = await start_machine(
        env={"REFRESHD_COMMANDS": COMMANDS},
        mounts={repo: "/local-iterate-repo:ro", state: INSIDE, run_dir: "/run/refreshd"},
    )
    await until_healthy(machine)
    async with Client(socket=run_dir / "refreshd.sock") as client:
        assert (await client.version()).environment == "local-docker", "the socket is shared, too"
    assert int((await machine.exec("id", "-u")).stdout) != os.getuid(), "another user than the host's"
    async with listening(machine, state) as listener:
        second = commit_page(repo, "two")
        # the listener makes the folder, such that the container's user can write in it
        async with asyncio.timeout(PATIENCE):
            while (await machine.exec("test", "-w", COMMANDS, check=False)).code != 0:  # noqa: ASYNC110 - another machine
                await asyncio.sleep(0.1)
        done = await machine.exec("refreshd", "request", "--branch", "main", "--wait", "--json", check=False)
        assert done.code == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["status"], found["outcome"], found["to"]) == ("success", "succeeded", second)
        assert await page_in(machine) == "two"
        await ask_as_the_document_says(machine, "again")
        assert (await result(machine, "again"))["message"].startswith("Already up to date")
        await docker("stop", machine.name)
        async with asyncio.timeout(30):
            assert await listener.wait() == 3, "its service starts it again"
    await docker("start", machine.name)
    await until_healthy(machine)
    commit_page(repo, "three")
    await ask_as_the_document_says(machine, "later")  # while nobody listens
    async with listening(machine, state):
        assert (await result(machine, "later"))["status"] == "success"
        assert await page_in(machine) == "three"
