"""Which code is on disk and which one runs: two facts, never one."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from daemon import __version__
from daemon.errors import RefreshdError
from daemon.git import Git
from daemon.head import GIT_TIMEOUT, Head
from daemon.log import get_logger
from daemon.models import Health, LastUpdate, OnDisk, Running, Update, Version, now

DIRTY_FOR = 1.0  # seconds that one look at the working tree serves every caller

log = get_logger()


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


class Report(NamedTuple):
    """`holds` tells whether it would be the same now; false, in any case, once the look at the tree is too old."""

    version: Version
    holds: Callable[[], bool]


class VersionReporter:
    """Answers `getVersion`. `boot_id` is new in each process: it alone proves that another process answers.

    `changes` counts the writes to the journal; those of other processes are seen within a second.
    """

    def __init__(
        self,
        *,
        repo: Path,
        head: Head,
        environment: str,
        os_sha: str | None,
        last_update: Callable[[], Awaitable[Update | None]],
        changes: Callable[[], int],
        running_sha: str | None,
        boot_id: str = "",
    ) -> None:
        self.boot_id = boot_id or uuid.uuid4().hex
        self.head = head
        self.running_sha = running_sha
        self._dirty = Dirty(repo)
        self._environment = environment
        self._os_sha = os_sha
        self._last_update = last_update
        self._changes = changes
        self._started_at = now()
        self._making = asyncio.Lock()
        self._made: Report | None = None

    async def report(self) -> Version:
        return (await self.current()).version

    async def current(self) -> Report:
        """The one made before, as long as it holds: many callers cost as much as one."""
        async with self._making:
            if self._made is None or not self._made.holds():
                # first what it depends on: a change while it is made must not be missed
                began, changes, head_unchanged = time.monotonic(), self._changes(), self.head.unchanged()

                def holds() -> bool:
                    return time.monotonic() - began < DIRTY_FOR and self._changes() == changes and head_unchanged()

                self._made = Report(await self._make(), holds)
            return self._made

    async def _make(self) -> Version:
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
