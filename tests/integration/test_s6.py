"""The service definitions under a real s6: what the daemon's exit codes, its readiness and its output lead to."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.machine_root import PROJECT, MachineRoot
from tests.support.s6 import S6, eventually


@pytest.fixture
def machine(tmp_path: Path) -> MachineRoot:
    return MachineRoot(tmp_path)


async def until_logged(machine: MachineRoot, text: str) -> None:
    await eventually(lambda: text in machine.log(), f"{text!r} in the log")


async def test_service_is_ready_when_daemon_says_so(machine: MachineRoot) -> None:
    machine.behave(serve={"ready": True})
    async with machine.start() as s6:
        pid = await s6.service("refreshd").wait_ready()
        assert machine.starts("serve")[0]["pid"] == pid


async def test_service_that_did_not_say_it_is_not_ready(machine: MachineRoot) -> None:
    machine.behave(serve={"ready": False, "say": "up but not ready"})
    async with machine.start() as s6:
        await s6.service("refreshd").wait_up()
        await until_logged(machine, "up but not ready")
        status = await s6.service("refreshd").status()
        assert status is not None
        assert status.up
        assert not status.ready


async def test_exit_0_is_started_again_without_the_second_that_s6_waits(machine: MachineRoot) -> None:
    restarts = 3
    seconds = 0.0
    async with machine.start() as s6:
        refreshd = s6.service("refreshd")
        pid = await refreshd.wait_ready()
        for _ in range(restarts):
            await asyncio.sleep(1.1)  # s6 never starts twice within a second, ready or not
            began = time.monotonic()
            os.kill(pid, signal.SIGUSR1)
            pid = await refreshd.wait_ready_again(pid)
            seconds += time.monotonic() - began
    assert len(machine.starts("serve")) == 1 + restarts
    assert seconds < restarts, "each restart was held back: is readiness not notified?"


async def test_exit_100_stays_down_and_says_why(machine: MachineRoot) -> None:
    machine.behave(serve={"exit": 100, "ready": False})
    async with machine.start() as s6:
        await s6.service("refreshd").wait_down()
        await until_logged(machine, "misconfigured (exit code 100")
        await asyncio.sleep(1.5)  # s6 would have started it again after one second
        assert len(machine.starts("serve")) == 1


async def test_exit_100_is_started_again_by_hand(machine: MachineRoot) -> None:
    machine.behave(serve={"exit": 100, "ready": False})
    async with machine.start() as s6:
        await s6.service("refreshd").wait_down()
        machine.behave()
        await s6.service("refreshd").up()
        await s6.service("refreshd").wait_ready()


@pytest.mark.parametrize(
    ("code", "sentence"),
    [(111, "ended because a system call failed (exit code 111)"), (1, "ended with exit code 1")],
)
async def test_other_exit_codes_are_told_and_started_again(machine: MachineRoot, code: int, sentence: str) -> None:
    machine.behave(serve={"exit": code, "ready": False})
    async with machine.start() as s6:
        await until_logged(machine, sentence)
        machine.behave()
        await s6.service("refreshd").wait_ready()
        assert len(machine.starts("serve")) >= 2


async def test_killed_daemon_is_told_and_started_again(machine: MachineRoot) -> None:
    async with machine.start() as s6:
        pid = await s6.service("refreshd").wait_ready()
        os.kill(pid, signal.SIGKILL)
        await s6.service("refreshd").wait_ready_again(pid)
        await until_logged(machine, "ended by signal 9")


async def test_daemon_is_started_by_the_launcher_that_it_is_told(machine: MachineRoot) -> None:
    async with machine.start() as s6:
        await s6.service("refreshd").wait_ready()
    environment = machine.starts("serve")[0]["environment"]
    assert environment["REFRESHD_LAUNCHER"] == str(machine.libexec / "launch")
    assert environment["REFRESHD_NOTIFICATION_FD"] == "3"


async def test_log_line_goes_to_container_and_with_its_time_to_file(machine: MachineRoot) -> None:
    machine.behave(serve={"say": "a line of the daemon"})
    async with machine.start() as s6:
        await s6.service("refreshd").wait_ready()
        await until_logged(machine, "a line of the daemon")
        assert "a line of the daemon\n" in s6.text
    line = machine.log().splitlines()[0]
    assert line[:2] == "20"
    assert line.endswith("  a line of the daemon")


async def test_log_is_rotated_when_it_is_a_megabyte_long(machine: MachineRoot) -> None:
    lines = [f"{number:07} " + "x" * 120 for number in range(10_000)]
    machine.behave(serve={"say": "\n".join(lines)})
    async with machine.start() as s6:
        await s6.service("refreshd").wait_ready()
        await until_logged(machine, lines[-1])
        assert len(list(machine.log_dir.glob("@*.s"))) == 1
    kept = [line.partition("  ")[2] for line in machine.log().splitlines()]
    assert kept == lines


def test_logger_without_a_writable_folder_still_passes_lines_on(machine: MachineRoot, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" 3>/dev/null', machine.libexec / "log"],
        env=machine.env | {"REFRESHD_LOG_DIR": str(tmp_path / "file/log")},
        input="a line\n",
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == "a line\n"
    assert "cannot write logs" in done.stderr


async def test_term_ends_daemon_and_machine_with_0(machine: MachineRoot) -> None:
    async with machine.start() as s6:
        await s6.service("refreshd").wait_ready()
        assert await s6.stop() == 0
    assert machine.reports("serve")[-1]["end"] == "SIGTERM"


async def test_interrupt_ends_machine_like_term(machine: MachineRoot) -> None:
    async with machine.start() as s6:
        await s6.service("refreshd").wait_ready()
        assert await s6.stop(signal.SIGINT) == 0
    assert machine.reports("serve")[-1]["end"] == "SIGTERM"


async def test_process_left_behind_by_daemon_does_not_hold_up_the_end(machine: MachineRoot) -> None:
    """The left one holds the logger's pipe open for a minute."""
    machine.behave(serve={"orphan": 60})
    async with machine.start() as s6:
        await s6.service("refreshd").wait_ready()
        began = time.monotonic()
        assert await s6.stop() == 0
        assert time.monotonic() - began < 9, "Docker would have killed it"


