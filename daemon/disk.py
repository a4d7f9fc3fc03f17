"""Is there room for what comes next? Asked before a step writes, so that a full disk is met with nothing touched."""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import NoSpaceError

MIB = 1024 * 1024
FLOOR = 32 * MIB  # of the state folder and the checkout
RUN_FLOOR = 1 * MIB  # the run folder holds sockets and small files, and is often a small file system in memory
FEWEST_FILES = 100  # a change of code makes new ones


@dataclass(frozen=True)
class Room:
    """What a file system has for us; `files` is None where it does not count them."""

    bytes: int
    files: int | None


@dataclass(frozen=True)
class Need:
    """A step's, anywhere below a folder, or a folder's own."""

    path: Path
    bytes: int


def room(path: Path) -> Room:
    """Of the file system that `path` is or will be on. Raises OSError."""
    while not path.exists():
        path = path.parent
    found = os.statvfs(path)
    return Room(bytes=found.f_bavail * found.f_frsize, files=found.f_favail if found.f_files else None)


@dataclass(frozen=True)
class Disk:
    """The folders that an update writes to, each with what has to be free there at any time."""

    floors: Sequence[Need] = ()
    room: Callable[[Path], Room] = room

    async def spare(self) -> int:
        """The bytes that are free beyond the floors, where they are fewest; below zero where a floor is not met."""
        return await asyncio.to_thread(self._spare)

    def _spare(self) -> int:
        return min((self.room(floor.path).bytes - floor.bytes for floor in self.floors), default=sys.maxsize)

    async def require(self, *needs: Need) -> None:
        """Returns where every folder has its floor and what the step needs on top. Raises NoSpaceError."""
        await asyncio.to_thread(self._require, needs)

    def _require(self, needs: Sequence[Need]) -> None:
        for floor in self.floors:
            wanted = floor.bytes + sum(need.bytes for need in needs if need.path.is_relative_to(floor.path))
            found = self.room(floor.path)
            if found.bytes < wanted:
                detail = f"{found.bytes / MIB:.1f} MiB are free, the step needs {wanted / MIB:.1f}"
                raise NoSpaceError(path=str(floor.path), detail=detail)
            if found.files is not None and found.files < FEWEST_FILES:
                raise NoSpaceError(path=str(floor.path), detail=f"it has room for {found.files} more files")
