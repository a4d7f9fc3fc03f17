"""Reading a log while it is written, without blocking the loop."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from daemon.logs.files import LogReader, RotatedError
from daemon.logs.lines import Cursor, Line
from daemon.tasks import uncancelled

POLL = 0.2  # seconds

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which lines: the last `lines` (None: all) of those that hold `grep`, or those behind `after`; then what follows.

    `grep` is plain text, and not looked for in the time.
    """

    lines: int | None = None
    grep: str = ""
    follow: bool = False
    after: Cursor | None = None

    def wants(self, line: Line) -> bool:
        return self.grep in line.text


async def read(folder: Path, selection: Selection) -> AsyncGenerator[list[Line], None]:
    """Lines as they are found, several at a time; without end where they are followed. Raises NotFoundError."""
    with LogReader(folder, selection.wants) as reader:
        if selection.lines is None or selection.after:
            await _in_thread(reader.start, selection.after)
        else:
            yield await _in_thread(reader.last, selection.lines)
            if not selection.follow:
                return
        while True:
            lines = await _in_thread(reader.read)
            if lines:
                yield lines
            elif lines is None and not selection.follow:
                return
            elif lines is None:
                await asyncio.sleep(POLL)


async def _in_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The reader is closed by whoever is cancelled: not before the thread has let go of it."""
    while True:
        with suppress(RotatedError):
            return await uncancelled(asyncio.to_thread(work, *args, **kwargs))
