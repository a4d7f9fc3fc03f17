"""Binding: the Unix socket under a name that is never free, TCP at each address of its host. And accepting no more."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from daemon.settings import Address

BACKLOG = 1024
UNIX_MODE = 0o660


def bind_unix(path: Path) -> socket.socket:
    """Bound under a temporary name and renamed, so that clients meet the old socket or the new one, never none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        aside.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(aside))
        aside.chmod(UNIX_MODE)
        # before it gets its name: whoever finds it may connect
        listener.listen(BACKLOG)
        aside.replace(path)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    return listener


def bind_tcp(address: Address) -> list[socket.socket]:
    """One socket for each address that the host's name has. Raises OSError with none of them left open."""
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    with contextlib.ExitStack() as opened:
        listeners = [opened.enter_context(_bind_tcp(family, where)) for family, _, _, _, where in dict.fromkeys(found)]
        opened.pop_all()
    return listeners


def _bind_tcp(family: int, where: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(where)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    return listener


def identity(path: Path) -> str | None:
    """What tells the socket file from any other that may come to stand at its path; None where there is none."""
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    # an inode number alone may be given out again
    return f"{status.st_dev:x}.{status.st_ino:x}.{status.st_mtime_ns:x}"


async def stop_accepting(listeners: Iterable[socket.socket]) -> None:
    """Returns when all that were accepted so far have a protocol.

    A server that is closed while it accepts drops whom it has just accepted: asyncio takes three rounds for that.
    """
    loop = asyncio.get_running_loop()
    for listener in listeners:
        loop.remove_reader(listener)
    for _ in range(5):
        await asyncio.sleep(0)
