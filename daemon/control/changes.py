"""Who wants to know that something about a machine has changed, told without a queue that could grow."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager


class Changes:
    def __init__(self) -> None:
        self._readers: set[_Reader] = set()

    def publish(self, machine: str) -> None:
        for reader in self._readers:
            reader.tell(machine)

    @contextmanager
    def subscribed(self) -> Iterator["_Reader"]:
        """What is published from now on is not missed, however slowly it is read."""
        reader = _Reader()
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)


class _Reader:
    """Changes of one machine that were not read yet are one change."""

    def __init__(self) -> None:
        self._changed: dict[str, None] = {}
        self._any = asyncio.Event()

    def tell(self, machine: str) -> None:
        self._changed[machine] = None
        self._any.set()

    async def batches(self) -> AsyncIterator[tuple[str, ...]]:
        """The machines that have changed since the last batch, in the order in which they first did."""
        while True:
            await self._any.wait()
            self._any.clear()
            changed, self._changed = tuple(self._changed), {}
            yield changed
