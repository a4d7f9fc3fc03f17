"""The entry point on plain s6: what it prepares, lays out and refuses."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine_root import PROJECT, MachineRoot
from tests.support.s6 import S6, eventually

SLEEPER = "#!/bin/sh\necho sleeper is up\nexec sleep 1000\n"


@pytest.fixture
def machine(tmp_path: Path) -> MachineRoot:
    return MachineRoot(tmp_path)


# The scan directory


async def test_definitions_become_a_scan_directory(machine: MachineRoot) -> None:
    async with machine.start() as s6:
        await s6.service("refreshd").wait_ready()
        ours = {"supervise", "event", "synced"}
        service = {path.name for path in (machine.scan / "refreshd").iterdir()} - ours
        logger = {path.name for path in (machine.scan / "refreshd/log").iterdir()} - ours
        assert service == {"run", "finish", "notification-fd", "timeout-kill", "log"}
        assert logger == {"run", "notification-fd", "timeout-kill"}
        assert await s6.service("refreshd/log").wait_ready()


async def test_programs_that_lost_their_executable_bit_get_it_back(machine: MachineRoot) -> None:
    for name in ("refreshd/run", "refreshd/finish", "refreshd-log/run"):
        (machine.definitions / name).chmod(0o644)
    async with machine.start() as s6:
        await s6.service("refreshd").wait_ready()


async def test_service_of_the_user_runs_with_its_logger(machine: MachineRoot, tmp_path: Path) -> None:
    kept = tmp_path / "kept/current"
    machine.define("web", type="longrun\n", run=SLEEPER, producer_for="web-log\n")
    machine.define("web-log", type="longrun\n", run=f"#!/bin/sh\nexec s6-log {kept.parent}\n", consumer_for="web\n")
    async with machine.start() as s6:
        await s6.service("web").wait_up()
        await s6.service("web/log").wait_up()
        await eventually(lambda: kept.exists() and kept.read_text() == "sleeper is up\n", "the service's line")
        assert not (machine.scan / "web-log").exists()


async def test_service_of_the_user_keeps_its_data_and_gets_a_limit_for_its_end(machine: MachineRoot) -> None:
    folder = machine.define("web", type="longrun", run=SLEEPER, down_signal="SIGINT\n")
    (folder / "data").mkdir()
    (folder / "data/page").write_text("hello")
    async with machine.start() as s6:
        await s6.service("web").wait_up()
        assert (machine.scan / "web/data/page").read_text() == "hello"
        assert (machine.scan / "web/down-signal").read_text() == "SIGINT\n"
        assert (machine.scan / "web/timeout-kill").read_text() == "7000\n"


async def test_service_that_ignores_term_is_killed_when_its_time_is_over(machine: MachineRoot) -> None:
    deaf = "#!/bin/sh\ntrap '' TERM\necho ignoring\nwhile :; do sleep 1; done\n"
    machine.define("deaf", type="longrun\n", run=deaf, timeout_kill="500\n")
    async with machine.start() as s6:
        await eventually(lambda: "ignoring" in s6.text, "the trap")
        assert await s6.stop() == 0


async def test_what_plain_s6_cannot_do_is_said(machine: MachineRoot) -> None:
    machine.define("once", type="oneshot\n", up="echo\n")
    folder = machine.define("web", type="longrun\n", run=SLEEPER, producer_for="shared-log\n")
    (folder / "dependencies.d").mkdir()
    (folder / "dependencies.d/base").touch()
    (folder / "dependencies.d/refreshd").touch()
    machine.define("shared-log", type="longrun\n", run=SLEEPER, consumer_for="other\nweb\n")
    machine.define("lost-log", type="longrun\n", run=SLEEPER, consumer_for="nobody\n")
    machine.define("pack", type="bundle\n")
    async with machine.start() as s6:
        await s6.service("web").wait_up()
        said = [line for line in s6.text.splitlines() if line.startswith("entry: ")]
    assert said == [
        "entry: lost-log is not started: it logs for nobody, which does not exist",
        "entry: once is a oneshot, which plain s6 does not run",
        "entry: shared-log is not started: it logs for other, which does not exist",
        "entry: web does not wait for refreshd: plain s6 starts all services at once",
        "entry: web logs to the container's log: shared-log is not a logger for it alone",
    ]


async def test_what_a_killed_machine_left_is_replaced(machine: MachineRoot) -> None:
    machine.define("removed", type="longrun\n", run=SLEEPER)
    async with machine.start() as s6:
        await s6.service("removed").wait_up()
        await s6.kill()
    shutil.rmtree(machine.definitions / "removed")
    async with machine.start() as s6:
        await s6.service("refreshd").wait_ready()
        assert not (machine.scan / "removed").exists()


async def test_second_machine_in_the_same_run_folder_is_refused(machine: MachineRoot) -> None:
    async with machine.start() as s6:
        pid = await s6.service("refreshd").wait_ready()
        refused = await asyncio.to_thread(machine.entry)
        assert refused.returncode == 100
        assert f"another machine runs in {machine.run_dir}" in refused.stderr
        assert await s6.service("refreshd").wait_ready() == pid


# The first sync


async def test_host_code_is_synced_before_the_daemon_starts(machine: MachineRoot) -> None:
    machine.mount.mkdir()
    async with machine.start() as s6:
        pid = await s6.service("refreshd").wait_ready()
        os.kill(pid, signal.SIGUSR1)
        await s6.service("refreshd").wait_ready_again(pid)
    assert [start["command"] for start in machine.starts()] == ["sync", "serve", "serve"]


async def test_first_sync_is_not_told_of_readiness(machine: MachineRoot) -> None:
    machine.mount.mkdir()
    async with machine.start() as s6:
        await s6.service("refreshd").wait_ready()
    assert "REFRESHD_NOTIFICATION_FD" not in machine.starts("sync")[0]["environment"]


@pytest.mark.parametrize(
    ("mounted", "environment", "synced"),
    [(False, "", False), (True, "daytona", False), (True, "local", False), (False, "local-docker", True)],
)
async def test_environment_decides_whether_there_is_a_first_sync(
    machine: MachineRoot, *, mounted: bool, environment: str, synced: bool
) -> None:
    if mounted:
        machine.mount.mkdir()
    async with machine.start(REFRESHD_ENVIRONMENT=environment) as s6:
        await s6.service("refreshd").wait_ready()
    assert bool(machine.starts("sync")) is synced


async def test_machine_starts_when_the_first_sync_fails_and_says_so(machine: MachineRoot) -> None:
    machine.mount.mkdir()
    machine.behave(sync={"exit": 5})
    async with machine.start() as s6:
        await s6.service("refreshd").wait_ready()
        assert "THE FIRST SYNC FAILED with exit code 5" in s6.text


async def test_term_during_the_first_sync_ends_it_and_the_machine(machine: MachineRoot) -> None:
    machine.mount.mkdir()
    machine.behave(sync={"hang": True})
    async with machine.start() as s6:
        await eventually(lambda: machine.starts("sync"), "the first sync")
        assert await s6.stop() == 0
    assert machine.reports("sync")[-1]["end"] == "SIGTERM"
    assert not machine.starts("serve")


# Folders and users


@pytest.mark.parametrize("name", ["REFRESHD_RUN_DIR", "REFRESHD_STATE_DIR", "REFRESHD_LOG_DIR"])
def test_folder_that_cannot_be_written_is_named(machine: MachineRoot, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    refused = machine.entry(env={name: str(tmp_path / "file/folder")})
    assert refused.returncode == 100
    assert f"cannot start the machine: {tmp_path}/file/folder ({name}) is not writable" in refused.stderr


@pytest.fixture
def foreign_folder() -> Iterator[Path]:
    """A folder of nobody's, outside of the test's own, which others cannot enter."""
    folder = Path(tempfile.mkdtemp(prefix="machine-"))
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    yield folder
    shutil.rmtree(folder)


SHELL_DAEMON = """\
#!/bin/sh
# in the place of the interpreter: the real one may be in a folder that nobody can enter
echo "started as $(id -u)"
trap 'echo ended; exit 0' TERM
echo >&3
exec 3>&-
while :; do sleep 0.1; done
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user; all other tests run as this one")
async def test_machine_works_unprivileged(foreign_folder: Path) -> None:
    machine = MachineRoot(foreign_folder)
    interpreter = machine.root / "opt/refreshd/.venv"
    interpreter.unlink()
    (interpreter / "bin").mkdir(parents=True)
    (interpreter / "bin/python").write_text(SHELL_DAEMON)
    (interpreter / "bin/python").chmod(0o755)
    shutil.copy(PROJECT / "entry.sh", foreign_folder)
    subprocess.run(["chown", "-R", "nobody", foreign_folder], check=True)
    uid = pwd.getpwnam("nobody").pw_uid
    as_nobody = ("setpriv", f"--reuid={uid}", "--clear-groups", foreign_folder / "entry.sh")
    tree = S6(machine.scan, env=machine.env, output=foreign_folder / "container.log", argv=as_nobody)
    async with tree as s6:
        await s6.service("refreshd").wait_ready()
        assert await s6.stop() == 0
    assert f"started as {uid}\nended\n" in s6.text
    assert "ended" in machine.log()


