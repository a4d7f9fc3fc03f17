"""`listen`: does what machines ask for in their command files, in the foreground, until it is told to end."""

import asyncio
import contextlib
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator
from os import environ
from pathlib import Path

from daemon import log
from daemon.cli.asking import UsageError, client_for
from daemon.cli.exit_codes import ExitCode
from daemon.command_file import contract
from daemon.errors import InvalidRefError
from daemon.host.inbox import Inbox
from daemon.host.listener import Listener, Pace, listen
from daemon.host.machine import Reached
from daemon.refs import parse_branch

PATIENCE = 120.0  # seconds, for a daemon that restarts or is put back by its guard


def run(arguments: Namespace) -> int:
    log.configure("auto", "info")
    try:
        listeners = _listeners(arguments)
    except UsageError as error:
        sys.stderr.write(f"refreshd: {error}\n")
        return ExitCode.USAGE
    return asyncio.run(_until_told(listeners))


async def _until_told(listeners: list[Listener]) -> ExitCode:
    """DONE when it was told to end; UNREACHABLE when no machine runs, upon which the service starts it again."""
    listening = asyncio.create_task(listen(listeners))
    with _signals(listening), contextlib.suppress(asyncio.CancelledError):
        await listening
        log.get_logger().error("listening ends: no machine runs")
        return ExitCode.UNREACHABLE
    return ExitCode.DONE


@contextlib.contextmanager
def _signals(listening: asyncio.Task[None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for signum in signals:
        loop.add_signal_handler(signum, listening.cancel)
    try:
        yield
    finally:
        for signum in signals:
            loop.remove_signal_handler(signum)


def _listeners(arguments: Namespace) -> list[Listener]:
    """Raises UsageError."""
    try:
        parse_branch(arguments.default_branch)
    except InvalidRefError as error:
        raise UsageError(str(error)) from None
    client_for(arguments, environ, PATIENCE)  # what is wrong with the arguments is said now
    machine = Reached(arguments.url or "machine", lambda: client_for(arguments, environ, PATIENCE))
    inbox = Inbox(_state(arguments.state), *contract.INSIDE)
    return [Listener(machine, inbox, default_branch=arguments.default_branch, pace=Pace(limit=arguments.timeout))]


def _state(given: Path | None) -> Path:
    """The default one is created, before a container engine does it for root. One that is named has to be there."""
    if given:
        return given
    state = Path.home() / contract.STATE
    state.mkdir(parents=True, exist_ok=True)
    return state
