"""The machine's s6-fdholder service: it keeps listening sockets while no daemon runs.

What it keeps is handed on by s6-fdholder-getdump, which the run program execs through: S6_FD_n names a descriptor,
S6_FDID_n what it is. The other direction goes through s6's programs as well; its protocol is not documented.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path

_TIMEOUT = 5.0  # seconds


def handed_on(environ: Mapping[str, str]) -> dict[str, int]:
    """The descriptors that the holder gave to this process, by their ids."""
    ids = {name.removeprefix("S6_FDID_"): value for name, value in environ.items() if name.startswith("S6_FDID_")}
    found = {held: environ.get(f"S6_FD_{number}", "") for number, held in ids.items()}
    return {held: int(fd) for held, fd in found.items() if fd.isascii() and fd.isdigit()}


class Holder:
    """Raises CommandFailedError, CommandTimeoutError, ToolMissingError where it does not do what it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def ids(self) -> set[str]:
        return set((await self._run("list")).splitlines())

    async def store(self, held: str, listener: socket.socket) -> None:
        await self._run("store", "-d", str(listener.fileno()), arguments=[held], pass_fds=[listener.fileno()])

    async def delete(self, held: str) -> None:
        await self._run("delete", arguments=[held])

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[asyncio.StreamReader]:
        """A connection on which nothing is said, so that it costs no wake-up: it ends when the holder does.

        Raises OSError where there is none.
        """
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        try:
            yield reader
        finally:
            writer.close()

    async def _run(
        self, verb: str, *options: str, arguments: Collection[str] = (), pass_fds: Collection[int] = ()
    ) -> str:
        from daemon.process import Command, run  # noqa: PLC0415 - not needed for the first answer

        argv = [f"s6-fdholder-{verb}", *options, "-t", str(int(_TIMEOUT * 1000)), str(self.path), *arguments]
        command = Command(argv=argv, cwd=Path("/"), timeout=_TIMEOUT + 1, pass_fds=list(pass_fds))
        return (await run(command)).text
