"""The way of one update, forward and back: stage, apply, install, check; or undo. What is on disk before what."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from daemon.ahead import Ahead, snapshot_label
from daemon.disk import Need
from daemon.errors import BadTargetError, NoSpaceError, RefreshdError, StateLoopError
from daemon.installers import Installer
from daemon.log import get_logger
from daemon.machinery import Machinery, short
from daemon.models import Plan, Preserved, Update, problem_of
from daemon.permission import Permission
from daemon.refs import Ref
from daemon.snapshots import Snapshot
from daemon.sources import EditedSinceError, Paths, Source, Staged
from daemon.sources.snapshot import SnapshotTree
from daemon.states import Event, State
from daemon.tasks import together

_EARLIER = 5  # updates; git is asked about what is not among theirs

log = get_logger()


@dataclass(frozen=True)
class Work:
    """What staging found out and the later steps need. `installed`: the fingerprint of all that has to be, by name."""

    staged: Staged
    installs: tuple[tuple[Installer, str], ...] = field(default=())
    installed: Mapping[str, str] = field(default_factory=dict)
    restart: bool = False

    def plan(self, ref: Ref, source: str, head: str | None) -> Plan:
        return Plan(
            target_ref=ref.name,
            source=source,
            from_commit=head,
            to_commit=self.staged.commit,
            ref=self.staged.ref,
            apply=not self.staged.current,
            install=tuple(installer.name for installer, _ in self.installs),
            restart=self.restart,
            changes=self.staged.changes,
            notes=self.staged.notes,
        )


class Pipeline:
    def __init__(self, machinery: Machinery) -> None:
        self._m = machinery
        self.undo_failed = asyncio.Event()

    async def stage(self, source: Source, ref: Ref) -> Work:
        """All that can be found out without touching the checkout. Raises what staging raises."""
        return await self._compare(await source.stage(ref))

    async def _compare(self, staged: Staged) -> Work:
        """Says what has to be done for it."""
        installs, installed = [], {}
        for installer in self._m.installers:
            wanted = await installer.fingerprint(staged.tree)
            if wanted is not None:
                installed[installer.name] = wanted
                if wanted != await installer.installed():
                    installs.append((installer, wanted))
        stale = staged.commit is not None and staged.commit != self._m.running_sha
        return Work(staged, tuple(installs), installed, restart=stale or not staged.current or bool(installs))

    async def forward(self, update: Update, ref: Ref, source: Source, permission: Permission | None = None) -> bool:
        """True when the machine has to restart; `permission` is asked for a commit that was here before.

        Raises with the update in the state that failed.
        """
        journal, head = self._m.journal, await self._m.head.read()
        await journal.advance(update.id, Event.BEGIN, from_commit=head)
        await self._m.disk.require()
        await source.prepare()
        ahead = Ahead(self._m, update.id, head)
        try:
            staged = await ahead.stage(source, ref)
            work, draft = await together(self._compare(staged), ahead.draft(staged))
        finally:
            await ahead.end()
        facts = {"to_commit": staged.commit, "ref": staged.ref, "notes": list(staged.notes)}
        if work.plan(ref, source.name, head).nothing_to_do:
            message = f"already at {short(staged.commit)}, nothing to do"
            await journal.advance(update.id, Event.NOTHING_TO_DO, message=message, **facts)
            log.info("update ends", outcome="unchanged", commit=staged.commit)
            return False
        await self._refuse_bad_target(update, staged.commit)
        if permission and staged.commit:
            await permission.require(staged.commit)
            draft = None
        for installer, _ in work.installs:
            await installer.stage(staged.tree)
            draft = None
        # without one the snapshot looks itself: a remote or a registry may have taken minutes, in which somebody worked
        await self._m.disk.require(Need(self._m.snapshots.folder, await self._m.snapshots.space()))
        snapshot = await self._m.snapshots.take(
            snapshot_label(update.id), update=update.id, head=head, draft=draft, coming=staged.coming
        )
        kept = await self._keep_what_has_no_name(update.id, snapshot)
        ended = await self._m.undo.prepare(
            update.id,
            snapshot,
            installed=await self._installed(),
            submodules=staged.submodules,
            coming=staged.coming,
        )
        facts["notes"] = [*staged.notes, *snapshot.notes, *kept, *ended]
        await journal.advance(
            update.id, Event.STAGED, snapshot=snapshot.commit, preserved=_preserved(snapshot), **facts
        )
        await self._mutate(update.id, work, source, snapshot)
        return True

    async def _mutate(self, update_id: str, work: Work, source: Source, before: Snapshot) -> None:
        journal = self._m.journal
        touched, notes = await self._apply(update_id, work, source, before)
        if not work.installs:
            # the new code is complete: it is imported while what changed is found out
            self._m.checker.begin()
        tree, changes = await self._m.snapshots.after(before, touched, work.staged.step)
        await journal.advance(update_id, Event.APPLIED, tree=tree, changes=changes.snake(), notes=notes)
        notes = []
        for installer, fingerprint in work.installs:
            notes += await installer.install(fingerprint, strict=source.name == "git")
        await journal.advance(update_id, Event.INSTALLED, installed=dict(work.installed), notes=notes)
        new_libraries = any(installer.for_daemon for installer, _ in work.installs)
        version, _ = await together(self._m.checker.check(new_libraries=new_libraries), self._m.flush())
        await self._m.starts.clear()
        await self._m.undo.mark_applied()
        message = f"code updated to {short(work.staged.commit)}, restarting"
        await journal.advance(update_id, Event.CHECKED, message=message)
        log.info("update restarts the daemon", commit=work.staged.commit, version=version)

    async def _apply(
        self, update_id: str, work: Work, source: Source, before: Snapshot
    ) -> tuple[Paths | None, list[str]]:
        """The names that it touched, and notes."""
        if work.staged.current:
            return frozenset(), []
        try:
            return await source.apply(work.staged, pristine=before.pristine), []
        except EditedSinceError:
            # only the times of files may be others, or HEAD elsewhere
            named = await self._keep_what_has_no_name(update_id, before)
            if not await self._m.snapshots.trees.edited(before.tree):
                return await source.apply(work.staged), named
            kept = await self._m.snapshots.take(f"edited while update {update_id} began", update=update_id)
            note = f"edits made while the update began: refreshd snapshots restore {short(kept.commit)} PATH"
            return await source.apply(work.staged), [*named, note]

    async def _keep_what_has_no_name(self, update_id: str, before: Snapshot) -> list[str]:
        """What only HEAD, which is left detached for people to commit on, or the index leads to. Returns notes."""
        # as it is now: somebody may have committed since the update began
        head = await self._m.head.read()
        if head is None:
            return []
        # where an update has brought HEAD, and what one has left: those have been asked about, or came from the source
        earlier = [one for one in await self._m.journal.history(_EARLIER) if one.id != update_id and one.snapshot]
        known = {commit for one in earlier for commit in (one.from_commit, one.to_commit)}
        notes = []
        if head not in known and (name := await self._m.keeper.keep_commit(head)):
            notes.append(_kept_commit(head, name))
        if not before.pristine and (name := await self._m.keeper.keep_staged(head, f"staged before {update_id}\n")):
            notes.append(f"what was staged is not in the files: {name} keeps it")
        return notes

    async def _refuse_bad_target(self, update: Update, commit: str | None) -> None:
        reason = await self._m.bad_targets.reason(commit)
        if reason is not None and not update.request.force and not update.request.rollback_of:
            raise BadTargetError(commit=short(commit), reason=reason)

    async def _installed(self) -> dict[str, str]:
        found = {installer.name: await installer.installed() for installer in self._m.installers}
        return {name: fingerprint for name, fingerprint in found.items() if fingerprint is not None}

    async def backward(self, update_id: str, error: RefreshdError) -> bool:
        """Ends the update as failed, rolled back or inconsistent. True when the machine has to restart."""
        # it may still be importing the code that goes now, and would leave byte code of it
        await self._m.checker.cool()
        update = await self._m.journal.get(update_id)
        problem = problem_of(error).snake()
        log.warning("update fails", state=update.state, error=str(error), detail=error.detail)
        if not update.state.touched:
            message = f"{error}; nothing was changed"
            # first, because it gives the room back that this end may need; nothing was touched
            await self._m.undo.drop(update_id)
            await self._m.journal.advance(update_id, Event.FAIL, error=problem, message=message)
            return False
        # a full disk or a record that is full is no reason to stay half-way
        with contextlib.suppress(NoSpaceError, StateLoopError, OSError):
            await self._m.journal.note(update_id, message=f"{error}; going back to {short(update.from_commit)}")
        with contextlib.suppress(NoSpaceError, OSError):
            await self._m.bad_targets.remember(update.to_commit, error)
        try:
            notes = [*await self._keep_what_came_later(update), *await self.undo(update)]
        except RefreshdError as undo_error:
            log.exception("undo fails", detail=undo_error.detail)
            message = f"{error}; and the way back failed: {undo_error}"
            why = problem_of(undo_error).snake()
            await self._m.journal.advance(update_id, Event.UNDO_FAILED, error=problem, undo_error=why, message=message)
            self.undo_failed.set()
            return False
        message = f"{error}; back at {short(update.from_commit)}"
        await self._m.journal.advance(update_id, Event.UNDONE, error=problem, message=message, notes=notes)
        await self._m.undo.drop(update_id)
        log.info("update ends", outcome="rolled_back", commit=update.from_commit)
        # when it was restarting, the process that runs now is the new code's
        return update.state in {State.RESTARTING, State.VERIFYING}

    async def _keep_what_came_later(self, update: Update) -> list[str]:
        """What somebody did since the update put its files there would go with it. Returns notes."""
        try:
            return [*await self._keep_later_commits(update), *await self._keep_later_edits(update)]
        except RefreshdError as error:
            # what cannot be kept must not keep the machine from coming back
            log.warning("what came later cannot be kept", error=str(error), detail=error.detail)
            return []

    async def _keep_later_commits(self, update: Update) -> list[str]:
        head = await self._m.head.read()
        if head is None or head in {update.from_commit, update.to_commit}:
            return []
        name = await self._m.keeper.keep_commit(head)
        return [_kept_commit(head, name)] if name else []

    async def _keep_later_edits(self, update: Update) -> list[str]:
        trees = self._m.snapshots.trees
        if update.tree is None or update.snapshot is None or not await trees.edited(update.tree):
            return []
        # what the update brought although a rule ignores it may be edited, too
        coming = await trees.differing(update.snapshot, update.tree)
        kept = await self._m.snapshots.take(f"before undoing update {update.id}", update=update.id, coming=coming)
        return [f"edits made after the files were updated: refreshd snapshots restore {short(kept.commit)} PATH"]

    async def undo(self, update: Update) -> list[str]:
        """Files, HEAD and index; then the dependencies that were there for them. Returns notes.

        Raises what `Undo.run` and the installers raise.
        """
        await self._m.undo.run()
        if update.state is State.APPLYING:
            return []
        before = await self._m.undo.installed()
        return [
            note
            for installer in self._m.installers
            for note in await self._undo_install(installer, before.get(installer.name), update)
        ]

    async def _undo_install(self, installer: Installer, before: str | None, update: Update) -> tuple[str, ...]:
        """Dependencies that we did not install ourselves, such as an image's, are put back as well as we can."""
        if before is not None:
            return () if before == await installer.installed() else await installer.install(before, strict=False)
        tree = SnapshotTree(self._m.snapshots.git(), update.snapshot) if update.snapshot else None
        wanted = await installer.fingerprint(tree) if tree else None
        if wanted is None or await installer.installed() == wanted:
            return ()
        try:
            return await installer.install(wanted, strict=False)
        except RefreshdError as error:
            log.warning("dependencies of before are not ours to put back", installer=installer.name, error=str(error))
            return (f"the dependencies that were there were not installed by refreshd, and {error}",)


def _kept_commit(commit: str, name: str) -> str:
    return f"{short(commit)} was on no branch: {name} keeps it"


def _preserved(snapshot: Snapshot) -> dict[str, object] | None:
    """Where the local edits are that the update finds."""
    edits = snapshot.edits
    if edits is None or not edits.total:
        return None
    return Preserved(snapshot=snapshot.commit, files=edits.files, total=edits.total).snake()
