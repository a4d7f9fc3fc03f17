"""Machines whose code does not run any more: what the guard undoes, what it rolls back, and the rescue after that."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.client import Client, FailedError, InconsistentError, RolledBackError, Target
from daemon.models import Health, Update
from daemon.states import State
from tests.support.machine import HostMachine, git

PATIENCE = 60.0

DIES_AT_START = "import os\nif 'serve' in __import__('sys').argv: os._exit(1)\n"
DIES_ONCE_READY = """
import os, socket, sys, threading, time
def is_ready():
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(os.environ["REFRESHD_RUN_DIR"] + "/refreshd.sock")
            asking.sendall(b"GET /readyz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
            return b" 200 " in asking.recv(20)
        except OSError:
            return False
def die():
    while not is_ready():
        time.sleep(0.1)
    time.sleep(1)
    os._exit(1)
if "serve" in sys.argv:
    threading.Thread(target=die, daemon=True).start()
"""


@pytest.fixture
async def machine() -> AsyncIterator[HostMachine]:
    async with HostMachine() as machine:
        async with machine.client() as client:
            await ready(client)
            await client.refresh("main")
        yield machine


async def ready(client: Client, *, status: str = "alive", after: str = "") -> Health:
    """The health as soon as a process other than `after` answers with that status."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                health = await client.health()
                if health.status == status and health.boot_id != after and await client.ready():
                    return health
            except Exception:  # noqa: BLE001, S110 - whatever stands in the way, the time limit decides
                pass
            await asyncio.sleep(0.1)


def adds(machine: HostMachine, code: str) -> str:
    """A commit whose daemon runs `code` when it is imported."""
    source = (machine.upstream.tree / "daemon/__init__.py").read_text()
    return machine.upstream.commit({"daemon/__init__.py": source + code})


async def stable(machine: HostMachine) -> None:
    """Ready for long enough that a death is not the last update's fault any more."""
    async with asyncio.timeout(PATIENCE):
        while not (machine.state_dir / "stable").exists():  # noqa: ASYNC110 - another process decides
            await asyncio.sleep(0.1)


async def last(client: Client) -> Update:
    return (await client.updates(1))[0]


def as_before(machine: HostMachine, commit: str) -> None:
    assert git(machine.repo, "rev-parse", "HEAD") == commit
    assert git(machine.repo, "status", "--porcelain") == ""
    assert not (machine.state_dir / "undo").exists()


async def test_code_that_dies_at_every_start_is_undone_after_three(machine: HostMachine) -> None:
    async with machine.client() as client:
        with pytest.raises(RolledBackError) as refused:
            await client.refresh(adds(machine, DIES_AT_START))
        assert refused.value.update.error
        assert refused.value.update.error.code == "crash_loop"
        await ready(client)
    as_before(machine, machine.first)
    assert machine.log().count("ended with exit code 1") == 3


async def test_a_target_that_did_not_run_is_refused_until_it_is_forced(machine: HostMachine) -> None:
    bad = adds(machine, DIES_AT_START)
    async with machine.client() as client:
        with pytest.raises(RolledBackError):
            await client.refresh(bad)
        await ready(client)
        with pytest.raises(FailedError) as refused:
            await client.refresh(bad)
        assert refused.value.update.error
        assert refused.value.update.error.code == "bad_target"
        with pytest.raises(RolledBackError):
            await client.refresh(Target(bad, force=True))


async def test_code_that_dies_soon_after_it_was_ready_is_rolled_back(machine: HostMachine) -> None:
    async with machine.client() as client:
        update = await client.refresh(adds(machine, DIES_ONCE_READY))
        assert update.state is State.SUCCEEDED
        async with asyncio.timeout(PATIENCE):
            # another process decides when that is
            while (found := await last_if_there(client)) is None or found.id == update.id or not found.state.final:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        assert (found.state, found.request.trigger, found.request.rollback_of) == (State.SUCCEEDED, "guard", update.id)
    assert git(machine.repo, "rev-parse", "HEAD") == machine.first


async def last_if_there(client: Client) -> Update | None:
    try:
        return await last(client)
    except Exception:  # noqa: BLE001 - it dies every two seconds
        return None


async def test_a_daemon_broken_by_hand_is_replaced_by_the_rescue_and_can_be_refreshed(machine: HostMachine) -> None:
    async with machine.client() as client:
        before = await ready(client)
        await stable(machine)
        broken = machine.repo / "daemon/engine.py"
        broken.write_text("raise SystemExit(1)\n")
        os.kill(await machine.service.wait_ready(), signal.SIGKILL)
        rescue = await ready(client, status="rescue", after=before.boot_id)
        version = await client.version()
        assert (version.sha, version.running.sha, version.dirty) == (machine.first, None, True)
        target = machine.upstream.release("7.0.0")
        update = await client.refresh(target)
        assert update.state is State.SUCCEEDED
        assert update.preserved
        assert update.preserved.files == ("M daemon/engine.py",)
        alive = await ready(client, after=rescue.boot_id)
        assert (alive.version, alive.sha) == ("7.0.0", target)


async def test_a_daemon_killed_half_way_is_undone_before_the_next_one_starts(machine: HostMachine) -> None:
    slow = machine.upstream.depend(".", {"is-odd": "3.0.1"}, scripts={"postinstall": "sleep 30"})
    async with machine.client() as client:
        update = await client.update(slow)
        async for entry in client.follow(update.id):
            if entry.state is State.INSTALLING:
                break
        await asyncio.sleep(0.5)
        os.kill(await machine.service.wait_up(), signal.SIGKILL)
        assert [entry async for entry in client.follow(update.id)][-1].state is State.ROLLED_BACK
        await ready(client)
    as_before(machine, machine.first)
    assert orphans(machine.folder) == []


def orphans(folder: Path) -> list[str]:
    """Processes that work in the machine's checkout and are no daemon."""
    found = []
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            inside = (proc / "cwd").readlink().is_relative_to(folder / "checkout")
            command = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if inside and "-m daemon" not in command:
            found.append(command)
    return found


async def test_a_rollback_on_request_goes_back_with_the_local_edits_of_then(machine: HostMachine) -> None:
    (machine.repo / "notes.txt").write_bytes(b"mine\r\n")
    (machine.repo / "packages/library/index.js").write_text("// edited\n")
    target = machine.upstream.release("8.0.0")
    async with machine.client() as client:
        update = await client.refresh(target)
        assert update.preserved
        (machine.repo / "notes.txt").unlink()
        back = await client.rollback(update.id)
        assert (back.state, back.to_commit, back.request.rollback_of) == (State.SUCCEEDED, machine.first, update.id)
        version = await client.version()
        assert (version.sha, version.running.version, version.dirty) == (machine.first, "0.1.0", True)
        assert (machine.repo / "notes.txt").read_bytes() == b"mine\r\n"
        assert (machine.repo / "packages/library/index.js").read_text() == "// edited\n"
        again = await client.rollback()
        assert (again.state, again.to_commit) == (State.SUCCEEDED, target)


def breaks_itself_and_the_way_back(machine: HostMachine) -> str:
    """A commit whose daemon does not run and whose own install script destroys what the undo needs."""
    machine.upstream.write({"daemon/engine.py": "raise SystemExit(1)\n"})
    destroy = f"rm -rf {machine.state_dir}/snapshots/objects"
    return machine.upstream.depend(".", {"is-odd": "3.0.1"}, scripts={"postinstall": destroy})


async def test_a_way_back_that_fails_is_told_and_the_rescue_serves_until_an_update_heals_it(
    machine: HostMachine,
) -> None:
    files = ("daemon/engine.py", "package.json", "pnpm-lock.yaml")
    sound = {name: (machine.upstream.tree / name).read_text() for name in files}
    broken = breaks_itself_and_the_way_back(machine)
    async with machine.client() as client:
        old = await ready(client)
        with pytest.raises(InconsistentError) as told:
            await client.refresh(broken)
        record = told.value.update
        assert record.error
        assert (record.error.code, "the way back failed" in record.message) == ("check_failed", True)
        assert "the snapshot cannot be read, and nothing was touched" in machine.log()
        assert (await client.health()).boot_id == old.boot_id  # it never stopped; its end shows what is on disk

        os.kill(await machine.service.wait_ready(), signal.SIGKILL)
        rescue = await ready(client, status="rescue", after=old.boot_id)
        version = await client.version()
        assert (version.sha, version.running.sha) == (broken, None)
        assert version.last_update
        assert version.last_update.state is State.INCONSISTENT
        assert [line async for line in client.logs({"grep": "the guard looks into it"})]
        with pytest.raises(FailedError):
            await client.refresh("no-such-branch")
        os.kill(await machine.service.wait_ready(), signal.SIGKILL)
        rescue = await ready(client, status="rescue", after=rescue.boot_id)

        target = machine.upstream.commit(sound, "sound again")
        answer = await self_update(machine, target)
        assert answer["success"] is True, answer["message"]
        assert (await ready(client, after=rescue.boot_id)).sha == target
        assert (await last(client)).state is State.SUCCEEDED
    as_before(machine, target)


async def self_update(machine: HostMachine, target: str) -> dict[str, Any]:
    """As a tRPC client asks."""
    connector = aiohttp.UnixConnector(path=str(machine.socket))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post("http://localhost/api/trpc/selfUpdate", json={"targetRef": target}) as response,
    ):
        answer = await response.json()
    data: dict[str, Any] = answer["result"]["data"]
    return data
