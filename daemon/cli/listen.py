"""`listen`: does what machines ask for in their command files, in the foreground, until it is told to end."""

import asyncio
import contextlib
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from os import environ
from pathlib import Path

from daemon import log
from daemon.cli.asking import UsageError, client_for, container_named
from daemon.cli.exit_codes import ExitCode
from daemon.command_file import contract
from daemon.errors import InvalidRefError
from daemon.host.inbox import Inbox
from daemon.host.listener import Listener, Pace, listen
from daemon.host.machine import Machine, Reached
from daemon.refs import parse_branch

PATIENCE = 120.0  # seconds, for a daemon that restarts or is put back by its guard


def run(arguments: Namespace) -> int:
    log.configure("auto", "info")
    try:
        watched = listeners(arguments)
    except UsageError as error:
        sys.stderr.write(f"refreshd: {error}\n")
        return ExitCode.USAGE
    if arguments.state is None:
        _make_default_state()
    return asyncio.run(_until_told(watched))


async def _until_told(watched: list[Listener]) -> ExitCode:
    """DONE when it was told to end; UNREACHABLE when no machine runs, upon which the service starts it again."""
    listening = asyncio.create_task(listen(watched))
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


def listeners(arguments: Namespace) -> list[Listener]:
    """Raises UsageError."""
    try:
        parse_branch(arguments.default_branch)
    except InvalidRefError as error:
        raise UsageError(str(error)) from None
    pace = Pace(limit=arguments.timeout)
    return [
        Listener(machine, Inbox(state, *contract.INSIDE), default_branch=arguments.default_branch, pace=pace)
        for machine, state in _machines(arguments)
    ]


def _machines(arguments: Namespace) -> Sequence[tuple[Machine, Path]]:
    """Raises UsageError."""
    default: Path = arguments.state or Path.home() / contract.STATE
    if not arguments.machine:
        return [(_reached(arguments), default)]
    given = [name.partition("=") for name in arguments.machine]
    folders = [Path(folder) if folder else default for _, _, folder in given]
    if len(set(folders)) < len(folders):
        raise UsageError("cannot listen to two machines in one folder; give --machine NAME=DIR for each")
    return [(container_named(name, PATIENCE), folder) for (name, _, _), folder in zip(given, folders, strict=True)]


def _reached(arguments: Namespace) -> Machine:
    """What is wrong with the arguments is said at once, what is wrong with the machine when it is asked."""
    chosen = Namespace(**vars(arguments) | {"machine": None})
    client_for(chosen, environ, PATIENCE)
    return Reached(arguments.url or "machine", lambda: client_for(chosen, environ, PATIENCE))


def _make_default_state() -> None:
    """Before a container engine does it, for root. A folder that was named has to be there: it may be a mount."""
    (Path.home() / contract.STATE).mkdir(parents=True, exist_ok=True)