# Other ways to start


def test_words_are_run_instead_of_the_machine(machine: MachineRoot) -> None:
    done = machine.entry("printf", "%s|", "two words", "")
    assert (done.returncode, done.stdout) == (0, "two words||")
    assert not machine.run_dir.exists()


def write_init(machine: MachineRoot) -> None:
    init = machine.root / "init"
    init.write_text('#!/bin/sh\nprintf "init with <%s>" "$@"\n')
    init.chmod(0o755)


def test_init_of_s6_overlay_takes_over(machine: MachineRoot) -> None:
    write_init(machine)
    done = machine.entry("a command")
    assert (done.returncode, done.stdout) == (0, "init with <a command>")
    assert not machine.run_dir.exists()


def test_user_bundle_is_joined_where_an_older_s6_overlay_looks(machine: MachineRoot) -> None:
    write_init(machine)
    machine.define("user", type="bundle\n")
    assert machine.entry().returncode == 0
    assert (machine.definitions / "user/contents.d/refreshd-pipeline").is_file()


def test_old_place_of_the_user_bundle_is_not_made(machine: MachineRoot) -> None:
    write_init(machine)
    assert machine.entry().returncode == 0
    assert not (machine.definitions / "user").exists()


def test_a_daemon_user_that_cannot_be_had_is_refused(machine: MachineRoot) -> None:
    refused = machine.entry(env={"MACHINE_DAEMON_USER": "nobody-of-this-name"})
    assert refused.returncode == 100
    assert "MACHINE_DAEMON_USER" in refused.stderr
