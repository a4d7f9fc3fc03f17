"""A listener in this process, quick enough for tests, and the words of a web app that knows only the document."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from daemon.client import Client
from daemon.command_file import contract
from daemon.host.inbox import Inbox
from daemon.host.listener import Listener, Pace
from daemon.host.machine import Reached
from tests.support.fake_machine import FakeMachine

QUICK = Pace(poll=0.01, interval=0.05, grace=0.15, longest_grace=0.6, presence=0.05, limit=20)
PATIENCE = 15.0  # seconds


class App:
    """What the document tells the implementors of a web app, and nothing of ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = folder / "update-command.json"
        self.result = folder / "update-command.result.json"
        self.progress = folder / "update-command.progress.json"

    def write(self, content: bytes | str) -> None:
        """Aside, and renamed."""
        aside = self.folder / "update-command.json.tmp"
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        aside.replace(self.command)

    def ask(self, **fields: Any) -> None:
        self.write(json.dumps({"command": "update_opencode"} | fields))

    def found(self) -> dict[str, Any] | None:
        """A result that is there is whole: what does not parse fails the test."""
        try:
            document: dict[str, Any] = json.loads(self.result.read_bytes())
        except FileNotFoundError:
            return None
        return document

    async def answer(self, request_id: Any = None) -> dict[str, Any]:
        """The result that names the request; without an id the first one that is there."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found = self.found()
                if found and (request_id is None or found.get("request_id") == request_id):
                    return found
                await asyncio.sleep(0.005)

    async def asked(self, **fields: Any) -> dict[str, Any]:
        self.ask(**fields)
        return await self.answer(fields.get("request_id"))

    def left(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


async def until(condition: Any, what: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.005)
    assert condition(), what


def new_folder(state: Path) -> App:
    folder = state.joinpath(*contract.INSIDE)
    folder.mkdir(parents=True, exist_ok=True)
    return App(folder)


def listener_of(machine: FakeMachine, state: Path, *, pace: Pace = QUICK, gone_after: float = 60.0) -> Listener:
    def client() -> Client:
        return Client(socket=machine.socket_path, patience=5)

    inbox = Inbox(state, *contract.INSIDE)
    return Listener(Reached("m", client, gone_after), inbox, default_branch="dev", pace=pace)


@contextlib.asynccontextmanager
async def running(listener: Listener) -> AsyncIterator[Listener]:
    task = asyncio.create_task(listener.run())
    try:
        yield listener
    finally:
        ended_early = task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert not ended_early, "the listener ended by itself"


@contextlib.contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(before)


@contextlib.contextmanager
def listening_process(*words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`refreshd listen`, as a service runs it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REFRESHD_")}
    child = subprocess.Popen([sys.executable, "-m", "daemon", "listen", *words], env=environ)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
