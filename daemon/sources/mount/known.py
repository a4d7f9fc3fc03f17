"""Contents that were equal are not read again while both files are the ones of then, by inode, size and both times.

Size and modification time alone prove nothing, for anybody can set them; the time of the last change of status is the
system's own. A file that changes twice within one tick of its clock looks the same after both changes. So equal
contents count only where both files had been seen as they are SETTLED before they were read: whatever is written after
that gets another time. Both moments are of this machine's clock, so the mount's may be wrong or coarse.
"""

import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daemon.files import disk_full_named, write_atomically

SETTLED = 2_000_000_000  # nanoseconds; no file system that can be mounted counts in longer ticks

_FILE = struct.Struct("=QqqqL")  # inode, size, both times, mode
_SIGHT = 2 * _FILE.size
_SEEN = struct.Struct("=q")
_PROVEN = _SEEN.pack(0)
_SIZE = _SIGHT + _SEEN.size
_HEAD = struct.Struct("=8sQL")  # what it is, the bytes of all paths, and a checksum
_MAGIC = b"equal 2\n"
_FEW = 100  # entries that are not worth to be written: they are read once more the next time


def seen(file: os.stat_result) -> bytes:
    """What a file looks like, in a tenth of the memory: a whole tree is kept."""
    return _FILE.pack(file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns, file.st_mode)


def mode_and_size(there: bytes) -> tuple[int, int]:
    """Of what `seen` gave."""
    _, size, _, _, mode = _FILE.unpack(there)
    return mode, size


def sight(there: bytes, here: os.stat_result) -> bytes:
    """What two files look like: all that is compared, so that what was proven of it needs no other look."""
    return there + seen(here)


@dataclass(frozen=True)
class Known:
    """Of each path how both files looked, and since when, in nanoseconds; zero where their contents are equal."""

    entries: Mapping[bytes, bytes] = field(default_factory=dict)

    def proves(self, path: bytes, look: bytes) -> bool:
        return self.entries.get(path) == look + _PROVEN

    def since(self, path: bytes, look: bytes, now: int) -> int:
        """When they were first seen to look like this."""
        entry = self.entries.get(path, b"")
        return _SEEN.unpack(entry[_SIGHT:])[0] if entry[:_SIGHT] == look else now


def equal(look: bytes, *, since: int, read_at: int) -> bytes:
    """The entry of files whose contents were found equal when they were read at that time."""
    return look + (_PROVEN if read_at - since >= SETTLED else _SEEN.pack(since))


class KnownFile:
    """Losing it costs time and nothing else, and so does an entry that is out of date."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Known:
        """Knows nothing where there is no file, or none that is whole."""
        try:
            content = self._path.read_bytes()
            magic, length, checksum = _HEAD.unpack_from(content)
        except (OSError, struct.error):
            return Known()
        body = memoryview(content)[_HEAD.size :]
        if magic != _MAGIC or zlib.crc32(body) != checksum:
            return Known()
        paths = bytes(body[:length]).split(b"\0")[:-1]
        rest = bytes(body[length:])
        return Known({path: rest[i * _SIZE : (i + 1) * _SIZE] for i, path in enumerate(paths)})

    def write(self, before: Known, learned: Mapping[bytes, bytes]) -> None:
        """Adds what was learned, where it is worth it. Raises NoSpaceError."""
        if len(learned) < max(1, min(_FEW, len(before.entries))):
            return
        entries = {**before.entries, **learned}
        paths = b"".join(path + b"\0" for path in entries)
        body = paths + b"".join(entries.values())
        with disk_full_named(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, _HEAD.pack(_MAGIC, len(paths), zlib.crc32(body)) + body)
