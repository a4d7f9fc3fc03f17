"""How often the daemon was started without having become stable since: the guard counts, the daemon clears."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

from daemon.errors import NoSpaceError
from daemon.files import write_atomically
from daemon.log import get_logger

STABLE_AFTER = 10.0  # seconds of readiness; a death before that counts as a failed start

P = ParamSpec("P")

log = get_logger()


class Starts:
    """The count in one small file, which the guard (a shell program) writes at each start.

    Beside it, the update after which the daemon was stable: what dies later is not that update's fault.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "starts"
        self._stable = folder / "stable"

    async def count(self) -> int:
        return await asyncio.to_thread(self._count)

    async def clear(self) -> None:
        """For an end that was meant: the next start is the first one again."""
        await asyncio.to_thread(self._noted, self._clear)

    async def stable_after(self, update_id: str | None) -> None:
        """The daemon was ready for long enough; `update_id` is the update that it came from."""
        await asyncio.to_thread(self._noted, write_atomically, self._stable, (update_id or "").encode())
        await self.clear()

    async def was_stable_after(self, update_id: str) -> bool:
        return await asyncio.to_thread(self._content, self._stable) == update_id

    def _content(self, path: Path) -> str:
        try:
            return path.read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def _count(self) -> int:
        text = self._content(self._path)
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0  # noqa: PLR2004 - sane

    def _noted(self, write: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """What cannot be written down must not end a daemon that is well."""
        try:
            write(*args, **kwargs)
        except (OSError, NoSpaceError) as error:
            log.warning("count of starts cannot be kept", error=str(error))

    def _clear(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
