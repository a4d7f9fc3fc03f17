"""From one commit to another, file by file, and whether the disk holds the later one: asked of the files alone."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from daemon.git import parse_changes
from daemon.models import Changes
from daemon.trees import blob_id

MOST_BYTES = 64 * 1024 * 1024  # of all files together; git reads more than that in less memory

_FILE, _PROGRAM, _LINK, _NOTHING = b"100644", b"100755", b"120000", b"000000"


@dataclass(frozen=True)
class Difference:
    """`tree` is the later one's id, `raw` the output of `diff-tree -r -z --raw --no-renames`."""

    tree: str
    raw: bytes

    @cached_property
    def names(self) -> frozenset[bytes]:
        return frozenset(self.raw.split(b"\0")[1::2])

    @property
    def added(self) -> frozenset[bytes]:
        """The names that the earlier one does not have."""
        fields = self.raw.split(b"\0")
        return frozenset(
            name for facts, name in zip(fields[0:-1:2], fields[1::2], strict=False) if facts.endswith(b"A")
        )

    @property
    def changes(self) -> Changes:
        return parse_changes(self.raw)

    def is_on_disk(self, folder: Path) -> bool:
        """Whether each of these files is there byte by byte as the later tree has it.

        False also where there is no telling: of submodules, of ids that are not SHA-1, of much.
        """
        root = os.fsencode(folder) + b"/"
        room = MOST_BYTES
        try:
            for mode, wanted, name in self._later():
                content = _content(root + name, mode, room)
                if content is None or (mode != _NOTHING and blob_id(content) != wanted):
                    return False
                room -= len(content)
        except OSError:
            return False
        return True

    def _later(self) -> Iterator[tuple[bytes, str, bytes]]:
        """Mode, id and name."""
        fields = self.raw.split(b"\0")
        for facts, name in zip(fields[0:-1:2], fields[1::2], strict=False):
            _, mode, _, wanted, _ = facts.split(b" ")
            yield mode, wanted.decode(), name


def _content(path: bytes, mode: bytes, room: int) -> bytes | None:
    """None for what is not of this mode, or larger. Raises OSError for what cannot be read."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return b"" if mode == _NOTHING else None
    if status.st_size > room or _mode(status.st_mode) != mode:
        return None
    if mode == _LINK:
        return os.readlink(path)  # noqa: PTH115 - a name may hold any bytes
    with open(path, "rb") as file:
        return file.read()


def _mode(bits: int) -> bytes:
    """As a tree has it; empty for what no tree holds as a file."""
    if stat.S_ISLNK(bits):
        return _LINK
    if stat.S_ISREG(bits):
        return _PROGRAM if bits & stat.S_IXUSR else _FILE
    return b""
