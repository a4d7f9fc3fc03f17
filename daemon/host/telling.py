"""How far an update is, in a file beside its result."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from daemon.client import Watcher
from daemon.command_file import contract
from daemon.log import get_logger
from daemon.models import Entry, Update, now
from daemon.tasks import ended, uncancelled

log = get_logger()


class Telling(Watcher):
    """Only the newest state is of interest: states that follow each other faster than the disk are left out."""

    def __init__(self, request_id: contract.RequestId, write: Callable[[contract.Progress], None]) -> None:
        self._request_id = request_id
        self._write = write
        self._started_at = now()
        self._update_id = ""
        self._message = ""
        self._state = "requested"
        self._news = asyncio.Event()

    def accepted(self, update: Update) -> None:
        self._update_id = update.id
        self._news.set()

    def entry(self, entry: Entry) -> None:
        self._state, self._message = entry.state, ""
        self._news.set()

    def away(self, reason: str) -> None:
        self._message = f"waiting for the machine: {reason}"
        self._news.set()

    @asynccontextmanager
    async def kept_up(self) -> AsyncIterator[None]:
        writing = asyncio.create_task(self._write_news())
        try:
            yield
        finally:
            await ended(writing)

    async def _write_news(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await uncancelled(asyncio.to_thread(self._write, self._progress()))
            except OSError as error:
                # the update is what counts; whether the result can be written is another moment's question
                log.warning("progress could not be written", reason=str(error))

    def _progress(self) -> contract.Progress:
        return contract.Progress(
            request_id=self._request_id,
            state=self._state,
            message=self._message or self._state.replace("_", " "),
            update_id=self._update_id,
            started_at=self._started_at,
            at=now(),
        )
