"""The host's side where Linux is not: imported and run without what only Linux has."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.host.managers import default_manager
from tests.support.fake_machine import FakeMachine, finds_nothing_to_do, hosted
from tests.support.listening import new_folder

ROOT = Path(__file__).parents[2]

WITHOUT_LINUX = """
import fcntl, os, signal, socket, sys, time
ONLY_ON_LINUX = {
    os: "memfd_create eventfd pidfd_open splice copy_file_range posix_fallocate posix_fadvise setns unshare getxattr "
        "setxattr listxattr removexattr sched_getaffinity sched_setaffinity getrandom O_PATH O_TMPFILE fdatasync "
        "pipe2 setresuid setresgid getresuid waitid_pidfd P_PIDFD MFD_CLOEXEC",
    signal: "SIGRTMIN SIGRTMAX pidfd_send_signal sigtimedwait sigwaitinfo SIGPWR SIGSTKFLT",
    socket: "AF_NETLINK AF_VSOCK AF_PACKET SO_PEERCRED SOCK_CLOEXEC SOCK_NONBLOCK SO_PASSCRED",
    fcntl: "F_SETPIPE_SZ F_GETPIPE_SZ F_ADD_SEALS F_GET_SEALS F_OFD_SETLK",
    time: "CLOCK_BOOTTIME CLOCK_TAI",
}
for module, names in ONLY_ON_LINUX.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
"""
MODULES = [
    "asking",
    "dial_stdio",
    "install",
    "listen",
    "logs",
    "reports",
    "request",
    "snapshots",
    "status",
    "update",
    "users",
]


def run_without_linux(script: str, *words: str, home: Path) -> "subprocess.Popen[str]":
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", WITHOUT_LINUX + script, *words],
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_every_command_of_the_host_is_imported(tmp_path: Path) -> None:
    script = f"import importlib\nfor name in {MODULES}: importlib.import_module('daemon.cli.' + name)\n"
    script += "import daemon.host.docker"
    child = run_without_linux(script, home=tmp_path)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 0, stderr


def test_the_blocking_blocks(tmp_path: Path) -> None:
    child = run_without_linux("os.memfd_create('x')", home=tmp_path)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "no attribute 'memfd_create'" in stderr


def test_listener_and_client_run(tmp_path: Path) -> None:
    script = "from daemon.cli import main; sys.exit(main(sys.argv[1:]))"
    app = new_folder(tmp_path / ".local/state/opencode")
    with hosted(FakeMachine(tmp_path / "m.sock")) as machine:
        machine.script = finds_nothing_to_do()
        listener = run_without_linux(script, "listen", "--socket", str(machine.socket_path), home=tmp_path)
        try:
            asking = run_without_linux(script, "request", "--wait", "--json", "--timeout", "30", home=tmp_path)
            stdout, stderr = asking.communicate(timeout=60)
            assert asking.returncode == 0, stderr
            assert json.loads(stdout)["outcome"] == "unchanged"
            status = run_without_linux(script, "version", "--json", "--socket", str(machine.socket_path), home=tmp_path)
            stdout, stderr = status.communicate(timeout=60)
            assert status.returncode == 0, stderr
            assert json.loads(stdout)["boot_id"] == machine.boot_id
        finally:
            listener.terminate()
            listener.communicate(timeout=20)
    assert listener.returncode == 0
    assert app.left() == {"update-command.result.json"}


@pytest.mark.parametrize(("platform", "manager"), [("darwin", "launchd"), ("linux", "systemd")])
def test_service_manager_is_the_systems_own(monkeypatch: pytest.MonkeyPatch, platform: str, manager: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert default_manager() == manager