# What follows is the way of s6-overlay: no entry.sh, services start with an empty environment.


def overlay_machine(machine: MachineRoot) -> S6:
    """The one service as s6-overlay lays it out, with real execline and s6-envdir for its `with-contenv`."""
    contenv = machine.folder / "container_environment"
    contenv.mkdir()
    for name, value in machine.env.items():
        (contenv / name).write_text(value)
    command = machine.root / "command/with-contenv"
    command.parent.mkdir()
    execlineb = shutil.which("execlineb")
    command.write_text(f"#!{execlineb} -S0\nemptyenv -p\ns6-envdir -Lf -- {contenv}\nexec\n$@\n")
    command.chmod(0o755)
    for service in ("refreshd", "refreshd-holder"):
        shutil.copytree(machine.definitions / service, machine.scan / service)
    bare = {name: machine.env[name] for name in ("PATH", "MACHINE_ROOT")}
    return S6(machine.scan, env=bare, output=machine.folder / "container.log")


async def test_container_environment_is_restored_under_s6_overlay(machine: MachineRoot) -> None:
    async with overlay_machine(machine) as s6:
        await s6.service("refreshd").wait_ready()
        assert machine.starts("serve")[0]["environment"]["ITERATE_REPO"] == str(machine.repo)


async def test_daemon_finds_the_holder_under_s6_overlay(machine: MachineRoot) -> None:
    async with overlay_machine(machine) as s6:
        await s6.service("refreshd-holder").wait_ready()
        await s6.service("refreshd").wait_ready()
        holder = Path(machine.starts("serve")[0]["environment"]["REFRESHD_HOLDER"])
        assert holder.is_socket()


async def test_first_start_under_s6_overlay_syncs_once_before_the_daemon(machine: MachineRoot) -> None:
    machine.mount.mkdir()
    async with overlay_machine(machine) as s6:
        refreshd = s6.service("refreshd")
        pid = await refreshd.wait_ready()
        os.kill(pid, signal.SIGUSR1)
        await refreshd.wait_ready_again(pid)
    assert [report["command"] for report in machine.starts()] == ["sync", "serve", "serve"]


async def test_first_sync_is_told_to_stop_under_s6_overlay(machine: MachineRoot) -> None:
    machine.mount.mkdir()
    machine.behave(sync={"hang": True})
    async with overlay_machine(machine) as s6:
        await eventually(lambda: machine.starts("sync"), "the first sync")
        await s6.service("refreshd").down()
    assert machine.reports("sync")[-1]["end"] == "SIGTERM"
    assert not machine.starts("serve")


# The definitions as s6-rc reads them.

DEFINITIONS = PROJECT / "s6-overlay/etc/s6-overlay"


def test_logger_and_daemon_name_each_other() -> None:
    services = DEFINITIONS / "s6-rc.d"
    assert (services / "refreshd/producer-for").read_text() == "refreshd-log\n"
    assert (services / "refreshd-log/consumer-for").read_text() == "refreshd\n"


def test_daemon_is_started_after_the_holder() -> None:
    assert (DEFINITIONS / "s6-rc.d/refreshd/dependencies.d/refreshd-holder").exists()
    assert (DEFINITIONS / "s6-rc.d/refreshd-holder/type").read_text() == "longrun\n"


def test_user_bundle_holds_the_pipeline() -> None:
    pipeline = (DEFINITIONS / "s6-rc.d/refreshd-log/pipeline-name").read_text().strip()
    assert [path.name for path in (DEFINITIONS / "user-bundles.d/user/contents.d").iterdir()] == [pipeline]


def test_old_place_of_the_user_bundle_stays_free() -> None:
    """Where it exists, newer s6-overlays look at nothing else: other services of the image would not be started."""
    assert not (DEFINITIONS / "s6-rc.d/user").exists()


def test_every_program_is_executable() -> None:
    programs = [path for path in (PROJECT / "s6-overlay").rglob("*") if path.is_file()]
    scripts = [path for path in programs if path.read_bytes().startswith(b"#!")]
    assert len(scripts) >= 9
    assert [path for path in [*scripts, PROJECT / "entry.sh"] if not os.access(path, os.X_OK)] == []
