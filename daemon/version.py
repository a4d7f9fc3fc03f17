"""Which code is on disk and which one runs: two facts, never one."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from daemon import __version__
from daemon.head import Head
from daemon.models import Health, LastUpdate, OnDisk, Running, Update, Version, now
from daemon.working_tree import Look, WorkingTree


@dataclass(frozen=True, eq=False)
class Report:
    """A version with what it depends on: the look at the files, the records and HEAD."""

    version: Version
    look: Look
    unchanged: Callable[[], bool]
    renewed: Callable[["Report"], bool]

    def holds(self) -> bool:
        """Whether it may be told again; false, in any case, once the look is too old."""
        return self.look.serves() and self.unchanged()

    def fresh(self) -> bool:
        """Whether there is no newer one. Who asks this of one that gets old has a newer one made meanwhile."""
        return not self.renewed(self)


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
        self._files = WorkingTree(repo)
        self._environment = environment
        self._os_sha = os_sha
        self._last_update = last_update
        self._changes = changes
        self._started_at = now()
        self._making = asyncio.Lock()
        self._made: Report | None = None
        self._renewal: asyncio.Task[Report] | None = None

    async def report(self) -> Version:
        return (await self.current()).version

    async def current(self) -> Report:
        """The one made before, as long as it holds: many callers cost as much as one."""
        async with self._making:
            if self._made is None or not (self._made.look.fresh() and self._made.holds()):
                # first what it depends on: a change while it is made must not be missed
                changes, head_unchanged = self._changes(), self.head.unchanged()
                self._made = await self._make(lambda: self._changes() == changes and head_unchanged())
            return self._made

    def _renewed(self, report: Report) -> bool:
        """Nobody waits for the next look: it is taken while this one still serves, and only if somebody asks."""
        if self._made is report and not report.look.fresh() and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.create_task(self.current())
        return self._made is not report

    async def _make(self, unchanged: Callable[[], bool]) -> Report:
        sha = await self.head.read()
        look = await self._files.look(sha) if sha else Look(None, None)
        last = await self._last_update()
        version = Version(
            sha=sha,
            running=Running(sha=self.running_sha, version=__version__),
            on_disk=OnDisk(sha=sha, dirty=look.dirty, dirty_at=look.at),
            dirty=look.dirty,
            tree_id=look.tree_id,
            environment=self._environment,
            boot_id=self.boot_id,
            started_at=self._started_at,
            os_sha=self._os_sha,
            update_available=self._os_sha != sha if self._os_sha and sha else None,
            last_update=_summary(last) if last else None,
        )
        return Report(version, look, unchanged, self._renewed)

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
