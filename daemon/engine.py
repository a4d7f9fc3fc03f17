"""Who may start an update, and one at a time: admission, joining, and the task that carries it to its end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import SecretStr
from structlog.contextvars import bound_contextvars

from daemon.errors import (
    BusyError,
    InternalError,
    InterruptedUpdateError,
    NothingToRollBackError,
    RefreshdError,
    RestartingError,
    SystemCallError,
    UnsupportedError,
    UpdateRunningError,
)
from daemon.files import refusals_named
from daemon.log import get_logger
from daemon.machinery import GUARD, Machinery
from daemon.models import IdempotencyKey, Plan, Update, UpdateRequest
from daemon.permission import Permission
from daemon.pipeline import Pipeline
from daemon.refs import Ref, RefKind, parse_commit
from daemon.sources import Source, with_token
from daemon.states import State

log = get_logger()


class Engine:
    def __init__(self, machinery: Machinery, pipeline: Pipeline) -> None:
        self._m = machinery
        self._pipeline = pipeline
        self._permission = Permission(machinery.source, machinery.journal)
        self._admission = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        self._running_id: str | None = None
        self._restarting = False

    async def submit(self, request: UpdateRequest, ref: Ref, git_token: SecretStr | None = None) -> Update:
        """Accepts an update and returns its record at once, or the record of the one that it joins.

        `git_token` is for this update alone and is stored nowhere.

        Raises UpdateRunningError, RestartingError, UnsupportedError, BadRequestError.
        """
        async with self._admission:
            known = await self._known(request.idempotency_key) or await self._joined(request, ref)
            return known or await self._start(request, ref, self._source(git_token))

    async def rollback(
        self,
        update_id: str | None,
        *,
        trigger: str,
        idempotency_key: IdempotencyKey | None = None,
        by: str | None = None,
        git_token: SecretStr | None = None,
    ) -> Update:
        """Starts the update that goes back to the state before an earlier one; None: before the last that succeeded.

        `git_token` as for `submit`: the remote may have to vouch for what is gone back to. The guard asks nobody.

        Raises NotFoundError, NothingToRollBackError, and what `submit` raises.
        """
        async with self._admission:
            permission = None if trigger == GUARD else self._permission.with_token(git_token)
            # first: a request that is repeated after its own success must not choose what it goes back from once more
            if known := await self._known(idempotency_key):
                return known
            update = await self._m.journal.get(update_id) if update_id else await self._last_succeeded()
            if update.snapshot is None:
                raise NothingToRollBackError(update=update.id, reason="it changed nothing")
            if update.from_commit is None:
                raise NothingToRollBackError(update=update.id, reason="the checkout had no commit before it")
            request = UpdateRequest(
                target_ref=update.from_commit,
                trigger=trigger,
                idempotency_key=idempotency_key,
                by=by,
                rollback_of=update.id,
            )
            ref = parse_commit(update.from_commit)
            joined = await self._joined(request, ref)
            return joined or await self._start(request, ref, self._m.rollback_source(update), permission)

    async def finish(self, update_id: str) -> Update:
        """As `wait`, for a process that ends then: what is read in the record may still be on its way to the disk.

        Whoever ended earlier would cancel the update at its last step, and so undo it.
        """
        await self.wait(update_id)
        if self._running:
            await asyncio.wait({self._running})
        return await self._m.journal.get(update_id)

    async def plan(self, ref: Ref, git_token: SecretStr | None = None) -> Plan:
        """What `submit` would do: fetches, and touches nothing in the checkout. Raises what staging raises."""
        async with self._admission:
            source = self._source(git_token)
            await self._acquire(ref)
            try:
                await source.prepare()
                work = await self._pipeline.stage(source, ref)
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

    @asynccontextmanager
    async def idle(self, what: str) -> AsyncIterator[None]:
        """The machine to oneself: no update runs, and one that is asked for waits. `what` is for the refusal.

        Raises BusyError, RestartingError.
        """
        async with self._admission:
            if self._restarting:
                raise RestartingError
            if self._busy or not await asyncio.to_thread(self._m.lock.acquire):
                raise _busy(what, await self._m.journal.latest())
            try:
                yield
            finally:
                self._m.lock.release()

    async def stop(self) -> None:
        """Accepts no update any more, and ends a running one on its way: back to where it was."""
        self._restarting = True
        if self._busy and self._running:
            self._running.cancel()
            await asyncio.wait({self._running})

    @property
    def _busy(self) -> bool:
        return self._running is not None and not self._running.done()

    async def _known(self, key: IdempotencyKey | None) -> Update | None:
        """The same key is the same request, however often it comes."""
        updates = await self._m.journal.history() if key is not None else []
        return next((update for update in updates if update.request.idempotency_key == key), None)

    async def _joined(self, request: UpdateRequest, ref: Ref) -> Update | None:
        """The same target joins while it runs."""
        if self._running_id is None or self._running is None or not self._busy:
            return None
        running = await self._m.journal.get(self._running_id)
        if running.state.final:
            # its end is recorded, and it is about to let go of the lock
            await asyncio.wait({self._running})
            return None
        same_commit = ref.kind is RefKind.COMMIT and running.to_commit == ref.name
        same_target = running.request.target_ref == request.target_ref or same_commit
        if same_target and running.request.rollback_of == request.rollback_of:
            return running
        raise await self._conflict(ref)

    async def _start(
        self, request: UpdateRequest, ref: Ref, source: Source, permission: Permission | None = None
    ) -> Update:
        await self._acquire(ref)
        try:
            with refusals_named(self._m.journal.folder):
                update = await self._m.journal.create({"request": request.snake(), "source": source.name})
        except BaseException:
            self._m.lock.release()
            raise
        self._running_id = update.id
        self._running = asyncio.create_task(self._run(update, ref, source, permission), name=f"update {update.id}")
        return update

    async def _acquire(self, ref: Ref) -> None:
        if self._restarting:
            raise RestartingError
        if self._busy or not await asyncio.to_thread(self._m.lock.acquire):
            raise await self._conflict(ref)

    def _source(self, git_token: SecretStr | None) -> Source:
        source = self._m.source
        if source is None:
            raise UnsupportedError(reason=self._m.unsupported)
        return source if git_token is None else with_token(source, git_token)

    async def _last_succeeded(self) -> Update:
        for update in await self._m.journal.history():
            if update.state is State.SUCCEEDED:
                return update
        raise NothingToRollBackError(update="?", reason="no update has succeeded yet")

    async def _conflict(self, ref: Ref) -> UpdateRunningError:
        running = await self._m.journal.latest()
        if running is None:
            return UpdateRunningError(ref=ref.name, running="?", running_ref="?", state="starting")
        return UpdateRunningError(
            ref=ref.name, running=running.id, running_ref=running.request.target_ref, state=running.state
        )

    async def _run(self, update: Update, ref: Ref, source: Source, permission: Permission | None) -> None:
        with bound_contextvars(update_id=update.id, by=update.request.by):
            log.info("update begins", target=ref.name, source=source.name, trigger=update.request.trigger)
            try:
                restart = await self._forward_or_back(update, ref, source, permission)
            except (RefreshdError, OSError):
                # a disk so full that not even the end can be written: the next start ends what is left
                log.exception("update cannot be ended in its record")
                restart = False
            finally:
                await self._m.checker.cool()
            self._end(restart=restart)

    async def _forward_or_back(self, update: Update, ref: Ref, source: Source, permission: Permission | None) -> bool:
        """True when the machine has to restart. Raises what writing the end of the record raises."""
        try:
            return await self._pipeline.forward(update, ref, source, permission)
        except asyncio.CancelledError:
            await self._pipeline.backward(update.id, InterruptedUpdateError(state="being stopped"))
            raise
        except RefreshdError as error:
            return await self._pipeline.backward(update.id, error)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            refused = SystemCallError(path=str(error.filename or "a file"), reason=reason)
            return await self._pipeline.backward(update.id, refused)
        except Exception:  # a defect of ours must not leave the machine half-way
            log.exception("update met a defect")
            return await self._pipeline.backward(update.id, InternalError())

    def _end(self, *, restart: bool) -> None:
        """The lock is kept until the process ends: no other process may begin on code that is about to start."""
        if restart:
            self._restarting = True
            self._m.restart()
        else:
            self._m.lock.release()


def _busy(what: str, last: Update | None) -> BusyError:
    if last is None:
        return BusyError(what=what, running="?", running_ref="?", state="starting")
    return BusyError(what=what, running=last.id, running_ref=last.request.target_ref, state=last.state)
