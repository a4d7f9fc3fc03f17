"""The tRPC procedures: camelCase in, camelCase out, the same engine behind them as behind REST."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from aiohttp import web
from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from daemon.auth.access import Access, who
from daemon.auth.tokens import Token
from daemon.engine import Engine
from daemon.errors import BadRequestError
from daemon.journal import Journal
from daemon.models import (
    IdempotencyKey,
    Plan,
    Restored,
    SnapshotDiff,
    SnapshotPage,
    SnapshotReport,
    Update,
    UpdatePage,
    UpdateRequest,
    UpdateResult,
    Version,
)
from daemon.refs import parse_ref
from daemon.shelf import NOW, Shelf
from daemon.snapshots.paths import MOST_PATHS
from daemon.states import State
from daemon.triggers.bodies import MAX_LISTED, VOUCHING, Input
from daemon.triggers.repeatable import may_be_repeated
from daemon.triggers.trpc import Position, Procedure, Procedures, Subscription, Tracked
from daemon.version import VersionReporter

AFTER = "after:"  # and an update: where a reader stands who waits for the next one
_UPDATE = "[0-9]{6,12}-[0-9a-f]{6}"
_EVENT_ID = rf"^({_UPDATE}:[0-9]{{1,9}}|{AFTER}({_UPDATE})?)$"
_FINE = {State.RESTARTING, State.VERIFYING, State.SUCCEEDED, State.UNCHANGED}


class CamelInput(Input):
    model_config = ConfigDict(alias_generator=to_camel)


class PlanUpdateInput(CamelInput):
    target_ref: str = Field(description="A branch, a tag, a full name under refs/, or a full commit id.")
    git_token: Token | None = Field(None, description="For the git remote, for this update alone; stored nowhere.")


class SelfUpdateInput(PlanUpdateInput):
    force: bool = Field(default=False, description="Also to a commit that did not run when it was tried before.")
    idempotency_key: IdempotencyKey | None = Field(None, description="The same key is the same request.")


class RollbackInput(CamelInput):
    id: str | None = Field(None, description="The update; without it, the last that succeeded.")
    idempotency_key: IdempotencyKey | None = Field(None, description="The same key is the same request.")
    git_token: Token | None = Field(None, description=VOUCHING)


class GetUpdateInput(CamelInput):
    id: str


class ListInput(CamelInput):
    limit: Annotated[int, Field(ge=1, le=MAX_LISTED)] = MAX_LISTED
    cursor: str | None = Field(None, description="`nextCursor` of the page before; without it, the newest.")


class OnUpdateInput(CamelInput):
    id: str | None = Field(None, description="Without it, the update that is under way, or the next one.")
    last_event_id: Annotated[str, Field(pattern=_EVENT_ID)] | None = Field(
        None, description="The id of the event that was seen last; the client sends it by itself when it comes back."
    )

    @property
    def after(self) -> str | None:
        """The update that was the last when the reader came, empty where there was none; None: not said."""
        given = self.last_event_id or ""
        return given.removeprefix(AFTER) if given.startswith(AFTER) else None

    def start(self) -> tuple[str | None, int]:
        """The update, where it is known, and the last of its entries that has been seen. Raises BadRequestError."""
        if self.last_event_id is None or self.after is not None:
            return self.id, 0
        update_id, _, seq = self.last_event_id.partition(":")
        if self.id not in {None, update_id}:
            raise BadRequestError(reason="lastEventId is of another update than id")
        return update_id, int(seq)


class SnapshotInput(CamelInput):
    id: str = Field(description="Of a snapshot, or the beginning of one that names no other.")


class DiffInput(CamelInput):
    a: str = Field(description="The id of a snapshot.")
    b: str = Field(NOW, description=f"The id of another, or `{NOW}`: the checkout as it is.")


class RestoreInput(SnapshotInput):
    paths: Annotated[list[str], Field(min_length=1, max_length=MOST_PATHS)] | None = Field(
        None, description="Files or folders of the checkout, literally; without them, everything."
    )
    git_token: Token | None = Field(None, description=VOUCHING)


class ProcedureApi:
    """What the procedures do."""

    def __init__(self, *, engine: Engine, journal: Journal, shelf: Shelf, version: VersionReporter) -> None:
        self._engine = engine
        self._journal = journal
        self._shelf = shelf
        self._version = version

    async def get_version(self, request: web.Request, _input: None) -> Version:
        report = await self._version.current()
        if request.rel_url.raw_path.endswith("/getVersion"):
            # no other call answers in the same response
            may_be_repeated(request, report)
        return report.version

    async def plan_update(self, _request: web.Request, given: PlanUpdateInput) -> Plan:
        return await self._engine.plan(parse_ref(given.target_ref), given.git_token)

    async def self_update(self, request: web.Request, given: SelfUpdateInput) -> UpdateResult:
        """Answers when the machine is about to restart, or when the update has ended."""
        ref = parse_ref(given.target_ref)
        wanted = UpdateRequest(
            target_ref=ref.requested,
            trigger="trpc",
            idempotency_key=given.idempotency_key,
            force=given.force,
            by=who(request),
        )
        update = await self._engine.submit(wanted, ref, given.git_token)
        return result(await self._engine.wait(update.id))

    async def rollback(self, request: web.Request, given: RollbackInput) -> UpdateResult:
        """Answers as `self_update` does."""
        update = await self._engine.rollback(
            given.id,
            trigger="trpc",
            idempotency_key=given.idempotency_key,
            by=who(request),
            git_token=given.git_token,
        )
        return result(await self._engine.wait(update.id))

    async def get_update(self, _request: web.Request, given: GetUpdateInput) -> Update:
        return await self._journal.get(given.id)

    async def list_updates(self, _request: web.Request, given: ListInput) -> UpdatePage:
        return await self._journal.page(given.limit, given.cursor)

    async def on_update(self, _request: web.Request, given: OnUpdateInput) -> AsyncGenerator[Tracked | Position, None]:
        """The record as of each line of its journal; the id of an event tells which update and which line.

        Who waits for the next update is told where that begins: it may be over when they come back.
        """
        update_id, seen = given.start()
        if update_id is None:
            last = await self._journal.last_ended() if given.after is None else given.after
            yield Position(f"{AFTER}{last or ''}")
            update_id = await self._journal.next_after(last or None)
        async with aclosing(self._journal.records(update_id, seen)) as records:
            async for update in records:
                yield Tracked(f"{update.id}:{update.last_seq}", update)

    async def list_snapshots(self, _request: web.Request, given: ListInput) -> SnapshotPage:
        return await self._shelf.page(given.limit, given.cursor)

    async def show_snapshot(self, _request: web.Request, given: SnapshotInput) -> SnapshotReport:
        return await self._shelf.show(given.id)

    async def diff_snapshots(self, _request: web.Request, given: DiffInput) -> SnapshotDiff:
        return await self._shelf.diff(given.a, given.b)

    async def restore_snapshot(self, _request: web.Request, given: RestoreInput) -> Restored:
        return await self._shelf.restore(given.id, given.paths, given.git_token)


def table(api: ProcedureApi) -> Procedures:
    read, update = Access.READ, Access.UPDATE
    return {
        "getVersion": Procedure("query", read, api.get_version, None, Version),
        "planUpdate": Procedure("mutation", update, api.plan_update, PlanUpdateInput, Plan),
        "selfUpdate": Procedure("mutation", update, api.self_update, SelfUpdateInput, UpdateResult),
        "rollback": Procedure("mutation", update, api.rollback, RollbackInput, UpdateResult),
        "getUpdate": Procedure("query", read, api.get_update, GetUpdateInput, Update),
        "listUpdates": Procedure("query", read, api.list_updates, ListInput, UpdatePage),
        "onUpdate": Subscription(read, api.on_update, OnUpdateInput, Update),
        "snapshots.list": Procedure("query", read, api.list_snapshots, ListInput, SnapshotPage),
        "snapshots.show": Procedure("query", read, api.show_snapshot, SnapshotInput, SnapshotReport),
        "snapshots.diff": Procedure("query", read, api.diff_snapshots, DiffInput, SnapshotDiff),
        "snapshots.restore": Procedure("mutation", update, api.restore_snapshot, RestoreInput, Restored),
    }


def result(update: Update) -> UpdateResult:
    """`getVersion` confirms it: a new boot id, and the commit that was asked for."""
    return UpdateResult(
        success=update.state in _FINE,
        message=update.message,
        update_id=update.id,
        from_commit=update.from_commit,
        to_commit=update.to_commit,
        outcome=update.state,
        notes=update.notes,
        log=update.error.detail if update.error else "",
    )
