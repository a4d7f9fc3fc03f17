"""A machine whose daemon runs as a user of its own: what code in the sandbox can read of it, and that updates work."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.client import Client
from daemon.models import Issued, Update
from daemon.states import State
from tests.e2e.conftest import StartMachine
from tests.support.docker import Machine
from tests.support.machine import git

REPO = "/home/iterate/repo"
AGENT = "iterate"
MARK = "/tmp/the-checkouts-daemon-ran"
PATIENCE = 120.0  # seconds

# a daemon in the checkout, as whoever works in the sandbox could write one
PLANTED = f"import pathlib; pathlib.Path({MARK!r}).touch()\n"


@pytest.fixture
def host() -> Iterator[Path]:
    """The host's repository, readable for the containers' users."""
    folder = Path(tempfile.mkdtemp(prefix="refreshd-e2e-"))
    folder.chmod(0o755)
    (folder / "daemon").mkdir()
    for name, content in {"code": "one\n", "daemon/__init__.py": PLANTED, "daemon/__main__.py": PLANTED}.items():
        (folder / name).write_text(content)
        # as of a host whose users work in groups: files from a mount keep their modes
        (folder / name).chmod(0o664)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "one")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def machine(host: Path, start_machine: StartMachine) -> Machine:
    started = await start_machine(
        user="root", env={"MACHINE_DAEMON_USER": "refreshd"}, mounts={host: "/local-iterate-repo:ro"}
    )
    async with asyncio.timeout(PATIENCE):
        while (await started.exec("refreshd", "status", "--quiet", check=False)).code:
            assert (await started.inspect())["State"]["Running"], await started.logs()
            await asyncio.sleep(0.5)
    return started


async def as_agent(machine: Machine, script: str) -> tuple[int, str]:
    done = await machine.exec("sh", "-c", script, user=AGENT, check=False)
    return done.code, done.stdout + done.stderr


async def test_code_in_the_sandbox_reads_nothing_of_the_daemon_and_updates_work_all_the_same(
    machine: Machine, host: Path
) -> None:
    """One machine for all of it: a start takes longer than the questions."""
    added = await machine.exec("refreshd", "user", "add", "boss", "--role", "update", "--json")
    token = Issued.model_validate_json(added.stdout).token

    daemons = (await machine.exec("sh", "-c", "for p in /proc/[0-9]*; do stat -c %U $p; done 2>/dev/null")).stdout
    assert "refreshd" in daemons.split(), "the daemon has its own user"
    for forbidden in (
        "cat /var/lib/refreshd/users.json",
        "ls /var/lib/refreshd",
        "ls /var/log/refreshd",
        "cat /proc/1/environ",
        "curl --fail --silent --show-error --unix-socket /run/refreshd/refreshd.sock http://localhost/api/v1/version",
        "refreshd update main",
        "refreshd user add eve --role update",
        "curl --fail --silent --show-error http://localhost:3000/api/v1/version",
    ):
        code, said = await as_agent(machine, forbidden)
        assert code != 0, forbidden
        assert "boss" not in said
    assert (await as_agent(machine, "id --groups --name"))[1].split() == [AGENT]

    code, said = await as_agent(machine, f"cd {REPO} && echo mine >mine && mkdir -p notes && echo x >notes/x")
    assert code == 0, said
    (host / "code").write_text("two\n")
    git(host, "commit", "--quiet", "--all", "--message", "two")
    async with Client(url=machine.url, token=token) as client:
        update: Update = await client.refresh("main")
    assert update.state is State.SUCCEEDED
    assert update.request.by == "user boss"
    code, said = await as_agent(machine, f"cd {REPO} && cat code mine notes/x && echo three >>code && git status")
    assert code == 0, said
    assert said.startswith("two\nmine\nx\n")
    assert (await machine.exec("sh", "-c", f"test ! -e {MARK}", check=False)).code == 0, "it ran the checkout's daemon"
