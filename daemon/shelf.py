"""Snapshots for people: look at them, compare them, and take files back out of them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from pydantic import SecretStr

from daemon.engine import Engine
from daemon.errors import (
    BadRequestError,
    BusyError,
    CommandFailedError,
    NotFoundError,
    RefreshdError,
    RestartingError,
    RestoreNotAllowedError,
    WayBackNotAllowedError,
)
from daemon.journal import Journal
from daemon.log import get_logger
from daemon.machinery import Heads, short
from daemon.models import Changes, KeptSnapshot, Restored, SnapshotDiff, SnapshotPage, SnapshotReport
from daemon.permission import Permission
from daemon.snapshots import Snapshots, broken
from daemon.snapshots.kept import Kept
from daemon.snapshots.paths import selected
from daemon.states import State

UPKEEP_EVERY = 600.0  # seconds; updates that fail leave snapshots without a restart
NOW = "now"  # in place of an id: the checkout as it is

log = get_logger()


class Shelf:
    def __init__(
        self, *, snapshots: Snapshots, kept: Kept, engine: Engine, journal: Journal, head: Heads, permission: Permission
    ) -> None:
        self._snapshots = snapshots
        self._kept = kept
        self._engine = engine
        self._journal = journal
        self._head = head
        self._permission = permission

    async def page(self, limit: int, cursor: str | None = None) -> SnapshotPage:
        """The newest first, from after the one that the cursor names. Raises BadRequestError."""
        kept = await self._kept.all()
        ids = [snapshot.id for snapshot in kept]
        if cursor is not None and cursor not in ids:
            raise BadRequestError(reason="the cursor names no snapshot that is kept; begin again without one")
        start = ids.index(cursor) + 1 if cursor is not None else 0
        some = kept[start : start + limit]
        more = start + limit < len(kept)
        return SnapshotPage(snapshots=some, next_cursor=some[-1].id if more else None)

    async def show(self, snapshot_id: str) -> SnapshotReport:
        """Raises NotFoundError, BadRequestError."""
        kept = await self._kept.find(snapshot_id)
        return SnapshotReport(**dict(kept), edits=await self._edits(kept))

    async def diff(self, a: str, b: str) -> SnapshotDiff:
        """Raises NotFoundError, BadRequestError; for `now`, what `Engine.idle` raises."""
        first = (await self._kept.find(a)).id
        if b != NOW:
            second = (await self._kept.find(b)).id
            return SnapshotDiff(a=first, b=second, changes=await self._snapshots.trees.changes(first, second))
        async with self._engine.idle("look at the checkout"):
            return SnapshotDiff(a=first, b=NOW, changes=await self._until_now(first))

    async def restore(
        self, snapshot_id: str, paths: Sequence[str] | None, git_token: SecretStr | None = None
    ) -> Restored:
        """Makes files what they were; without paths all of them, and then those go that were not there.

        HEAD, the index and what git ignores stay. What is replaced is in a snapshot of its own before it is touched.
        `git_token` is for the remote that may have to vouch for the commit of then.
        Raises NotFoundError, BadRequestError and RestoreNotAllowedError with nothing touched, and what
        `Engine.idle` and `Permission.require` raise.
        """
        permission = self._permission.with_token(git_token)
        async with self._engine.idle("restore a snapshot"):
            kept = await self._kept.find(snapshot_id)
            names = None if paths is None else selected(await self._snapshots.trees.names(kept.id), paths)
            head = await self._head.read()
            if kept.head not in {None, head}:
                await self._require_allowed(permission, kept, names)
            coming = names or await self._snapshots.trees.names(kept.id)
            before = await self._snapshots.take(f"before restoring {short(kept.id)}", head=head, coming=coming)
            tree = await self._snapshots.trees.of(kept.id)
            if tree is None:  # taking one may have found out that the repository is damaged
                raise NotFoundError(what=f"snapshot {snapshot_id!r}")
            await (self._snapshots.restore(tree) if names is None else self._snapshots.trees.restore_files(tree, names))
            changes = await self._until_now(before.tree)
        log.info("files restored from a snapshot", snapshot=kept.id, before=before.commit, files=changes.total)
        return Restored(id=kept.id, before=before.commit, changes=changes)

    async def _require_allowed(self, permission: Permission, kept: KeptSnapshot, names: Sequence[bytes] | None) -> None:
        """Edits of then may always be taken out; everything else is the commit's, and may have to stay away."""
        if names is not None and set(names) <= await self._edited(kept):
            return
        try:
            await permission.require(kept.head or "")
        except WayBackNotAllowedError as error:
            raise RestoreNotAllowedError(ref=error.ref, reason=error.reason, detail=error.detail) from error

    async def _edited(self, kept: KeptSnapshot) -> frozenset[bytes]:
        try:
            return await self._snapshots.trees.edited_since(kept.head or "", kept.id)
        except CommandFailedError:  # as below
            return frozenset()

    async def upkeep(self) -> None:
        """Until it is cancelled: examines the repository once, and again and again removes what is over the bounds."""
        await self._undisturbed(self.examine)
        while True:
            await self._undisturbed(self.prune)
            await asyncio.sleep(UPKEEP_EVERY)

    async def _undisturbed(self, work: Callable[[], Awaitable[None]]) -> None:
        """What fails here holds up no update; the next round tries again."""
        try:
            await work()
        except (BusyError, RestartingError):
            log.debug("upkeep of the snapshots gives way")
        except (RefreshdError, OSError) as error:
            log.warning("upkeep of the snapshots fails", error=str(error), detail=getattr(error, "detail", ""))
        except Exception:  # a defect here must not go unseen until the daemon leaves
            log.exception("upkeep of the snapshots met a defect")

    async def prune(self) -> None:
        """Removes what is over the bounds. Raises CommandFailedError, and what `Engine.idle` raises."""
        async with self._engine.idle("remove old snapshots"):
            removed = await self._kept.prune(protected=await self._needed())
        if removed:
            log.info("old snapshots removed", count=removed)

    async def examine(self) -> None:
        """Reads all of the repository; one that is damaged is put aside now, and not when it is needed.

        The reading holds nobody up: an update may begin meanwhile, so a bad verdict is read again under the lock.
        Raises what `Engine.idle` raises.
        """
        if not await self._kept.damage():
            return
        async with self._engine.idle("look at a damaged snapshot"):
            if damage := await self._kept.damage():
                aside = await asyncio.to_thread(broken.put_aside, self._snapshots.folder)
                log.error("snapshot repository is damaged, a new one is begun", aside=str(aside), detail=damage)

    async def _edits(self, kept: KeptSnapshot) -> Changes | None:
        if kept.head is None:
            return None
        try:
            return await self._snapshots.trees.changed_since(kept.head, kept.id)
        except CommandFailedError:  # the commit of then is not in the checkout any more
            return None

    async def _until_now(self, before: str) -> Changes:
        return await self._snapshots.trees.changes(before, await self._snapshots.tree())

    async def _needed(self) -> set[str]:
        """What the last update goes back to, however it ended, and each that has not ended or may yet be undone."""
        history = await self._journal.history()
        needed = [
            *history[:1],
            *(update for update in history if not update.state.final or update.state is State.INCONSISTENT),
        ]
        return {update.snapshot for update in needed if update.snapshot}
