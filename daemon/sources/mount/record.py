"""What was copied from the mount, and what the last copy removed: with it, files that go from the host go from here.

An undo brings removed files back and knows nothing of this record. So it holds their content ids: a file that is there
again as it was came from the undo, any other of that name is somebody's own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daemon.files import disk_full_named, write_atomically
from daemon.names import NONE, Names

_REMOVED = re.compile(rb"\0-([^\0]*)")


@dataclass(frozen=True, kw_only=True)
class Record:
    """`removed` has the content id of each path."""

    copied: Names = NONE
    removed: Mapping[bytes, bytes] = field(default_factory=dict)


class RecordFile:
    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Record:
        """Empty where there is none yet."""
        try:
            content = b"\0" + self._path.read_bytes()
        except FileNotFoundError:
            return Record()
        removed = (entry.partition(b" ") for entry in _REMOVED.findall(content))
        copied = _REMOVED.sub(b"", content).replace(b"\0+", b"\0")
        return Record(copied=Names(copied[1:]), removed={path: content for content, _, path in removed})

    def write(self, record: Record) -> None:
        """Durable when it returns. Raises NoSpaceError."""
        with disk_full_named(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        removed = Names.of(b"-" + content + b" " + path for path, content in record.removed.items())
        write_atomically(self._path, record.copied.marked(b"+").joined + removed.joined)
