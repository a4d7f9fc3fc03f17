"""Decides, records, and does one update at a time: stage, apply, install, check, restart, verify, or undo.

The engine owns the order of things and what is on disk before what; sources and installers know how.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from structlog.contextvars import bound_contextvars

from daemon.check import Checker
from daemon.errors import (
    InternalError,
    InterruptedUpdateError,
    NotFoundError,
    RefreshdError,
    RestartingError,
    UnsupportedError,
    UpdateRunningError,
    VerifyError,
)
from daemon.installers import Installer
from daemon.journal import Journal
from daemon.lock import MachineLock
from daemon.log import get_logger
from daemon.models import Plan, Preserved, Problem, Update, UpdateRequest
from daemon.refs import Ref, RefKind
from daemon.snapshots import Snapshot, Snapshots
from daemon.sources import Source, Staged
from daemon.states import Event, State
from daemon.undo import Undo

log = get_logger()


class Heads(Protocol):
    """What `version.Head` offers: the commit on disk."""

    async def read(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True)
class Machinery:
    """The engine's collaborators, all of them replaceable by small worlds in tests."""

    journal: Journal
    lock: MachineLock
    source: Source | None
    installers: Sequence[Installer]
    snapshots: Snapshots
    undo: Undo
    checker: Checker
    head: Heads
    running_sha: str | None
    restart: Callable[[], None]
    unsupported: str = "this environment has no source"


@dataclass(frozen=True)
class _Work:
    """What staging found out and the later steps need."""

    staged: Staged
    installs: tuple[tuple[Installer, str], ...] = field(default=())
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


