"""A file of the checkout that a tool may rewrite and that is put back afterwards.

What the source put there stays there: the next refresh compares the checkout with what it wants.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from daemon.files import write_atomically


@contextlib.asynccontextmanager
async def kept(path: Path) -> AsyncIterator[None]:
    """Afterwards the content is as before, and a file that was not there is gone. Raises NoSpaceError."""
    before = await asyncio.to_thread(content_of, path)
    try:
        yield
    finally:
        await asyncio.to_thread(_put_back, path, before)


def content_of(path: Path) -> bytes | None:
    """None where there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _put_back(path: Path, before: bytes | None) -> None:
    if before is None:
        path.unlink(missing_ok=True)
    elif content_of(path) != before:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        write_atomically(path, before, mode=mode)
