"""A listener in a process of its own that kills itself before a step of its work, or does it to the end."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon.client import Client
from daemon.client.connection import Connection
from daemon.command_file import contract
from daemon.host.inbox import Inbox
from daemon.host.listener import Listener
from daemon.host.machine import Reached
from tests.support.listening import QUICK

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__])


def listen_once(socket: Path, state: Path, die_before: int | None) -> int | None:
    """Does one command. The number of steps that it took; None when it died on its way."""
    receiving, sending = _processes.Pipe(duplex=False)
    child = _processes.Process(target=_main, args=(socket, state, die_before, sending))
    child.start()
    sending.close()
    child.join(60)
    if child.exitcode == -signal.SIGKILL:
        return None
    assert child.exitcode == 0, f"exit code {child.exitcode}"
    steps: int = receiving.recv()
    return steps


def _main(socket: Path, state: Path, die_before: int | None, sending: Any) -> None:
    steps = _Steps(die_before)
    for name in ("rename", "unlink", "fsync", "replace"):
        setattr(os, name, steps.counted(getattr(os, name)))
    Connection.ask = steps.counted(Connection.ask)  # type: ignore[method-assign]
    asyncio.run(_listen(socket, state))
    sending.send(steps.taken)


class _Steps:
    """What changes a file, and what is asked of the machine."""

    def __init__(self, die_before: int | None) -> None:
        self.taken = 0
        self._die_before = die_before

    def counted(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **more: Any) -> Any:
            if self.taken == self._die_before:
                os.kill(os.getpid(), signal.SIGKILL)
            self.taken += 1
            return original(*arguments, **more)

        return step


async def _listen(socket: Path, state: Path) -> None:
    machine = Reached("m", lambda: Client(socket=socket, patience=5))
    machine.stopped = _always_there  # type: ignore[method-assign]
    listener = Listener(machine, Inbox(state, *contract.INSIDE), default_branch="dev", pace=QUICK)
    listening = asyncio.create_task(listener.run())
    folder = state.joinpath(*contract.INSIDE)
    while {path.name for path in folder.iterdir()} != {contract.RESULT}:  # noqa: ASYNC110 - files tell nobody
        await asyncio.sleep(0.005)
    listening.cancel()
    await asyncio.wait({listening})


async def _always_there() -> None:
    """Its questions would be steps, too."""
