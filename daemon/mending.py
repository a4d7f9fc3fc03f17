"""An update that could not be undone for want of room is undone after all, as soon as there is some."""

import asyncio

from structlog.contextvars import bound_contextvars

from daemon.disk import FLOOR
from daemon.errors import NoSpaceError, NotFoundError, RefreshdError
from daemon.log import get_logger
from daemon.machinery import Machinery, short
from daemon.models import Update
from daemon.pipeline import Pipeline
from daemon.states import Event, State

LOOK_EVERY = 60.0  # seconds, while there is something to mend, and at no other time

log = get_logger()


class Mending:
    """Of one process. An attempt that fails for want of room is repeated when there is more; any other is the last."""

    def __init__(self, machinery: Machinery, pipeline: Pipeline) -> None:
        self._m = machinery
        self._pipeline = pipeline
        self._enough = 0

    async def later(self) -> None:
        """Returns with the machine's lock held when the code on disk was put back: the process has to restart."""
        while True:
            await self._pipeline.undo_failed.wait()
            await asyncio.sleep(LOOK_EVERY)
            if not await asyncio.to_thread(self._m.lock.acquire):
                continue  # somebody updates the machine, which mends it too
            if await self.now():
                return
            self._m.lock.release()

    async def now(self) -> bool:
        """For the holder of the machine's lock. True when the code on disk was put back."""
        try:
            return await self._now()
        except (RefreshdError, OSError) as error:
            log.warning("undo fails again", error=str(error), detail=getattr(error, "detail", ""))
            if not isinstance(error, NoSpaceError):
                self._pipeline.undo_failed.clear()
            return False

    async def _now(self) -> bool:
        update = await self._unmended()
        if update is None:
            self._pipeline.undo_failed.clear()
            return False
        self._pipeline.undo_failed.set()
        spare = await self._m.disk.spare()
        if spare < max(self._enough, await self._m.snapshots.space()):
            return False
        self._enough = spare + FLOOR
        with bound_contextvars(update_id=update.id):
            await self._mend(update)
        return True

    async def _unmended(self) -> Update | None:
        update_id = await self._m.undo.belongs_to()
        try:
            update = await self._m.journal.get(update_id) if update_id else None
        except NotFoundError:
            return None
        if update is None or update.state is not State.INCONSISTENT:
            return None
        return update if update.undo_error and update.undo_error.code == NoSpaceError.code else None

    async def _mend(self, update: Update) -> None:
        log.info("undo is tried again: there is room now")
        # what somebody did to the files meanwhile
        kept = await self._m.snapshots.take(f"before undoing update {update.id} after all", update=update.id)
        notes = await self._pipeline.undo(update)
        notes.append(f"what was there until then: refreshd snapshots restore {short(kept.commit)} PATH")
        cause = f"{update.error.message}; " if update.error else ""
        message = f"{cause}back at {short(update.from_commit)} after all"
        await self._m.journal.advance(update.id, Event.UNDONE, message=message, notes=notes)
        await self._m.undo.drop(update.id)
        log.info("update ends", outcome="rolled_back", commit=update.from_commit)
