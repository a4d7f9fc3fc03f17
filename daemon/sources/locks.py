"""Lock files that a killed git left behind, removed when it is proven that nobody holds them.

The proof: git itself complained about the file, or a command of ours was just killed; no process has the file open; no
living git works in the repository, as far as the kernel tells us; and it is older than the command that met it. Where
one of these cannot be known, the lock stays and the caller is told its name.
"""

import asyncio
import os
import re
import stat
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from daemon.errors import CheckoutError, CommandFailedError, CommandTimeoutError
from daemon.log import get_logger

PATIENCE = 2.0  # seconds; a git that is alive mostly ends, and takes its lock along
_POLL = 0.1
_COMPLAINT = re.compile(
    r"^(?!remote: ).*Unable to create '(?P<lock>[^\n]+\.lock)': File exists"
    r"|^error: could not lock config file (?P<config>[^\n]+): File exists",
    re.MULTILINE,
)
_LEFT_BEHIND = ("index.lock", "HEAD.lock", "shallow.lock", "config.lock", "packed-refs.lock")
_PROC = Path("/proc")

T = TypeVar("T")

log = get_logger()


@dataclass(frozen=True, kw_only=True)
class Locks:
    """Those of one repository: `folder` is its work tree, `git_dirs` are its own and the common one."""

    folder: Path
    git_dirs: tuple[Path, ...]
    patience: float = PATIENCE

    async def guarded(self, work: Callable[[], Awaitable[T]]) -> T:
        """Runs the command, once more if only a stale lock was in its way. Raises CheckoutError for one that stays."""
        began = time.time()
        try:
            return await work()
        except CommandTimeoutError:
            # it may have been killed while it held some, and the undo comes next
            await asyncio.to_thread(self._sweep)
            raise
        except CommandFailedError as error:
            lock = self.complained_of(error.detail)
            if lock is None:
                raise
            await self._clear(lock, began, error.detail)
        return await work()

    def complained_of(self, output: str) -> Path | None:
        """The lock that git found in its way; None for anything that is no lock of this repository."""
        found = _COMPLAINT.search(output)
        if not found:
            return None
        lock = Path(os.path.normpath(self.folder / (found["lock"] or f"{found['config']}.lock")))
        return lock if any(lock.is_relative_to(folder) for folder in self.git_dirs) else None

    async def _clear(self, lock: Path, before: float, detail: str) -> None:
        deadline = time.monotonic() + self.patience
        while why := await asyncio.to_thread(self._kept, lock, before):
            if time.monotonic() >= deadline:
                reason = f"the lock file {lock} is in the way and {why}; remove it if no git is at work there"
                raise CheckoutError(path=str(self.folder), reason=reason, detail=detail)
            await asyncio.sleep(_POLL)

    def _sweep(self) -> None:
        for lock in (folder / name for folder in self.git_dirs for name in _LEFT_BEHIND):
            if why := self._kept(lock, before=None):
                log.warning("lock file stays", lock=str(lock), reason=why)

    def _kept(self, lock: Path, before: float | None) -> str | None:
        """Removes a lock that is proven stale. None: it is gone; else why it stays."""
        try:
            return self._remove_if_stale(lock, before)
        except FileNotFoundError:
            return None

    def _remove_if_stale(self, lock: Path, before: float | None) -> str | None:
        seen = lock.lstat()
        if not stat.S_ISREG(seen.st_mode):
            return "is no regular file"
        if before is not None and seen.st_mtime >= before:
            return "is younger than the command that met it"
        if holder := _holder(lock, (self.folder, *self.git_dirs)):
            return holder
        # while the file was there nobody could take the lock: the same file means the same, dead, holder
        if not os.path.samestat(seen, lock.lstat()):
            return "was just taken anew"
        lock.unlink()
        log.warning("stale lock file removed", lock=str(lock))
        return None


def _holder(lock: Path, roots: tuple[Path, ...]) -> str | None:
    """Who may hold the lock, as the end of a sentence; None when it is proven that nobody does."""
    if not (_PROC / "self").exists():
        return "who holds it cannot be found out"
    for process in (entry for entry in _PROC.iterdir() if entry.name.isdigit()):
        try:
            name = (process / "comm").read_text(errors="replace").strip()
            if _may_hold(process, lock, roots, is_git=name == "git" or name.startswith("git-")):
                return f"may be held by process {process.name} ({name})"
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    return None


def _may_hold(process: Path, lock: Path, roots: tuple[Path, ...], *, is_git: bool) -> bool:
    if is_git and _is_zombie(process):
        return False
    try:
        return _has_open(process, lock) or (is_git and _works_in(process, roots))
    except PermissionError:
        # of another user: only a git is taken for a possible holder, or none could ever be ruled out
        return is_git


def _is_zombie(process: Path) -> bool:
    """To an unprivileged daemon even its own dead children look like another user's."""
    after_name = (process / "stat").read_text(errors="replace").rpartition(")")[2]
    return after_name.split()[0] in {"Z", "X"}


def _has_open(process: Path, lock: Path) -> bool:
    return any(_target(link) == lock for link in (process / "fd").iterdir())


def _target(link: Path) -> Path | None:
    try:
        return link.readlink()
    except FileNotFoundError:
        return None  # closed meanwhile


def _works_in(process: Path, roots: tuple[Path, ...]) -> bool:
    """By its working directory, or because its command line or environment names one of the folders."""
    directory = (process / "cwd").readlink()
    if any(directory.is_relative_to(root) for root in roots):
        return True
    said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    return any(os.fsencode(root) in said for root in roots)
