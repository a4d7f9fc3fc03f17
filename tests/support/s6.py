"""A real supervision tree for tests: starts one, asks and tells its services, and ends all of it by process id."""

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 20.0  # seconds, for a machine that is busy with other tests
POLL = 0.02
_MARK = "S6_TEST_TREE"


async def eventually(holds: Callable[[], object], what: str) -> None:
    """Returns when `holds` does; for what only another process knows and tells in files."""
    deadline = time.monotonic() + PATIENCE
    while not await asyncio.to_thread(holds):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE:g} s: {what}")
        await asyncio.sleep(POLL)


@dataclass(frozen=True)
class Status:
    up: bool
    ready: bool
    wanted_up: bool
    pid: int


class Service:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def status(self) -> Status | None:
        """None while nothing supervises the folder."""
        code, output = await _run("s6-svstat", "-o", "up,ready,wantedup,pid", self.folder)
        if code != 0:
            return None
        up, ready, wanted_up, pid = output.split()
        return Status(up == "true", ready == "true", wanted_up == "true", int(pid))

    async def wait_up(self) -> int:
        return (await self._wait("up", lambda status: status.up)).pid

    async def wait_ready(self) -> int:
        return (await self._wait("ready", lambda status: status.ready and status.up)).pid

    async def wait_ready_again(self, after: int) -> int:
        """Ready with another process id than `after`, which it returns."""
        return (await self._wait("ready again", lambda s: s.ready and s.up and s.pid != after)).pid

    async def wait_down(self) -> None:
        """Down for good: nobody wants it up."""
        await self._wait("down", lambda status: not status.up and not status.wanted_up)

    async def up(self) -> None:
        await _checked("s6-svc", "-u", self.folder)

    async def down(self) -> None:
        """Returns when the process has ended; s6 sends KILL after the service's `timeout-kill`."""
        await _checked("s6-svc", "-d", self.folder)
        await self.wait_down()

    async def restart(self) -> None:
        await _checked("s6-svc", "-r", self.folder)

    async def _wait(self, what: str, holds: Callable[[Status], bool]) -> Status:
        deadline = time.monotonic() + PATIENCE
        status = await self.status()
        while status is None or not holds(status):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.folder.name} is not {what} after {PATIENCE:g} s: {status}")
            await asyncio.sleep(POLL)
            status = await self.status()
        return status


class S6:
    """Runs `argv` (by default s6-svscan), which supervises the scan directory `scan`. Its output goes to `output`."""

    def __init__(
        self,
        scan: Path,
        *,
        env: Mapping[str, str],
        output: Path,
        argv: Sequence[str | Path] | None = None,
    ) -> None:
        self.scan = scan
        self.output = output
        self._argv = argv or ("s6-svscan", scan)
        self._mark = secrets.token_hex(16)
        self._env = {**env, _MARK: self._mark}
        self._root: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        with self.output.open("ab") as output:
            self._root = await asyncio.create_subprocess_exec(
                *self._argv, env=self._env, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(TimeoutError):
            await self.stop()
        await self.kill()

    def service(self, name: str) -> Service:
        return Service(self.scan / name)

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    async def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """As `docker stop` does it; returns the exit code of the tree."""
        if self._process.returncode is None:
            self._process.send_signal(signum)
        return await self.wait_ended()

    async def wait_ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()

    async def kill(self) -> None:
        """Nothing of the tree is left when it returns, not even what left its session."""
        while pids := await asyncio.to_thread(self.pids):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(POLL)
        await self._process.wait()

    @property
    def _process(self) -> asyncio.subprocess.Process:
        assert self._root is not None, "not entered"
        return self._root

    def pids(self) -> list[int]:
        mark = f"{_MARK}={self._mark}".encode()
        return [int(proc.name) for proc in Path("/proc").glob("[0-9]*") if mark in _environ(proc).split(b"\0")]


def _environ(proc: Path) -> bytes:
    try:
        return (proc / "environ").read_bytes()
    except OSError:  # it has ended, or is another user's
        return b""


async def _run(*argv: str | Path) -> tuple[int, str]:
    child = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await child.communicate()
    return await child.wait(), output.decode()


async def _checked(*argv: str | Path) -> None:
    code, _ = await _run(*argv)
    assert code == 0, f"{argv} ended with {code}"
