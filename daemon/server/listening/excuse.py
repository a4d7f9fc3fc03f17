"""An answer for those who wait while there is no daemon: 503, try again later."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence

from daemon.log import get_logger
from daemon.server.listening.binding import stop_accepting
from daemon.tasks import ended

RETRY_AFTER = 5  # seconds
_PATIENCE = 5.0  # seconds for one client
_LAST_ANSWERS = 1.0  # seconds for all of them in the end
_LONGEST_HEAD = 64 * 1024  # bytes

_BODY = json.dumps(
    {
        "type": "urn:refreshd:error:recovering",
        "title": "recovering",
        "status": 503,
        "detail": f"cannot answer while code is put back; try again in {RETRY_AFTER} s",
        "code": "recovering",
    }
).encode()
_ANSWER = (
    "HTTP/1.1 503 Service Unavailable\r\n"
    "Content-Type: application/problem+json\r\n"
    f"Content-Length: {len(_BODY)}\r\n"
    f"Retry-After: {RETRY_AFTER}\r\n"
    "Connection: close\r\n\r\n"
).encode() + _BODY

log = get_logger()


@contextlib.asynccontextmanager
async def excused_after(seconds: float, adopt: Callable[[], Sequence[socket.socket]]) -> AsyncIterator[None]:
    """While the body runs: for `seconds` clients wait in the kernel's queue, later ones are told to come again.

    What `adopt` returns is closed in the end; the daemon that comes next has its own from the holder.
    """
    excusing = asyncio.create_task(_Excuse().give(seconds, adopt))
    try:
        yield
    finally:
        await ended(excusing)


class _Excuse:
    def __init__(self) -> None:
        self._answering: set[asyncio.Task[None]] = set()

    async def give(self, seconds: float, adopt: Callable[[], Sequence[socket.socket]]) -> None:
        """Until cancelled; whoever was accepted by then is still answered."""
        await asyncio.sleep(seconds)
        listeners = await asyncio.to_thread(adopt)
        log.warning("clients are told to try again later", listeners=len(listeners))
        try:
            with contextlib.ExitStack() as stack:
                for listener in listeners:
                    server = await asyncio.start_server(self._accept, sock=listener, limit=_LONGEST_HEAD)
                    stack.callback(server.close)
                try:
                    await asyncio.Event().wait()
                finally:
                    await stop_accepting(listeners)
        finally:
            if self._answering:
                await asyncio.wait(self._answering, timeout=_LAST_ANSWERS)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_answer(reader, writer))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_PATIENCE):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_ANSWER)
            writer.write_eof()
            # closing with something unread would take the answer back
            while await reader.read(_LONGEST_HEAD):
                pass
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        log.debug("client left before it was told to try again later")
    finally:
        writer.close()
