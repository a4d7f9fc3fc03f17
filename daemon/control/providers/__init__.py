"""Where machines come from. Each provider knows machines of one kind by a `ref` of its own.

Every call raises ProviderError or ProviderTimeoutError where the engine or the cloud behind it does not do as it is
told, MachineNotFoundError for a ref it does not know, and ActionUnsupportedError for what its machines cannot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from daemon.client import Watcher
from daemon.control.models import Activity, Fact, FoundMachine, MachineKind, RefreshResult, ShellCommand

DAEMON_PORT = 3000


@dataclass(frozen=True)
class MachineSpec:
    """What to create. `env` must not name what the provider sets itself."""

    name: str
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Preview:
    """How to ask the daemon of a machine from here. Headers and token are secrets, so they are not shown."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    token: str | None = field(default=None, repr=False)


class MachineProvider(Protocol):
    name: str
    activities: frozenset[Activity]

    async def machines(self) -> Sequence[FoundMachine]: ...

    async def create(self, spec: MachineSpec) -> FoundMachine: ...

    async def start(self, ref: str) -> None: ...

    async def stop(self, ref: str) -> None: ...

    async def restart(self, ref: str) -> None: ...

    async def archive(self, ref: str) -> None:
        """Stops it for long: it costs less, keeps its files, and takes longer to start."""

    async def delete(self, ref: str) -> None: ...

    async def preview_url(self, ref: str) -> Preview | None:
        """None for a machine in which no daemon can be asked."""

    async def display_info(self, machine: FoundMachine) -> Sequence[Fact]: ...

    async def commands(self, machine: FoundMachine) -> Sequence[ShellCommand]: ...

    async def close(self) -> None: ...


@runtime_checkable
class RefreshesCode(Protocol):
    """The optional part: a provider without it has machines that run the host's own code."""

    async def refresh_code(
        self, ref: str, target_ref: str, *, key: str = "", watcher: Watcher | None = None
    ) -> RefreshResult:
        """Asks the machine, and confirms by boot id and commit. An update that did not succeed is an answer.

        The same `key` is the same request, however often it comes.
        """


@runtime_checkable
class BringsGitToken(Protocol):
    """Machines of this provider are sent the token of their git remote along with each request that needs it."""

    async def git_token(self) -> str | None: ...


__all__ = [
    "DAEMON_PORT",
    "BringsGitToken",
    "MachineKind",
    "MachineProvider",
    "MachineSpec",
    "Preview",
    "RefreshesCode",
]
