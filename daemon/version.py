"""Which code is on disk and which one runs: two facts, never one.

HEAD is read as git stores it, without a git process, each time: two small files, so it cannot be stale. Whatever is
stored in another way (packed refs, reftable, a symbolic chain) is asked of git and kept only as long as the files that
could have changed it are the same.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from daemon import __version__, gitdir
from daemon.errors import RefreshdError
from daemon.git import Git
from daemon.log import get_logger
from daemon.models import Health, LastUpdate, OnDisk, Running, Update, Version, now

DIRTY_FOR = 1.0  # seconds that one look at the working tree serves every caller
GIT_TIMEOUT = 30.0  # seconds
_RACY = 2.0  # seconds; a file changed this recently may change again without its time stamp showing it

_COMMIT = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64})\n?")

log = get_logger()


class Head:
    """The commit that `git rev-parse HEAD` names in a checkout; None where there is none yet."""

    def __init__(self, repo: Path) -> None:
        self._repo = repo
        self._asked: tuple[object, str | None] | None = None

    async def read(self) -> str | None:
        key, sha = look(self._repo)
        if sha or key is None:
            return sha
        if self._asked and self._asked[0] == key:
            return self._asked[1]
        sha = await self._ask_git()
        self._asked = (key, sha) if _settled(key) else None
        return sha

    async def _ask_git(self) -> str | None:
        git = Git(folder=self._repo, timeout=GIT_TIMEOUT)
        try:
            result = await git("rev-parse", "--verify", "--quiet", "--end-of-options", "HEAD^{commit}", ok_codes=(0, 1))
        except RefreshdError as error:
            log.warning("git cannot tell the commit", error=str(error), detail=error.detail)
            return None
        return result.text or None


Stamp = tuple[int, int, int, int] | None  # inode, size, mtime, ctime


@dataclass(frozen=True)
class _Indirect:
    """What the answer of git depends on, where reading HEAD alone does not tell it."""

    head: bytes
    stamps: tuple[Stamp, ...]


def look(repo: Path) -> tuple[_Indirect | None, str | None]:
    """The commit as far as plain files tell it. (None, None): no repository. (key, None): git has to be asked."""
    found = gitdir.find(repo)
    head = found.head() if found else None
    if found is None or head is None:
        return None, None
    if commit := _COMMIT.fullmatch(head):
        return None, commit[1].decode()
    if branch := found.branch():
        loose = gitdir.read(found.folder / branch) or gitdir.read(found.common / branch)
        if loose and (commit := _COMMIT.fullmatch(loose)):
            return None, commit[1].decode()
    common = found.common
    stored = (common / "packed-refs", common / "reftable" / "tables.list", common / "refs" / "heads")
    return _Indirect(head, tuple(map(_stamp, (found.folder / "HEAD", *stored)))), None


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _settled(key: _Indirect | None) -> bool:
    newest = max((stamp[3] for stamp in key.stamps if stamp), default=0) if key else 0
    return time.time_ns() - newest > _RACY * 1e9


class Dirty:
    """Whether the working tree differs from HEAD. One `git status` serves all callers within a second."""

    def __init__(self, repo: Path) -> None:
        self._git = Git(folder=repo, timeout=GIT_TIMEOUT)
        self._looking: asyncio.Task[tuple[bool | None, datetime]] | None = None
        self._looked_at: tuple[float, str | None] = (0.0, None)

    async def look(self, sha: str | None) -> tuple[bool | None, datetime]:
        """The fact and when it was one; None where git cannot tell."""
        moment, looked_sha = self._looked_at
        if self._looking is None or looked_sha != sha or time.monotonic() - moment > DIRTY_FOR:
            self._looked_at = (time.monotonic(), sha)
            self._looking = asyncio.create_task(self._ask_git())
        return await asyncio.shield(self._looking)

    async def _ask_git(self) -> tuple[bool | None, datetime]:
        moment = now()
        try:
            result = await self._git("status", "--porcelain", "-z", "--untracked-files=normal")
        except RefreshdError as error:
            log.warning("git cannot tell the state of the working tree", error=str(error), detail=error.detail)
            return None, moment
        return bool(result.stdout), moment


class VersionReporter:
    """Answers `getVersion`. `boot_id` is new in each process: it alone proves that another process answers."""

    def __init__(
        self,
        *,
        repo: Path,
        head: Head,
        environment: str,
        os_sha: str | None,
        last_update: Callable[[], Awaitable[Update | None]],
        running_sha: str | None,
    ) -> None:
        self.boot_id = uuid.uuid4().hex
        self.head = head
        self.running_sha = running_sha
        self._dirty = Dirty(repo)
        self._environment = environment
        self._os_sha = os_sha
        self._last_update = last_update
        self._started_at = now()

    async def report(self) -> Version:
        sha = await self.head.read()
        dirty, dirty_at = await self._dirty.look(sha) if sha else (None, None)
        last = await self._last_update()
        return Version(
            sha=sha,
            running=Running(sha=self.running_sha, version=__version__),
            on_disk=OnDisk(sha=sha, dirty=dirty, dirty_at=dirty_at),
            dirty=dirty,
            environment=self._environment,
            boot_id=self.boot_id,
            started_at=self._started_at,
            os_sha=self._os_sha,
            update_available=self._os_sha != sha if self._os_sha and sha else None,
            last_update=_summary(last) if last else None,
        )

    async def health(self, status: str) -> Health:
        return Health(status=status, version=__version__, sha=await self.head.read(), boot_id=self.boot_id)


def _summary(update: Update) -> LastUpdate:
    return LastUpdate(
        id=update.id,
        state=update.state,
        target_ref=update.request.target_ref,
        from_commit=update.from_commit,
        to_commit=update.to_commit,
        finished_at=update.finished_at,
    )
