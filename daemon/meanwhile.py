"""Work for the time in which something else is waited for."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from daemon.tasks import ended

T = TypeVar("T")


class Meanwhile(Generic[T]):
    """Begun once, by whoever comes to wait, and perhaps never."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self._disowned = False

    def begin(self) -> None:
        """Returns at once; later calls do nothing."""
        self._task = self._task or asyncio.create_task(self._work())

    @property
    def begun(self) -> bool:
        return self._task is not None

    def disown(self) -> None:
        """Its result is of no use any more, whatever it will be."""
        self._disowned = True

    async def result(self) -> T | None:
        """Waits for its end; None if it was not begun, or disowned. Raises what it raises."""
        if self._task is None:
            return None
        if self._disowned:
            await self.end()
            return None
        return await self._task

    async def end(self) -> None:
        """Nothing of it runs any more when this returns."""
        if self._task:
            await ended(self._task)
