"""Work that must reach its end whatever happens to the one who waits for it."""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def uncancelled(work: Awaitable[T]) -> T:
    """Awaits to the end whatever happens to the caller; a cancellation meanwhile is passed on afterwards."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):  # impatience: the first one is passed on below
                await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # the caller is gone: nobody else will ask for it
        raise
