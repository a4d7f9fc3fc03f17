"""What can be asked of a daemon, and the one conversation that outlives it: a refresh."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote, urlencode

from aiohttp import BaseConnector

from daemon.client.absence import Absence, patiently
from daemon.client.connection import Connection, SilentStreamError
from daemon.client.errors import (
    InconsistentError,
    NoAnswerError,
    TimedOutError,
    UnreachableError,
    raise_unless_good,
)
from daemon.client.orders import Order, Rollback, Target, order_of, update_path
from daemon.client.typed import Typed
from daemon.client.users import UserClient
from daemon.health import Status
from daemon.models import (
    Entry,
    Health,
    KeptSnapshot,
    LogLine,
    Plan,
    Restored,
    SnapshotDiff,
    SnapshotPage,
    SnapshotReport,
    Update,
    UpdatePage,
    Version,
)
from daemon.states import State

TIMEOUT = 10.0  # seconds, for a request that the daemon answers from what it knows
PATIENCE = 120.0  # seconds
LIMIT = 1800.0  # seconds, for an update and for working out what one would do
_BEFORE_RESTART = frozenset({State.REQUESTED, State.STAGING, State.APPLYING, State.INSTALLING, State.CHECKING})
_UNAVAILABLE = 503

T = TypeVar("T")
AnyPage = TypeVar("AnyPage", UpdatePage, SnapshotPage)


class Watcher:
    """Told what happens during `Client.refresh`. Each method does nothing here."""

    def accepted(self, update: Update) -> None:
        """The daemon has recorded the request."""

    def entry(self, entry: Entry) -> None:
        """The next line of the record; each arrives once and in order."""

    def away(self, reason: str) -> None:
        """The daemon went away; said once until it is back."""


class Client:
    """One daemon, by Unix socket (the default) or by URL. To be used as an async context manager.

    Every call raises UnreachableError or TimedOutError when no answer comes, and RefusedError when the answer is no.
    `headers` go with every request, such as a proxy's own token; `dial` is another way to connect, `where` its name.
    `timeout` is for one request; `patience` is how long the daemon may be away in a row before a call that outlives
    its restart gives up with TimedOutError: in seconds.
    """

    def __init__(
        self,
        socket: Path | None = None,
        url: str | None = None,
        token: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        patience: float = PATIENCE,
        dial: Callable[[], BaseConnector] | None = None,
        where: str = "",
    ) -> None:
        self._connection = Connection(socket, url, token, timeout, headers, dial=dial, where=where)
        self._patience = patience
        self._typed = Typed(self._connection)
        self.users = UserClient(self._typed)

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._connection.__aexit__(kind, error, traceback)

    async def health(self) -> Health:
        return await self._typed.get(Health, "/healthz")

    async def ready(self) -> bool:
        """False when the daemon lives and should not be given work."""
        answer = await self._connection.ask("GET", "/readyz")
        if answer.status == _UNAVAILABLE:
            return False
        self._connection.judge(answer)
        return True

    async def version(self) -> Version:
        return await self._typed.get(Version, "/api/v1/version")

    async def status(self) -> Status:
        return await self._typed.get(Status, "/api/v1/status")

    async def updates(self, limit: int | None = None) -> tuple[Update, ...]:
        """Newest first; at most `limit` of them, or all that the daemon keeps."""
        updates: tuple[Update, ...] = ()
        async with aclosing(self._typed.pages(UpdatePage, "/api/v1/updates", limit)) as pages:
            async for page in pages:
                updates += page.updates
                if limit is not None and len(updates) >= limit:
                    break
        return updates[:limit]

    async def get(self, update_id: str) -> Update:
        return await self._typed.get(Update, update_path(update_id))

    async def plan(self, target: str | Target, *, limit: float = LIMIT) -> Plan:
        """What an update would do; nothing is touched. It may fetch, so it may take up to `limit` seconds."""
        order = order_of(target)
        return await self._typed.post(Plan, order.path, order.body | {"dry_run": True}, limit=limit)

    async def update(
        self, target: Order, *, wait: bool = False, idempotency_key: str | None = None, limit: float = LIMIT
    ) -> Update:
        """Asks for an update. With `wait`, returns when it has ended or the daemon is about to restart.

        A request whose fate is unknown is repeated under the same idempotency key, so it cannot start two updates.
        Raises UnreachableError only if the update was certainly not asked for.
        """

        async def ask() -> Update:
            return await self._submit(target, key, wait=wait, limit=limit)

        key = idempotency_key or uuid.uuid4().hex
        try:
            return await ask()
        except NoAnswerError as error:
            if not error.sent:
                raise
            await asyncio.sleep(error.retry_after)
        return await self._patiently(ask)

    async def follow(
        self, update_id: str, after_seq: int = 0, *, on_away: Callable[[str], None] | None = None
    ) -> AsyncGenerator[Entry, None]:
        """Every entry later than `after_seq`, once and in order, until the update has ended.

        Goes on over the daemon's restart. `on_away` is told why, once for each absence.
        """
        absence = Absence(self._patience, on_away)
        while True:
            reason: NoAnswerError = UnreachableError(where=self._connection.where, reason="the stream was cut")
            try:
                async with aclosing(self._records(update_id, after_seq)) as records:
                    async for record in records:
                        absence.over()
                        if isinstance(record, Entry):
                            after_seq = record.seq
                            yield record
                        if record.state.final:
                            return
            except SilentStreamError:
                absence.over()
                continue
            except NoAnswerError as error:
                reason = error
            await absence.endure(reason)

    async def _records(self, update_id: str, after_seq: int) -> AsyncGenerator[Entry | Update, None]:
        """What one stream holds: entries later than `after_seq`, and the whole update at the end."""
        async with aclosing(self._connection.events(f"{update_path(update_id)}/events", after_seq)) as events:
            async for event in events:
                if event.name == "end":
                    yield self._typed.read(Update, event.data)
                elif event.name == "entry":
                    entry = self._typed.read(Entry, event.data)
                    if entry.seq > after_seq:
                        yield entry

    async def rollback(self, update_id: str = "last", *, git_token: str | None = None) -> Update:
        """Goes back to the state before an update, and confirms it as `refresh` does. Raises what `refresh` raises."""
        return await self.refresh(Rollback(update_id, git_token))

    async def refresh(
        self,
        target: Order,
        *,
        idempotency_key: str | None = None,
        limit: float = LIMIT,
        watcher: Watcher | None = None,
    ) -> Update:
        """Asks for an update, follows it to its end over the daemon's restart, and confirms what runs then.

        Returns an update that succeeded or that found nothing to do. Raises FailedError, RolledBackError,
        InconsistentError with the update; TimedOutError after `limit` seconds, when the update may still go on.
        """
        key = idempotency_key or uuid.uuid4().hex
        try:
            async with asyncio.timeout(limit):
                return await self._refresh(target, key, limit, watcher or Watcher())
        except TimeoutError:
            raise TimedOutError(what="the update to end", seconds=limit) from None

    async def snapshots(self) -> tuple[KeptSnapshot, ...]:
        """Newest first."""
        pages = self._typed.pages(SnapshotPage, "/api/v1/snapshots")
        return tuple([kept async for page in pages for kept in page.snapshots])

    async def snapshot(self, snapshot_id: str) -> SnapshotReport:
        return await self._typed.get(SnapshotReport, _snapshot_path(snapshot_id))

    async def diff(self, a: str, b: str = "now", *, limit: float = LIMIT) -> SnapshotDiff:
        """From one snapshot to another, or to the checkout as it is now, which is read for it."""
        path = f"{_snapshot_path(a)}/diff/{quote(b, safe='')}"
        return await self._typed.get(SnapshotDiff, path, limit=limit)

    async def restore(
        self,
        snapshot_id: str,
        paths: Sequence[str] | None = None,
        *,
        git_token: str | None = None,
        limit: float = LIMIT,
    ) -> Restored:
        """Makes files what they were in a snapshot; without paths all of them."""
        given = {"paths": None if paths is None else list(paths), "git_token": git_token}
        body = {name: value for name, value in given.items() if value is not None}
        return await self._typed.post(Restored, f"{_snapshot_path(snapshot_id)}/restore", body, limit=limit)

    async def logs(
        self, query: Mapping[str, str], *, on_away: Callable[[str], None] | None = None
    ) -> AsyncGenerator[LogLine, None]:
        """The daemon's log; `query` is that of `GET /api/v1/logs`. Each line once, also over the daemon's restart.

        A daemon that is away at the beginning is not waited for.
        """
        absence = Absence(self._patience, on_away)
        while True:
            reason: NoAnswerError = UnreachableError(where=self._connection.where, reason="the stream was cut")
            try:
                async with aclosing(self._connection.lines(f"/api/v1/logs?{urlencode(query)}")) as lines:
                    async for line in lines:
                        absence.over()
                        found = self._typed.read(LogLine, line.decode(errors="replace"))
                        query = {**query, "after": found.cursor}
                        yield found
                if query.get("follow") != "true":
                    return
            except SilentStreamError:
                absence.over()
                continue
            except NoAnswerError as error:
                if "after" not in query:
                    raise
                reason = error
            await absence.endure(reason)

    async def _refresh(self, target: Order, key: str, limit: float, watcher: Watcher) -> Update:
        before = await self.version()
        accepted = await self._patiently(lambda: self._submit(target, key, wait=False, limit=limit), watcher.away)
        watcher.accepted(accepted)
        async with aclosing(self.follow(accepted.id, on_away=watcher.away)) as entries:
            async for entry in entries:
                watcher.entry(entry)
        ended = await self._patiently(lambda: self.get(accepted.id), watcher.away)
        raise_unless_good(ended)
        if ended.state is State.SUCCEEDED:
            # an update that was joined late may have restarted the daemon before we looked
            old_boot = before.boot_id if accepted.state in _BEFORE_RESTART else None
            await self._confirm(ended, old_boot, watcher)
        return ended

    async def _confirm(self, update: Update, old_boot: str | None, watcher: Watcher) -> None:
        """Raises InconsistentError when the process that answers is not the one that the update promised."""
        version = await self._patiently(self.version, watcher.away)
        if version.last_update and version.last_update.id != update.id:
            return  # a later update owns the machine by now, and answers for it
        if version.boot_id == old_boot:
            doubt = "the process from before the update still answers"
        elif update.to_commit and version.running.sha != update.to_commit:
            doubt = f"the daemon runs {version.running.sha} and not {update.to_commit}"
        else:
            return
        raise InconsistentError(sentence=f"cannot confirm update {update.id}: {doubt}", update=update)

    async def _submit(self, target: Order, key: str, *, wait: bool, limit: float) -> Update:
        order = order_of(target)
        body = order.body | {"wait": wait, "idempotency_key": key}
        return await self._typed.post(Update, order.path, body, limit=limit if wait else None)

    async def _patiently(self, ask: Callable[[], Awaitable[T]], on_away: Callable[[str], None] | None = None) -> T:
        return await patiently(ask, self._patience, on_away)


def _snapshot_path(snapshot_id: str) -> str:
    return f"/api/v1/snapshots/{quote(snapshot_id, safe='')}"
