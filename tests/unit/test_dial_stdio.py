"""The daemon's socket on standard input and output, which is how a host without a port gets to it."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.socket_path import GREETING
from tests.support.fake_machine import FakeMachine

DIAL = (sys.executable, "-m", "daemon", "dial-stdio", "--socket")


async def dial(socket: Path, request: bytes) -> tuple[int, bytes, bytes]:
    child = await asyncio.create_subprocess_exec(
        *DIAL, str(socket), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    stdout, stderr = await child.communicate(request)
    return child.returncode or 0, stdout, stderr


async def test_what_the_daemon_says_follows_the_greeting(tmp_path: Path) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with FakeMachine(tmp_path / "m.sock") as machine:
        child = await asyncio.create_subprocess_exec(
            *DIAL, str(machine.socket_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdin
        assert child.stdout
        child.stdin.write(request)
        answer = await child.stdout.read()
        child.stdin.close()
        assert await child.wait() == 0
    assert answer.startswith(GREETING + b"HTTP/1.1 200 OK\r\n")
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["boot_id"] == machine.boot_id


async def test_its_end_follows_the_end_of_the_input(tmp_path: Path) -> None:
    async with FakeMachine(tmp_path / "m.sock") as machine, asyncio.timeout(20):
        assert machine.socket_path
        code, stdout, _ = await dial(machine.socket_path, b"")
    assert (code, stdout) == (0, GREETING)


async def test_missing_socket_is_said(tmp_path: Path) -> None:
    code, stdout, stderr = await dial(tmp_path / "missing.sock", b"")
    assert (code, stdout) == (3, b"")
    assert stderr.decode() == f"{tmp_path}/missing.sock: No such file or directory\n"


@pytest.mark.parametrize("heavy", ["aiohttp", "pydantic", "asyncio"])
def test_it_imports_next_to_nothing(tmp_path: Path, heavy: str) -> None:
    """It is started once for each connection."""
    script = (
        "import sys; from daemon.cli import main; "
        f"main(['dial-stdio', '--socket', {str(tmp_path / 'none')!r}]); "
        f"sys.exit({heavy!r} in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, stderr=subprocess.DEVNULL).returncode == 0