class Engine:
    def __init__(self, machinery: Machinery) -> None:
        self._m = machinery
        self._admission = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        self._running_id: str | None = None
        self._restarting = False

    # Requests

    async def submit(self, request: UpdateRequest, ref: Ref) -> Update:
        """Accepts an update and returns its record at once, or the record of the one that it joins.

        Raises UpdateRunningError, RestartingError, UnsupportedError.
        """
        async with self._admission:
            if joined := await self._joined(request, ref):
                return joined
            source = self._source()
            self._refuse_while_busy()
            if not await asyncio.to_thread(self._m.lock.acquire):
                raise await self._conflict(ref)
            try:
                update = await self._m.journal.create({"request": request.snake(), "source": source.name})
            except BaseException:
                self._m.lock.release()
                raise
            self._running_id = update.id
            self._running = asyncio.create_task(self._run(update, ref, source), name=f"update {update.id}")
            return update

    async def plan(self, ref: Ref) -> Plan:
        """What `submit` would do: fetches, and touches nothing in the checkout. Raises what staging raises."""
        async with self._admission:
            source = self._source()
            self._refuse_while_busy()
            if self._running and not self._running.done():
                raise await self._conflict(ref)
            if not await asyncio.to_thread(self._m.lock.acquire):
                raise await self._conflict(ref)
            try:
                await source.prepare()
                work = await self._stage(source, ref)
                return work.plan(ref, source.name, await self._m.head.read())
            finally:
                self._m.lock.release()

    async def wait(self, update_id: str) -> Update:
        """Returns the record when the update has ended or the machine is about to restart. Raises NotFoundError."""
        async for _ in self._m.journal.follow(update_id):
            update = await self._m.journal.get(update_id)
            if update.state.final or update.state is State.RESTARTING:
                return update
        return await self._m.journal.get(update_id)

    async def _joined(self, request: UpdateRequest, ref: Ref) -> Update | None:
        """The same key is the same request, however often it comes; the same target joins while it runs."""
        if request.idempotency_key is not None:
            for update in await self._m.journal.history():
                if update.request.idempotency_key == request.idempotency_key:
                    return update
        if self._running_id is None or self._running is None or self._running.done():
            return None
        running = await self._m.journal.get(self._running_id)
        same_commit = ref.kind is RefKind.COMMIT and running.to_commit == ref.name
        if running.request.target_ref == request.target_ref or same_commit:
            return running
        raise await self._conflict(ref)

    def _source(self) -> Source:
        if self._m.source is None:
            raise UnsupportedError(reason=self._m.unsupported)
        return self._m.source

    def _refuse_while_busy(self) -> None:
        if self._restarting:
            raise RestartingError

    async def _conflict(self, ref: Ref) -> UpdateRunningError:
        running = await self._m.journal.latest()
        if running is None:
            return UpdateRunningError(ref=ref.name, running="?", running_ref="?", state="starting")
        return UpdateRunningError(
            ref=ref.name, running=running.id, running_ref=running.request.target_ref, state=running.state
        )

    # The way of an update

    async def _run(self, update: Update, ref: Ref, source: Source) -> None:
        with bound_contextvars(update_id=update.id):
            log.info("update begins", target=ref.name, source=source.name, trigger=update.request.trigger)
            try:
                restart = await self._forward(update.id, ref, source)
            except asyncio.CancelledError:
                await self._backward(update.id, InterruptedUpdateError(state="being stopped"))
                raise
            except RefreshdError as error:
                restart = await self._backward(update.id, error)
            except Exception:  # a defect of ours must not leave the machine half-way
                log.exception("update met a defect")
                restart = await self._backward(update.id, InternalError())
            finally:
                await self._m.checker.cool()
            if restart:
                self._restarting = True
                self._m.restart()
            else:
                self._m.lock.release()

    async def _forward(self, update_id: str, ref: Ref, source: Source) -> bool:
        """True when the machine has to restart."""
        journal, head = self._m.journal, await self._m.head.read()
        await journal.advance(update_id, Event.BEGIN, from_commit=head)
        await source.prepare()
        if ref.name != head:
            self._m.checker.warm()
        work = await self._stage(source, ref)
        staged = work.staged
        facts = {"to_commit": staged.commit, "ref": staged.ref, "notes": list(staged.notes)}
        if work.plan(ref, source.name, head).nothing_to_do:
            message = f"already at {_short(staged.commit)}, nothing to do"
            await journal.advance(update_id, Event.NOTHING_TO_DO, message=message, **facts)
            log.info("update ends", outcome="unchanged", commit=staged.commit)
            return False
        for installer, _ in work.installs:
            await installer.stage(staged.tree)
        snapshot = await self._m.snapshots.take(f"before update {update_id}")
        preserved = await self._preserved(snapshot, head)
        await self._m.undo.prepare(update_id, snapshot, installed=await self._installed())
        await journal.advance(update_id, Event.STAGED, preserved=preserved, **facts)
        await self._mutate(update_id, work, source, snapshot)
        return True

    async def _mutate(self, update_id: str, work: _Work, source: Source, before: Snapshot) -> None:
        journal = self._m.journal
        if not work.staged.current:
            await source.apply(work.staged)
        changes = await self._m.snapshots.changes(before.tree, await self._m.snapshots.tree())
        await journal.advance(update_id, Event.APPLIED, changes=changes.snake())
        strict = source.name == "git"
        notes = [
            n for installer, fingerprint in work.installs for n in await installer.install(fingerprint, strict=strict)
        ]
        await journal.advance(update_id, Event.INSTALLED, notes=notes)
        version = await self._m.checker.check(new_libraries=any(i.name == "uv" for i, _ in work.installs))
        message = f"code updated to {_short(work.staged.commit)}, restarting"
        await journal.advance(update_id, Event.CHECKED, message=message)
        log.info("update restarts the daemon", commit=work.staged.commit, version=version)

    async def _stage(self, source: Source, ref: Ref) -> _Work:
        staged = await source.stage(ref)
        installs = []
        for installer in self._m.installers:
            wanted = await installer.fingerprint(staged.tree)
            if wanted is not None and wanted != await installer.installed():
                installs.append((installer, wanted))
        stale = staged.commit is not None and staged.commit != self._m.running_sha
        return _Work(staged, tuple(installs), restart=stale or not staged.current or bool(installs))

    async def _installed(self) -> dict[str, str]:
        found = {installer.name: await installer.installed() for installer in self._m.installers}
        return {name: fingerprint for name, fingerprint in found.items() if fingerprint is not None}

    async def _preserved(self, snapshot: Snapshot, head: str | None) -> dict[str, object] | None:
        """Where the local edits are that this update finds."""
        if head is None:
            return None
        edits = await self._m.snapshots.changed_since(head, snapshot.tree)
        if not edits.total:
            return None
        return Preserved(snapshot=snapshot.commit, files=edits.files, total=edits.total).snake()

    # The way back

    async def _backward(self, update_id: str, error: RefreshdError) -> bool:
        """Ends the update as failed, rolled back or inconsistent. True when the machine has to restart."""
        update = await self._m.journal.get(update_id)
        problem = Problem(code=error.code, message=str(error), detail=error.detail).snake()
        log.warning("update fails", state=update.state, error=str(error), detail=error.detail)
        if not update.state.touched:
            message = f"{error}; nothing was changed"
            await self._m.journal.advance(update_id, Event.FAIL, error=problem, message=message)
            return False
        # when it was restarting, the process that runs now is the new code's
        restart = update.state in {State.RESTARTING, State.VERIFYING}
        try:
            await self._undo()
        except RefreshdError as undo_error:
            log.exception("undo fails", detail=undo_error.detail)
            message = f"{error}; and the way back failed: {undo_error}"
            await self._m.journal.advance(update_id, Event.UNDO_FAILED, error=problem, message=message)
            return False
        message = f"{error}; back at {_short(update.from_commit)}"
        await self._m.journal.advance(update_id, Event.UNDONE, error=problem, message=message)
        await self._m.undo.drop()
        log.info("update ends", outcome="rolled_back", commit=update.from_commit)
        return restart

    async def _undo(self) -> None:
        """Files, HEAD and index; then the dependencies that were installed for them."""
        await self._m.undo.run()
        before = await self._m.undo.installed()
        for installer in self._m.installers:
            fingerprint = before.get(installer.name)
            if fingerprint is not None and fingerprint != await installer.installed():
                await installer.install(fingerprint, strict=False)

    # After a start

    async def recover(self) -> bool:
        """Ends whatever the last process left. True when the code on disk changed: restart before serving."""
        update = await self._m.journal.latest()
        if update is None or update.state.final:
            return False
        if not await asyncio.to_thread(self._m.lock.acquire):
            log.warning("another process is updating this machine", update_id=update.id)
            return False
        with bound_contextvars(update_id=update.id):
            log.info("last process left an update", state=update.state)
            if update.state in {State.RESTARTING, State.VERIFYING}:
                await self._m.journal.advance(update.id, Event.STARTED)
                self._running_id = update.id
                return False
            await self._backward(update.id, InterruptedUpdateError(state=update.state))
            self._m.lock.release()
            return update.state.touched

    async def verify(self, probe: Callable[[], Awaitable[None]]) -> None:
        """Compares the intention with what is, once this process serves; `probe` asks it as a client would.

        Declares the update succeeded, or undoes it and asks for a restart.
        """
        update = await self._verifying()
        if update is None:
            await probe()
            return
        with bound_contextvars(update_id=update.id):
            try:
                await self._compare(update)
                await probe()
            except RefreshdError as error:
                if await self._backward(update.id, error):
                    self._restarting = True
                    self._m.restart()
            else:
                message = f"updated from {_short(update.from_commit)} to {_short(update.to_commit)}"
                await self._m.journal.advance(update.id, Event.VERIFIED, message=message)
                await self._m.undo.drop()
                log.info("update ends", outcome="succeeded", commit=update.to_commit)
            self._m.lock.release()

    async def _verifying(self) -> Update | None:
        if self._running_id is None:
            return None
        try:
            update = await self._m.journal.get(self._running_id)
        except NotFoundError:
            return None
        return update if update.state is State.VERIFYING else None

    async def _compare(self, update: Update) -> None:
        if update.to_commit is None:
            return
        head = await self._m.head.read()
        for what, sha in (("the checkout is", head), ("this process runs", self._m.running_sha)):
            if sha != update.to_commit:
                raise VerifyError(reason=f"{what} at {_short(sha)} and not at {_short(update.to_commit)}")

    # The end of the process

    async def stop(self) -> None:
        """Ends a running update on its way: back to where it was. Returns when nothing of it runs."""
        if self._running and not self._running.done():
            self._running.cancel()
            await asyncio.wait({self._running})


def _short(commit: str | None) -> str:
    return commit[:12] if commit else "an unknown commit"
