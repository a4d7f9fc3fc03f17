"""The snapshots that are kept: which there are, what they hold, and which of them go."""

import asyncio
import re
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from daemon.errors import BadRequestError, NotFoundError
from daemon.log import get_logger
from daemon.models import KeptSnapshot
from daemon.snapshots.store import REFS, Snapshots

SHORTEST_ID = 4

_ID = re.compile(rf"[0-9a-f]{{{SHORTEST_ID},64}}")
_FIELDS = ("refname", "objectname", "committerdate:unix", "contents")
_FACT = re.compile(r"(update|head): (\S+)")
_SIZES = re.compile(rb"^(?:size|size-pack|size-garbage): ([0-9]+)$", re.MULTILINE)  # KiB
# a verdict on the content of a file, such as a .gitmodules, is no damage
_DAMAGE = re.compile(rb"^(?!(?:error|warning) in )(?:error|fatal|broken|missing|bad|.*corrupt)", re.MULTILINE)

log = get_logger()


class Kept:
    """At most `keep` of them in at most `max_bytes`; the newest stays whatever it takes."""

    def __init__(self, snapshots: Snapshots, *, keep: int, max_bytes: int) -> None:
        self._snapshots = snapshots
        self._keep = keep
        self._max_bytes = max_bytes

    async def all(self) -> tuple[KeptSnapshot, ...]:
        """The newest first, by the order in which they were taken. Raises CommandFailedError."""
        return tuple(kept for _, kept in await self._refs())

    async def find(self, snapshot_id: str) -> KeptSnapshot:
        """By its id or the unambiguous beginning of one. Raises NotFoundError, BadRequestError."""
        if not _ID.fullmatch(snapshot_id):
            raise NotFoundError(what=f"snapshot {snapshot_id[:64]!r}")
        found = {kept.id: kept for kept in await self.all() if kept.id.startswith(snapshot_id)}
        if not found:
            raise NotFoundError(what=f"snapshot {snapshot_id!r}")
        if len(found) > 1:
            raise BadRequestError(reason=f"{snapshot_id!r} is the beginning of {len(found)} snapshots; give more of it")
        return next(iter(found.values()))

    async def prune(self, *, protected: Collection[str]) -> int:
        """Removes what is over the bounds, the oldest first, and returns how many went. `protected` ids stay.

        For the holder of the machine's lock. Raises CommandFailedError.
        """
        refs = await self._refs()
        going = _going(refs[self._keep :], protected)
        await self._remove(going)
        removed = len(going)
        while await self._size() > self._max_bytes and await self._needed() > self._max_bytes:
            # each round walks everything, so it takes several at once
            rest = _going((await self._refs())[1:], protected)
            going = rest[-max(1, len(rest) // 4) :]
            if not going:
                log.warning("snapshots take more space than they may, and none of them can go", bytes=self._max_bytes)
                break
            await self._remove(going)
            removed += len(going)
        if await self._is_worth_a_repack():
            await self._repack()
        return removed

    async def damage(self) -> str:
        """What is wrong with the repository, read from the first byte to the last; empty when it is sound."""
        if not await self._exists():
            return ""
        words = ("fsck", "--full", "--no-dangling", "--no-progress", "--no-reflogs")
        checked = await self._snapshots.git()(*words, ok_codes=range(256))
        return checked.tail if checked.code and _DAMAGE.search(checked.stdout + b"\n" + checked.stderr) else ""

    async def _refs(self) -> list[tuple[str, KeptSnapshot]]:
        if not await self._exists():
            return []
        form = "".join(f"%({field})%00" for field in _FIELDS)
        listed = await self._snapshots.git()("for-each-ref", "--sort=-refname", f"--format={form}", REFS)
        return list(_parsed(listed.stdout))

    async def _remove(self, refs: Sequence[str]) -> None:
        if refs:
            git = self._snapshots.git()
            await git("update-ref", "--stdin", "-z", stdin=b"".join(b"delete %s\0\0" % ref.encode() for ref in refs))
            await git("prune", "--expire=now")

    async def _repack(self) -> None:
        """Packs keep what no snapshot needs any more; they are written anew, as they are but for that."""
        await self._snapshots.git()("repack", "-a", "-d", "--quiet", "--window=0", "--no-write-bitmap-index")

    async def _is_worth_a_repack(self) -> bool:
        """It reads and writes all that is kept. Where the newest alone takes too much, it would gain nothing."""
        size = await self._size()
        if size <= self._max_bytes:
            return False
        needed = await self._needed()
        return needed <= self._max_bytes or size - needed > self._max_bytes // 8

    async def _needed(self) -> int:
        """The bytes of all that snapshots and the index lead to."""
        words = ("rev-list", "--all", "--indexed-objects", "--objects", "--disk-usage")
        return int((await self._snapshots.git()(*words)).stdout)

    async def _size(self) -> int:
        counted = await self._snapshots.git()("count-objects", "-v")
        return sum(map(int, _SIZES.findall(counted.stdout))) * 1024

    async def _exists(self) -> bool:
        return await asyncio.to_thread((Path(self._snapshots.folder) / "info" / "attributes").exists)


def _going(refs: Sequence[tuple[str, KeptSnapshot]], protected: Collection[str]) -> list[str]:
    return [ref for ref, kept in refs if kept.id not in protected]


def _parsed(listed: bytes) -> Iterator[tuple[str, KeptSnapshot]]:
    fields = listed.decode("utf-8", "replace").split("\0")
    for ref, commit, seconds, message in zip(
        *(fields[i : -1 : len(_FIELDS)] for i in range(len(_FIELDS))), strict=True
    ):
        label, _, body = message.partition("\n")
        facts = dict(_FACT.findall(body))
        taken_at = datetime.fromtimestamp(int(seconds), UTC)
        yield (
            ref.lstrip("\n"),
            KeptSnapshot(id=commit, taken_at=taken_at, label=label, update=facts.get("update"), head=facts.get("head")),
        )
