"""After a start: end what the last process left, and believe an update only when this process is what it intended."""

import asyncio
from collections.abc import Awaitable, Callable

from structlog.contextvars import bound_contextvars

from daemon.errors import CrashLoopError, InterruptedUpdateError, RefreshdError
from daemon.log import get_logger
from daemon.machinery import Machinery, short
from daemon.mending import Mending
from daemon.models import Update
from daemon.pipeline import Pipeline
from daemon.process import end_orphans
from daemon.states import Event, State
from daemon.verify import compare

log = get_logger()

MOST_STARTS = 5  # of one update; the guard gives up earlier, where there is one
_STARTING = frozenset({State.RESTARTING, State.VERIFYING})


class Recovery:
    def __init__(self, machinery: Machinery, pipeline: Pipeline) -> None:
        self._m = machinery
        self._pipeline = pipeline
        self._mending = Mending(machinery, pipeline)
        self._verifying: str | None = None

    async def recover(self, *, give_up: bool = False) -> bool:
        """Ends whatever the last processes left. True when the code on disk changed: restart before serving.

        An update that was restarting is left to `verify`, unless `give_up`: then it is undone like any other.
        """
        update = await self._m.journal.latest()
        if update is None or update.state.final:
            return update is not None and await self._tidy_up(update)
        if not await asyncio.to_thread(self._m.lock.acquire):
            log.warning("another process is updating this machine", update_id=update.id)
            return False
        with bound_contextvars(update_id=update.id):
            log.info("last process left an update", state=update.state)
            starts = await self._m.journal.count(update.id, Event.STARTED)
            if update.state in _STARTING and starts < MOST_STARTS and not give_up:
                await self._m.journal.advance(update.id, Event.STARTED)
                self._verifying = update.id
                return False
            await end_orphans()
            for installer in self._m.installers:
                await installer.tidy()
            await self._pipeline.backward(update.id, await self._reason(update, starts))
            self._m.lock.release()
            return update.state.touched

    async def _tidy_up(self, last: Update) -> bool:
        if not await asyncio.to_thread(self._m.lock.acquire):
            return False
        try:
            # its record was ended and its way back not yet dropped; one that failed is still needed
            if last.state is not State.INCONSISTENT:
                await self._m.undo.drop(last.id)
            return await self._mending.now()
        finally:
            self._m.lock.release()

    async def mended(self) -> None:
        """As `Mending.later`."""
        await self._mending.later()

    async def stuck(self) -> bool:
        """Whether the code on disk is what an update left that could not be undone."""
        update = await self._m.journal.latest()
        inconsistent = update is not None and update.state is State.INCONSISTENT
        return inconsistent or await self._m.undo.pending()

    async def _reason(self, update: Update, starts: int) -> RefreshdError:
        if update.state in _STARTING:
            return CrashLoopError(starts=max(starts, await self._m.starts.count()))
        return InterruptedUpdateError(state=update.state)

    async def verify(self, probe: Callable[[], Awaitable[None]]) -> bool:
        """Compares the intention with what is, once this process serves; `probe` asks it as a client would.

        Declares the update succeeded, or undoes it. True when the machine has to restart.
        """
        if self._verifying is None:
            await probe()
            return False
        update = await self._m.journal.get(self._verifying)
        with bound_contextvars(update_id=update.id):
            try:
                notes = await compare(self._m, update)
                await probe()
            except RefreshdError as error:
                return await self._pipeline.backward(update.id, error)
            else:
                await self._succeed(update, notes)
                return False
            finally:
                self._m.lock.release()

    async def _succeed(self, update: Update, notes: list[str]) -> None:
        message = f"updated from {short(update.from_commit)} to {short(update.to_commit)}"
        await self._m.journal.advance(update.id, Event.VERIFIED, message=message, notes=notes)
        await self._m.bad_targets.forget(update.to_commit)
        await self._m.undo.drop(update.id)
        log.info("update ends", outcome="succeeded", commit=update.to_commit)
