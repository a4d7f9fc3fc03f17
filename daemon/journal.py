"""The record of every update: one append-only file of JSON lines each, synced at every transition.

One mechanism, four uses: what recovery reads after a crash, the progress of an update, the history, and what a client
resumes from after the restart. Line n of an update is its event n; a torn last line never happened.
"""

import asyncio
import contextlib
import json
import os
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pydantic import ValidationError

from daemon.errors import BadRequestError, NotFoundError, StateLoopError
from daemon.files import disk_full_named, sync_folder
from daemon.log import get_logger
from daemon.models import Entry, Step, Update, UpdatePage, now
from daemon.states import Event, State, after
from daemon.tasks import uncancelled

_ID = re.compile(r"[0-9]{6,12}-[0-9a-f]{6}")
MOST_ENTRIES = 60  # of an update; the longest way to an end takes a dozen
_OTHER_PROCESS_POLL = 0.5  # seconds; another process may write too (the first sync at boot, the guard)

P = ParamSpec("P")
R = TypeVar("R")

log = get_logger()


@dataclass(frozen=True)
class Folded:
    update: Update
    entries: tuple[Entry, ...]


class Journal:
    """Reads and writes the records under one folder. Safe for many readers; one writer at a time holds the lock."""

    def __init__(self, folder: Path, *, keep: int = 200) -> None:
        self.folder = folder
        self._keep = keep
        self._writing = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._changes = 0

    @property
    def changes(self) -> int:
        """How often this process has written to any of them."""
        return self._changes

    async def create(self, facts: dict[str, Any]) -> Update:
        """Starts the record of a new update, in state `requested`. Ids sort by age whatever the clock does."""
        update_id = await self._write(self._create, facts)
        return await self.get(update_id)

    async def advance(self, update_id: str, event: Event, **facts: Any) -> Update:  # noqa: ANN401 - JSON values
        """Moves the update along the table, durably. Only an end is recorded once there are too many entries.

        Raises ImpossibleTransitionError, NoSpaceError, StateLoopError.
        """
        return await self._write(self._append, update_id, event, facts)

    async def note(self, update_id: str, **facts: Any) -> Update:  # noqa: ANN401 - JSON values
        """Records facts without a transition."""
        return await self._write(self._append, update_id, None, facts)

    async def count(self, update_id: str, event: Event) -> int:
        """How often it happened. Raises NotFoundError."""
        entries = (await asyncio.to_thread(self._read, update_id)).entries
        return sum(entry.event is event for entry in entries)

    async def get(self, update_id: str) -> Update:
        """Raises NotFoundError."""
        return (await asyncio.to_thread(self._read, update_id)).update

    async def history(self, limit: int | None = None) -> list[Update]:
        """The readable records, newest first; none where the folder itself cannot be read."""
        return await asyncio.to_thread(self._history, limit)

    async def page(self, limit: int, cursor: str | None = None) -> UpdatePage:
        """The readable records, newest first, from after the one that the cursor names. Raises BadRequestError."""
        if cursor is not None and not _ID.fullmatch(cursor):
            raise BadRequestError(reason="the cursor is not one that a list has given")
        updates = await asyncio.to_thread(self._history, limit + 1, cursor)
        more = len(updates) > limit
        return UpdatePage(updates=tuple(updates[:limit]), next_cursor=updates[limit - 1].id if more else None)

    async def latest(self) -> Update | None:
        return await asyncio.to_thread(self._latest)

    async def follow(self, update_id: str, after_seq: int = 0) -> AsyncGenerator[Entry, None]:
        """Every entry later than `after_seq`, as it comes; ends with the entry that ends the update.

        Raises NotFoundError.
        """
        while True:
            seen = self._changes
            folded = await asyncio.to_thread(self._read, update_id)
            for entry in folded.entries[after_seq:]:
                yield entry
            after_seq = max(after_seq, len(folded.entries))
            if folded.update.state.final:
                return
            await self._news(seen)

    async def records(self, update_id: str, after_seq: int = 0) -> AsyncGenerator[Update, None]:
        """The record as of each entry later than `after_seq`, as `follow` gives them."""
        entries: list[Entry] = []
        async with aclosing(self.follow(update_id)) as followed:
            async for entry in followed:
                entries.append(entry)
                if entry.seq > after_seq:
                    yield fold(update_id, entries)

    async def last_ended(self) -> str | None:
        """The id of the newest update that has ended; at most one is later, and under way."""
        return next((update.id for update in await self.history(2) if update.state.final), None)

    async def next_after(self, update_id: str | None) -> str:
        """The id of the first update that is later than this one; None: of the first of all. Waits until there is one.

        Raises NotFoundError for one that is not on record and is not older than all that are.
        """
        if update_id is not None and not await asyncio.to_thread(self._is_forgotten, update_id):
            await self.get(update_id)
        while True:
            seen = self._changes
            if found := await asyncio.to_thread(self._first_after, update_id):
                return found
            await self._news(seen)

    async def _write(self, write: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The write of a cancelled caller ends before the caller goes on: it may want to write what follows."""
        async with self._writing:
            try:
                return await uncancelled(asyncio.to_thread(write, *args, **kwargs))
            finally:
                await self._announce()

    async def _news(self, seen: int) -> None:
        """Returns when there was a change after the first `seen`, or when another process may have made one."""
        try:
            async with asyncio.timeout(_OTHER_PROCESS_POLL), self._changed:
                await self._changed.wait_for(lambda: self._changes != seen)
        except TimeoutError:
            return

    async def _announce(self) -> None:
        async with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def _create(self, facts: dict[str, Any]) -> str:
        ids = self._ids()
        number = int(ids[-1].partition("-")[0]) + 1 if ids else 1
        update_id = f"{number:06}-{secrets.token_hex(3)}"
        first = Entry(seq=1, at=now(), state=State.REQUESTED, facts=_known(facts))
        fold(update_id, [first])
        self._forget(ids[: max(0, len(ids) + 1 - self._keep)])
        with disk_full_named(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                _append_line(self._path(update_id), first)
            except OSError:
                self._path(update_id).unlink()
                raise
            sync_folder(self.folder)
        return update_id

    def _forget(self, ids: Iterable[str]) -> None:
        for old in ids:
            try:
                self._path(old).unlink(missing_ok=True)
            except OSError:
                # the limit saves space; it is no reason to refuse an update
                log.warning("update record cannot be removed", update_id=old)

    def _append(self, update_id: str, event: Event | None, facts: dict[str, Any]) -> Update:
        folded = self._read(update_id)
        state = after(folded.update.state, event) if event else folded.update.state
        if len(folded.entries) >= MOST_ENTRIES and not state.final:
            raise StateLoopError(update=update_id, entries=len(folded.entries))
        entry = Entry(seq=len(folded.entries) + 1, at=now(), state=state, event=event, facts=_known(facts))
        # folded first: a fact of the wrong type would make the record unreadable for good
        update = fold(update_id, (*folded.entries, entry))
        with disk_full_named(self.folder):
            _append_line(self._path(update_id), entry)
        return update

    def _read(self, update_id: str) -> Folded:
        if not _ID.fullmatch(update_id):
            raise NotFoundError(what=f"update {update_id[:40]!r}")
        try:
            content = self._path(update_id).read_bytes()
        except FileNotFoundError:
            raise NotFoundError(what=f"update {update_id}") from None
        entries = parse(content)
        try:
            return Folded(fold(update_id, entries), entries)
        except ValidationError:
            raise NotFoundError(what=f"a readable record of update {update_id}") from None

    def _history(self, limit: int | None, before: str | None = None) -> list[Update]:
        updates: list[Update] = []
        try:
            ids = self._ids()
        except OSError as error:
            log.error("update records cannot be read", error=str(error))  # noqa: TRY400 - the sentence says it all
            return []
        for update_id in reversed(ids):
            if before is not None and _age(update_id) >= _age(before):
                continue
            if len(updates) == limit:
                break
            try:
                updates.append(self._read(update_id).update)
            except (NotFoundError, OSError):
                log.warning("update record is not readable", update_id=update_id)
        return updates

    def _latest(self) -> Update | None:
        return next(iter(self._history(1)), None)

    def _is_forgotten(self, update_id: str) -> bool:
        ids = self._ids()
        return bool(ids and _ID.fullmatch(update_id)) and _age(update_id) < _age(ids[0])

    def _first_after(self, update_id: str | None) -> str | None:
        """One that cannot be read is passed over: it may be about to begin."""
        oldest = _age(update_id) if update_id else (0, "")
        for later in self._ids():
            if _age(later) > oldest:
                with contextlib.suppress(NotFoundError, OSError):
                    return self._read(later).update.id
        return None

    def _ids(self) -> list[str]:
        try:
            names = [path.name for path in self.folder.iterdir()]
        except FileNotFoundError:
            return []
        ids = [name.removesuffix(".jsonl") for name in names if name.endswith(".jsonl")]
        return sorted((i for i in ids if _ID.fullmatch(i)), key=_age)

    def _path(self, update_id: str) -> Path:
        return self.folder / f"{update_id}.jsonl"


def _age(update_id: str) -> tuple[int, str]:
    return int(update_id.partition("-")[0]), update_id


def parse(content: bytes) -> tuple[Entry, ...]:
    """The entries up to the first line that is torn, damaged or out of order: what follows it was never promised.

    Unknown fields are skipped here and in `fold`: after an undo, old code reads what newer code has written.
    """
    entries: list[Entry] = []
    for line in content.split(b"\n")[:-1]:
        try:
            entry = Entry.model_validate_json(line, extra="ignore")
        except ValidationError:
            break
        if entry.seq != len(entries) + 1:
            break
        entries.append(entry)
    return tuple(entries)


def fold(update_id: str, entries: Iterable[Entry]) -> Update:
    """The record as of the last entry. Later facts replace earlier ones; notes add up. Raises ValidationError."""
    fields: dict[str, Any] = {"id": update_id}
    steps: list[Step] = []
    notes: list[str] = []
    for entry in entries:
        facts = dict(entry.facts)
        told = facts.pop("notes", [])
        # what is no list is left for the validation to refuse
        notes += [note for note in (told if isinstance(told, list) else [told]) if note not in notes]
        fields |= facts | {"state": entry.state, "last_seq": entry.seq}
        if not steps:
            fields["started_at"] = entry.at
        if not steps or steps[-1].state is not entry.state:
            steps = [*_closed(steps, entry.at), Step(state=entry.state, started_at=entry.at)]
        if entry.state.final:
            fields.setdefault("finished_at", entry.at)
            steps = _closed(steps, entry.at)
    return Update.model_validate(fields | {"steps": steps, "notes": notes}, extra="ignore")


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    """Readers skip what they do not know, so a misspelt fact has to be noticed here. Raises TypeError."""
    if unknown := facts.keys() - Update.model_fields.keys():
        raise TypeError(f"an update has no field {', '.join(sorted(unknown))}")
    return facts


def _closed(steps: list[Step], at: datetime) -> list[Step]:
    if not steps or steps[-1].seconds is not None:
        return steps
    seconds = max(0.0, (at - steps[-1].started_at).total_seconds())
    return [*steps[:-1], steps[-1].model_copy(update={"seconds": round(seconds, 3)})]


def _append_line(path: Path, entry: Entry) -> None:
    """Durable when it returns. What readers skip at the end, such as a torn line, is cut off: it would hide the new."""
    line = json.dumps(entry.snake(), separators=(",", ":"), allow_nan=False).encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    # unbuffered: closing the file must not try once more to write what has failed
    with open(descriptor, "r+b", buffering=0) as file:
        sound = sum(len(old) + 1 for old in file.read().split(b"\n")[: entry.seq - 1])
        file.truncate(sound)
        file.seek(sound)
        try:
            while line:
                line = line[file.write(line) :]
            os.fsync(descriptor)
        except OSError:
            # half a line must not stay: the next writer would have to guess
            file.truncate(sound)
            raise
