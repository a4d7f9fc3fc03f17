"""Which sockets this process listens on: taken from the holder, or bound and given to it to keep."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from daemon.errors import RefreshdError
from daemon.log import get_logger
from daemon.server.listening.binding import BACKLOG, bind_tcp, bind_unix, identity, stop_accepting
from daemon.server.listening.holder import Holder
from daemon.settings import Address

_KINDS = ("tcp:", "unix:")
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between two attempts to reach the holder

log = get_logger()


class Listeners:
    """The sockets by the ids under which the holder knows them. `handed_on` are the descriptors that came from it.

    The id of a TCP socket is the setting that it serves, and that of a Unix socket names the file it was bound to:
    a changed setting and a file that was removed or replaced are noticed, and bound anew.
    """

    def __init__(self, *, unix: Path, tcp: Address | None, holder: Holder | None, handed_on: Mapping[str, int]) -> None:
        self._unix = unix
        self._tcp = tcp
        self._holder = holder
        self._handed_on = dict(handed_on)
        self._open: dict[str, socket.socket] = {}
        self._servers: list[asyncio.Server] = []

    def adopt(self) -> list[socket.socket]:
        """What the holder handed on and is still wanted. Blocks for a look at the socket file."""
        prefixes = (f"unix:{identity(self._unix)}:{self._unix}", f"tcp:{self._tcp}#")
        for held in [held for held in self._handed_on if held.startswith(prefixes)]:
            with contextlib.suppress(OSError):  # no socket: bound anew like one that is missing
                self._open[held] = _adopted(self._handed_on.pop(held))
        return list(self._open.values())

    async def open(self) -> list[socket.socket]:
        """Everything to listen on. Raises OSError."""
        await asyncio.to_thread(self.adopt)
        taken = len(self._open)
        await self._give_up()
        await asyncio.to_thread(self._bind_missing)
        log.info(
            "listening",
            unix=str(self._unix),
            tcp=str(self._tcp) if self._tcp else None,
            taken_from_holder=taken,
            bound=len(self._open) - taken,
        )
        return list(self._open.values())

    async def serve(self, connection: Callable[[], asyncio.Protocol]) -> None:
        """Accepts on all of them. Raises OSError."""
        loop = asyncio.get_running_loop()
        for listener in await self.open():
            self._servers.append(await loop.create_server(connection, sock=listener, backlog=BACKLOG))

    async def stop_accepting(self) -> None:
        """Who connects from now on waits in the kernel's queue."""
        await stop_accepting(self._open.values())

    def close(self) -> None:
        """Of this process; the holder has its own."""
        for server in self._servers:
            server.close()

    async def keep(self) -> None:
        """Sees to it that the holder has them, also after it was restarted; until cancelled."""
        if self._holder is None:
            log.warning("no holder keeps the listening sockets: clients are refused while the daemon restarts")
            return
        pause = _FIRST_PAUSE
        while True:
            try:
                async with self._holder.watched() as holder:
                    await self._reconcile(self._holder)
                    pause = _FIRST_PAUSE
                    with contextlib.suppress(ConnectionError):
                        await holder.read(1)
                log.warning("holder of the listening sockets has ended, they are given to the next one")
            except (RefreshdError, OSError) as error:
                log.warning("holder cannot be given the listening sockets", error=str(error), again_in=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _give_up(self) -> None:
        """What is not wanted any more, and would keep clients waiting for an answer that never comes."""
        for held, descriptor in self._handed_on.items():
            if held.startswith(_KINDS):
                with contextlib.suppress(OSError, RefreshdError):  # `keep` tries again
                    _adopted(descriptor).close()
                    if self._holder:
                        await self._holder.delete(held)
        self._handed_on.clear()

    def _bind_missing(self) -> None:
        # TCP first: where the holder has the port and did not answer, this fails, and the socket file stays as it is
        if self._tcp and not any(held.startswith("tcp:") for held in self._open):
            for number, listener in enumerate(bind_tcp(self._tcp)):
                self._open[f"tcp:{self._tcp}#{number}"] = listener
        if not any(held.startswith("unix:") for held in self._open):
            listener = bind_unix(self._unix)
            self._open[f"unix:{identity(self._unix)}:{self._unix}"] = listener

    async def _reconcile(self, holder: Holder) -> None:
        known = await holder.ids()
        for held in sorted(known - self._open.keys()):
            if held.startswith(_KINDS):
                await holder.delete(held)
        for held, listener in self._open.items():
            if held not in known:
                await holder.store(held, listener)
        log.info(
            "listening sockets are kept by the holder", sockets=len(self._open), new=len(self._open.keys() - known)
        )


def _adopted(descriptor: int) -> socket.socket:
    """Raises OSError where it is no socket."""
    listener = socket.socket(fileno=descriptor)
    # the program that handed it on had to leave it open for its successor; children must not get it
    listener.set_inheritable(False)
    listener.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    return listener
