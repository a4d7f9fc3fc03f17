"""The files that s6-log keeps in a folder, as one log: `@TIME.s` are complete and sort by age, `current` is written.

Everything here blocks. What looks for a file raises RotatedError, after which it can be called again.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from daemon.errors import NotFoundError
from daemon.logs.lines import Cursor, Line, parse

CHUNK = 256 * 1024  # bytes
LONGEST_LINE = 1024 * 1024  # bytes; what is longer is cut

Wanted = Callable[[Line], bool]


class RotatedError(Exception):
    """The file got another name between looking for it and opening it: look again."""


class LogFile:
    """One open file. It can be read to its end after it was renamed or removed."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        """Raises OSError."""
        self._file = path.open("rb", buffering=0)
        found = os.fstat(self._file.fileno())
        self.inode = found.st_ino
        # s6-log never shortens a file: a position behind its end is of another one that had this inode
        self._offset = offset if offset <= found.st_size else 0
        self._file.seek(self._offset)
        self._rest = b""

    def read(self) -> list[Line] | None:
        """The lines that a chunk completes; None at the end. A line that is still being written waits there."""
        chunk = self._file.read(CHUNK)
        if not chunk:
            return None
        *complete, self._rest = (self._rest + chunk).split(b"\n")
        lines = [self._line(raw, newline=1) for raw in complete]
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._line(self._rest, newline=0))
            self._rest = b""
        return lines

    def _line(self, raw: bytes, *, newline: int) -> Line:
        self._offset += len(raw) + newline
        return parse(raw, Cursor(self.inode, self._offset))

    def lines(self) -> Iterator[Line]:
        while (lines := self.read()) is not None:
            yield from lines

    def close(self) -> None:
        self._file.close()


class LogReader:
    """A place in the log, and reading on from there. A context manager."""

    def __init__(self, folder: Path, wanted: Wanted) -> None:
        self._folder = folder
        self._wanted = wanted
        self._open: LogFile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._switch(None)

    def start(self, after: Cursor | None = None) -> None:
        """Goes behind a line that was read before, or to the oldest where that is not kept any more.

        Raises NotFoundError where there is no log.
        """
        files = self._files()
        same = [(path, after.offset) for path, inode in files if after and inode == after.inode]
        self._switch(_opened(*(same or [(files[0][0], 0)])[0]))

    def last(self, count: int) -> list[Line]:
        """The last `count` of the lines that are wanted; the place is then the end. Raises NotFoundError."""
        newest, *older = {inode: path for path, inode in self._files()[::-1]}.values()
        self._switch(_opened(newest))
        kept = self._end_of(self._open, count)
        for path in older:
            if len(kept) >= count:
                break
            # one that was removed meanwhile was the oldest
            with suppress(FileNotFoundError), closing(LogFile(path)) as file:
                kept = self._end_of(file, count - len(kept)) + kept
        return kept

    def _end_of(self, file: LogFile | None, count: int) -> list[Line]:
        return list(deque(filter(self._wanted, file.lines()), maxlen=count)) if file else []

    def read(self) -> list[Line] | None:
        """The next lines that are wanted, perhaps none of a chunk; None at the end, as far as it is written."""
        # looked for first: whatever was written before the rotation is in the old file by then
        successor = self._successor()
        lines = self._open.read() if self._open else None
        if lines is not None:
            return list(filter(self._wanted, lines))
        if successor is None:
            return None
        self._switch(_opened(successor))
        return []

    def _successor(self) -> Path | None:
        files = self._files()
        inodes = [inode for _, inode in files]
        own = self._open.inode if self._open else None
        if own not in inodes:
            return files[0][0]
        later = files[inodes.index(own) + 1 :]
        return next((path for path, inode in later if inode != own), None)

    def _files(self) -> list[tuple[Path, int]]:
        """Oldest first. While s6-log rotates, one file may have two names. Raises NotFoundError."""
        try:
            names = [path for path in self._folder.iterdir() if path.name.startswith("@") or path.name == "current"]
        except OSError:
            names = []
        found = []
        # `@` sorts before `c`
        for path in sorted(names):
            with suppress(FileNotFoundError):
                found.append((path, path.stat().st_ino))
        if not found:
            raise NotFoundError(what=f"a log in {self._folder}")
        return found

    def _switch(self, file: LogFile | None) -> None:
        if self._open:
            self._open.close()
        self._open = file


def _opened(path: Path, offset: int = 0) -> LogFile:
    try:
        return LogFile(path, offset)
    except FileNotFoundError:
        raise RotatedError from None
