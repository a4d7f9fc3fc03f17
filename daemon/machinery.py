"""What an update is done with: the collaborators that the engine, the pipeline and the recovery share."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from daemon.bad_targets import BadTargets
from daemon.check import Checker
from daemon.disk import Disk
from daemon.installers import Installer
from daemon.journal import Journal
from daemon.keeper import Keeper
from daemon.lock import MachineLock
from daemon.models import Update
from daemon.snapshots import Snapshots
from daemon.sources import Source
from daemon.starts import Starts
from daemon.undo import Undo

GUARD = "guard"  # the trigger of what the machine decides by itself


class Heads(Protocol):
    """What `Head` offers: the commit on disk."""

    async def read(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True)
class Machinery:
    """All of them replaceable by small worlds in tests. `restart` asks the supervisor to leave.

    `source` is None where the environment has none, and `unsupported` then says why. `rollback_source` makes the one
    that goes back to the state before an update. `flush` returns when what was written is on the disk.
    """

    journal: Journal
    lock: MachineLock
    source: Source | None
    rollback_source: Callable[[Update], Source]
    installers: Sequence[Installer]
    snapshots: Snapshots
    undo: Undo
    checker: Checker
    bad_targets: BadTargets
    starts: Starts
    head: Heads
    keeper: Keeper
    running_sha: str | None
    restart: Callable[[], None]
    flush: Callable[[], Coroutine[Any, Any, None]]
    disk: Disk = field(default_factory=Disk)
    unsupported: str = "this environment has no source"


def short(commit: str | None) -> str:
    """For sentences."""
    return commit[:12] if commit else "an unknown commit"
