"""Clients that ask without a pause and forgive nothing: whatever is not a whole answer with status 200 is a loss."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

GIVE_UP = 30.0  # seconds for one answer
_HEAD_END = b"\r\n\r\n"


@dataclass
class Tally:
    """`seconds`: how long each answered request took, connecting included. `lost`: what became of the others."""

    seconds: list[float] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        return self.lost.total()

    @property
    def slowest(self) -> float:
        return max(self.seconds, default=0.0)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to ask: a port of loopback, or a Unix socket."""

    path: str
    port: int = 0
    socket: Path | None = None
    headers: str = ""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.socket:
            return await asyncio.open_unix_connection(str(self.socket))
        return await asyncio.open_connection("127.0.0.1", self.port)

    def request(self, *, keep_alive: bool) -> bytes:
        connection = "" if keep_alive else "Connection: close\r\n"
        return f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\n{self.headers}{connection}\r\n".encode()


@contextlib.asynccontextmanager
async def load(target: Target, *, clients: int, keep_alive: bool, pause: float = 0.01) -> AsyncIterator[Tally]:
    """Asks while the body runs; each client waits for `pause` seconds between two requests.

    On the way out every request that was begun is waited for, so none is left uncounted.
    """
    tally, over = Tally(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(_Client(target, tally, keep_alive=keep_alive).ask(over, pause))
        try:
            yield tally
        finally:
            over.set()


class _Client:
    def __init__(self, target: Target, tally: Tally, *, keep_alive: bool) -> None:
        self._target = target
        self._tally = tally
        self._keep_alive = keep_alive
        self._request = target.request(keep_alive=keep_alive)
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, over: asyncio.Event, pause: float) -> None:
        while not over.is_set():
            began = time.monotonic()
            try:
                async with asyncio.timeout(GIVE_UP):
                    await self._once()
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                self._tally.lost[f"{type(error).__name__}: {error}"] += 1
                self._close()
            else:
                self._tally.seconds.append(time.monotonic() - began)
            await asyncio.sleep(pause)
        self._close()

    async def _once(self) -> None:
        """As a browser does it: an idle connection that is seen to be closed is not used again."""
        if self._connection and self._connection[0].at_eof():
            self._close()
        if self._connection is None:
            self._connection = await self._target.connect()
        reader, writer = self._connection
        writer.write(self._request)
        head = (await reader.readuntil(_HEAD_END)).decode("latin-1").lower()
        status = head.split(" ", 2)[1]
        await reader.readexactly(int(head.partition("content-length:")[2].split("\r\n", 1)[0]))
        if status != "200":
            raise ValueError(f"status {status}")
        if not self._keep_alive or "connection: close" in head:
            self._close()

    def _close(self) -> None:
        if self._connection:
            self._connection[1].close()
            self._connection = None
