"""Contents that were equal are not read again while both files look as they did, by inode, size, owner and both times.

Size and modification time alone prove nothing, for anybody can set them; the time of the last change of status is the
system's own. Git, which looks for us, compares whole seconds, and a file that changes twice within one tick of its
clock looks the same after both changes. So equal contents count only where both files had been seen as they are
SETTLED before they were read: whatever is written after that gets the time of another second, be the file's own from a
clock that ticks every two seconds. Both moments are of this machine's clock, so the mount's may be wrong or coarse, as
long as it is not set back to the very second.
"""

import asyncio
import hashlib
import shutil
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from daemon.errors import CheckoutError
from daemon.files import disk_full_named, write_atomically
from daemon.git import Git
from daemon.names import NONE, Names
from daemon.sources.blame import blamed
from daemon.sources.mount.looks import entries_of, index, looking_otherwise, without_age
from daemon.tasks import together

# nanoseconds: two seconds, since no file system that can be mounted counts in longer ticks, and the second that is cut
SETTLED = 3_000_000_000

Pair = tuple[bytes, bytes]

_HEAD = struct.Struct("=8sqQ32s32s")  # what it is, since when, the bytes of all names, and digests of both indexes
_MAGIC = b"equal 3\n"
_DIGEST = 32  # bytes
_FEW = 100  # files that are not worth a new list: they are read once more the next time


@dataclass(frozen=True)
class Known:
    """`names` are files that were equal, and of `changed` it is known that they look otherwise now, here or there.

    The contents of `pending` have to be read once more. They are seen as they are `since` then, in nanoseconds.
    """

    names: Names = NONE
    pending: Names = NONE
    since: int = 0
    changed: frozenset[bytes] = frozenset()
    digests: Pair = (b"", b"")

    @cached_property
    def _doubted(self) -> frozenset[bytes]:
        return self.changed | self.pending.paths

    def doubtful(self, wanted: Names) -> frozenset[bytes]:
        """Those of them that have to be looked at."""
        return (wanted - self.names) | (self._doubted - (self.names - wanted))

    def awaits(self, path: bytes) -> bool:
        """Whether it only has to be found equal once more."""
        return path in self.pending.paths and path not in self.changed

    def settled(self, now: int) -> bool:
        return now - self.since >= SETTLED


class KnownFiles:
    """An empty repository with two indexes, and beside it the list of what is in them, which has the digests of both.

    Losing any of it costs time and nothing else, and so does an entry that is out of date.
    """

    def __init__(self, folder: Path) -> None:
        self._repository = folder / "equal.git"
        self._mount = self._repository / "mount"
        self._checkout = self._repository / "checkout"
        self._list = folder / "equal"

    async def recall(self, mount: Path, checkout: Path, *, limit: float) -> Known:
        """Knows nothing where it is not whole; `limit` is for each command, in seconds.

        Raises CheckoutError, NoSpaceError, CommandTimeoutError.
        """
        known = await self._recalled(mount, checkout, limit)
        if known is None:
            await self._begin_anew(limit)
        return known or Known()

    async def _recalled(self, mount: Path, checkout: Path, limit: float) -> Known | None:
        known = await asyncio.to_thread(self._read)
        if known is None:
            return None
        there, here, whole = await together(
            looking_otherwise(mount, self._mount, limit=limit),
            looking_otherwise(checkout, self._checkout, limit=limit),
            asyncio.to_thread(self._is_whole, known),
        )
        return None if there is None or here is None or not whole else replace(known, changed=there | here)

    async def _begin_anew(self, limit: float) -> None:
        with disk_full_named(self._repository), blamed(CheckoutError, self._repository):
            await asyncio.to_thread(shutil.rmtree, self._repository, ignore_errors=True)
            await asyncio.to_thread(self._repository.mkdir, parents=True, exist_ok=True)
            git = Git(folder=self._repository, timeout=limit)
            await git("init", "--quiet", "--bare", "--template=", "--object-format=sha1", ".")

    def write(self, known: Known, files: Names, learned: Mapping[bytes, Pair], proven: frozenset[bytes]) -> None:
        """Adds what was learned of `files` to what was recalled, where it is worth it. Raises NoSpaceError."""
        if len(learned) + len(proven) < max(1, min(_FEW, len(known.names))):
            return
        names, digests = known.names, known.digests
        if learned:
            names = names.minus(names - files).plus(learned.keys() - names.paths)
            digests = (
                _rewritten(self._mount, known.names, names, {path: there for path, (there, _) in learned.items()}),
                _rewritten(self._checkout, known.names, names, {path: here for path, (_, here) in learned.items()}),
            )
        pending = Names.of((known.pending.paths - proven | learned.keys()) & names.paths)
        head = _HEAD.pack(_MAGIC, time.time_ns(), len(names.joined), *digests)
        content = head + names.joined + pending.joined
        write_atomically(self._list, content + hashlib.sha256(content).digest())

    def _read(self) -> Known | None:
        try:
            for side in (self._mount, self._checkout):
                without_age(side)
            content = self._list.read_bytes()
            magic, since, length, *digests = _HEAD.unpack_from(content)
        except (OSError, struct.error):
            return None
        if magic != _MAGIC or hashlib.sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:]:
            return None
        names, pending = content[_HEAD.size :][:length], content[_HEAD.size + length : -_DIGEST]
        return Known(Names(names), Names(pending), since, digests=(digests[0], digests[1]))

    def _is_whole(self, known: Known) -> bool:
        return (_digest(self._mount), _digest(self._checkout)) == known.digests


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""


def _rewritten(path: Path, before: Names, names: Names, learned: Mapping[bytes, bytes]) -> bytes:
    """Its digest."""
    entries = entries_of(path.read_bytes(), before) if before else {}
    content = index(learned.get(name) or entries[name] for name in names)
    write_atomically(path, content)
    return hashlib.sha256(content).digest()
