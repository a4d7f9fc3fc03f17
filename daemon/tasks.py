"""Work that must reach its end whatever happens to the one who waits for it, and work that ends together."""

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar, overload

from daemon.errors import RefreshdError

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


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


async def ended(*tasks: "asyncio.Future[Any]", expected: type[Exception] = RefreshdError) -> None:
    """Cancels them and returns when they have ended. The caller's own cancellation is not lost.

    What they raise is of no use any more. A defect among it, neither `expected` nor the system's, is reported to the
    loop.
    """
    for task in tasks:
        task.cancel()
    try:
        if tasks:
            await uncancelled(asyncio.wait(tasks))
    finally:
        for task in tasks:
            error = None if task.cancelled() else task.exception()
            if error and not isinstance(error, (expected, OSError)):
                report = {"message": "work that was ended met a defect", "exception": error, "future": task}
                asyncio.get_running_loop().call_exception_handler(report)


@overload
async def together(first: Coroutine[Any, Any, A], second: Coroutine[Any, Any, B], /) -> tuple[A, B]: ...
@overload
async def together(
    first: Coroutine[Any, Any, A], second: Coroutine[Any, Any, B], third: Coroutine[Any, Any, C], /
) -> tuple[A, B, C]: ...
async def together(*work: Coroutine[Any, Any, Any]) -> tuple[Any, ...]:
    """Side by side; when one fails the others are ended, and nothing of them runs when it raises."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return tuple(await asyncio.gather(*tasks))
    except BaseException:
        await ended(*tasks)
        raise
