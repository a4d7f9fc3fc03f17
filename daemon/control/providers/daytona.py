"""Sandboxes in the Daytona cloud, by its own SDK. Found by their labels; reached through their preview link.

The token is given as a variable: whoever may read a sandbox's variables holds the account's key and owns the sandbox.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.auth.tokens import read_secret
from daemon.client import Watcher
from daemon.control.errors import MachineNotFoundError, ProviderError, ProviderTimeoutError
from daemon.control.models import Activity, Fact, FoundMachine, MachineState, RefreshResult, ShellCommand
from daemon.control.providers import DAEMON_PORT, MachineSpec, Preview
from daemon.control.providers.asking import LIMIT, refresh_by
from daemon.control.providers.environment import checked
from daemon.control.tokens import MachineTokens, new_salt
from daemon.errors import ConfigurationError
from daemon.redaction import redacted

if TYPE_CHECKING:
    from daytona import AsyncDaytona, AsyncSandbox

LABEL_FLEET = "refreshd-fleet"
LABEL_NAME = "refreshd-machine"
LABEL_SALT = "refreshd-salt"
PREVIEW_HEADER = "X-Daytona-Preview-Token"
NEVER = 0  # minutes: no stop behind our back

_STATES = {
    "started": MachineState.RUNNING,
    "creating": MachineState.STARTING,
    "restoring": MachineState.STARTING,
    "starting": MachineState.STARTING,
    "resuming": MachineState.STARTING,
    "pending_build": MachineState.STARTING,
    "building_snapshot": MachineState.STARTING,
    "pulling_snapshot": MachineState.STARTING,
    "stopping": MachineState.STOPPING,
    "pausing": MachineState.STOPPING,
    "archiving": MachineState.STOPPING,
    "destroying": MachineState.STOPPING,
    "stopped": MachineState.STOPPED,
    "paused": MachineState.STOPPED,
    "archived": MachineState.ARCHIVED,
    "error": MachineState.FAILED,
    "build_failed": MachineState.FAILED,
}


class DaytonaProvider:
    """`timeout` is for one call, in seconds. `api_url` and `target` are Daytona's own where they are empty.

    `git_token_file`: what a sandbox fetches with, sent along with each refresh and kept by nobody.
    """

    name = "daytona"
    activities = frozenset(Activity)

    def __init__(
        self,
        *,
        api_key: str,
        fleet: str,
        snapshot: str,
        tokens: MachineTokens,
        api_url: str = "",
        target: str = "",
        os_sha: str = "",
        timeout: float = 120,
        refresh_timeout: float = LIMIT,
        git_token_file: Path | None = None,
    ) -> None:
        self._api_key = api_key
        self._api_url = api_url or "https://app.daytona.io/api"
        self._target = target
        self._fleet = fleet
        self._snapshot = snapshot
        self._tokens = tokens
        self._os_sha = os_sha
        self._timeout = timeout
        self._refresh_timeout = refresh_timeout
        self._git_token_file = git_token_file
        self._client: AsyncDaytona | None = None
        self._connecting = asyncio.Lock()

    async def machines(self) -> Sequence[FoundMachine]:
        from daytona import ListSandboxesQuery  # noqa: PLC0415 - the SDK takes seconds to import

        async with self._cloud("list the machines") as daytona:
            query = ListSandboxesQuery(labels={LABEL_FLEET: self._fleet})
            return [_found(sandbox) async for sandbox in daytona.list(query)]

    async def create(self, spec: MachineSpec) -> FoundMachine:
        from daytona import CreateSandboxFromSnapshotParams  # noqa: PLC0415 - as above

        salt = new_salt()
        env = checked(spec.env) | {"REFRESHD_TOKEN": self._tokens.token_for(salt), "REFRESHD_ENVIRONMENT": "daytona"}
        if self._os_sha:
            env["ITERATE_GIT_SHA"] = self._os_sha
        params = CreateSandboxFromSnapshotParams(
            name=f"refreshd-{self._fleet}-{spec.name}",
            snapshot=self._snapshot or None,
            env_vars=env,
            labels={LABEL_FLEET: self._fleet, LABEL_NAME: spec.name, LABEL_SALT: salt},
            auto_stop_interval=NEVER,
            public=False,
        )
        async with self._cloud(f"create the machine {spec.name}") as daytona:
            return _found(await daytona.create(params, timeout=self._timeout))

    async def start(self, ref: str) -> None:
        async with self._sandbox("start the machine", ref) as sandbox:
            await sandbox.start(timeout=self._timeout)

    async def stop(self, ref: str) -> None:
        async with self._sandbox("stop the machine", ref) as sandbox:
            await sandbox.stop(timeout=self._timeout)

    async def restart(self, ref: str) -> None:
        async with self._sandbox("restart the machine", ref) as sandbox:
            await sandbox.stop(timeout=self._timeout)
            await sandbox.start(timeout=self._timeout)

    async def archive(self, ref: str) -> None:
        async with self._sandbox("archive the machine", ref) as sandbox:
            if _state(sandbox) is MachineState.RUNNING:
                await sandbox.stop(timeout=self._timeout)
            await sandbox.archive()

    async def delete(self, ref: str) -> None:
        async with self._sandbox("delete the machine", ref) as sandbox:
            await sandbox.delete(timeout=self._timeout, wait=True)

    async def preview_url(self, ref: str) -> Preview | None:
        """The link's token changes when a sandbox is started again, so it is asked for each time."""
        async with self._sandbox("look at the machine", ref) as sandbox:
            if _state(sandbox) is not MachineState.RUNNING:
                return None
            link = await sandbox.get_preview_link(DAEMON_PORT)
            salt = sandbox.labels.get(LABEL_SALT, "")
        return Preview(url=link.url, headers={PREVIEW_HEADER: link.token}, token=self._tokens.token_for(salt))

    async def display_info(self, machine: FoundMachine) -> Sequence[Fact]:
        async with self._sandbox("look at the machine", machine.ref) as sandbox:
            return (
                Fact(label="Sandbox", value=sandbox.id),
                Fact(label="Snapshot", value=sandbox.snapshot or "the default one"),
                Fact(label="Region", value=sandbox.target),
                Fact(label="Size", value=f"{sandbox.cpu:g} CPU, {sandbox.memory:g} GiB, disk {sandbox.disk:g} GiB"),
            )

    async def commands(self, machine: FoundMachine) -> Sequence[ShellCommand]:
        inside = f"daytona exec {machine.ref} --"
        return (
            ShellCommand(label="Terminal", command=f"daytona ssh {machine.ref}"),
            ShellCommand(label="Logs", command=f"{inside} tail -n 100 -f /var/log/refreshd/current"),
            ShellCommand(label="Service status", command=f"{inside} refreshd status"),
        )

    async def refresh_code(
        self, ref: str, target_ref: str, *, key: str = "", watcher: Watcher | None = None
    ) -> RefreshResult:
        preview = await self.preview_url(ref)
        if preview is None:
            return RefreshResult(success=False, outcome="stopped", message="cannot refresh a sandbox that is stopped")
        return await refresh_by(
            preview,
            target_ref,
            key=key,
            watcher=watcher,
            limit=self._refresh_timeout,
            git_token=await self.git_token(),
        )

    async def git_token(self) -> str | None:
        """Read for each refresh: such tokens live an hour, and the one that a sandbox was created with has expired."""
        if self._git_token_file is None:
            return None
        try:
            return await asyncio.to_thread(read_secret, self._git_token_file)
        except ConfigurationError as error:
            action = "refresh the machine"
            raise ProviderError(action=action, provider="the control plane", reason=error.problems) from None

    async def close(self) -> None:
        if self._client:
            await self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    @asynccontextmanager
    async def _sandbox(self, action: str, ref: str) -> AsyncIterator["AsyncSandbox"]:
        async with self._cloud(action, ref) as daytona:
            yield await daytona.get(ref)

    @asynccontextmanager
    async def _cloud(self, action: str, ref: str = "") -> AsyncIterator["AsyncDaytona"]:
        """Daytona's errors in our words; an answer of theirs may quote what we sent, so the key is taken out."""
        from daytona import DaytonaError, DaytonaNotFoundError, DaytonaTimeoutError  # noqa: PLC0415 - as above

        try:
            async with asyncio.timeout(self._timeout * 2):
                yield await self._connected()
        except (TimeoutError, DaytonaTimeoutError):
            raise ProviderTimeoutError(action=action, provider="Daytona", seconds=self._timeout) from None
        except DaytonaNotFoundError:
            raise MachineNotFoundError(machine=ref) from None
        except DaytonaError as error:
            reason = redacted(str(error), (self._api_key,))[:500]
            raise ProviderError(action=action, provider="Daytona", reason=reason) from None

    async def _connected(self) -> "AsyncDaytona":
        """Made in a thread: the SDK's constructor reads files."""
        async with self._connecting:
            if self._client is None:
                self._client = await asyncio.to_thread(self._connect)
            return self._client

    def _connect(self) -> "AsyncDaytona":
        from daytona import AsyncDaytona, DaytonaConfig  # noqa: PLC0415 - as above

        config = DaytonaConfig(api_key=self._api_key, api_url=self._api_url, target=self._target or None)
        return AsyncDaytona(config)


def _state(sandbox: "AsyncSandbox") -> MachineState:
    return _STATES.get(sandbox.state.value if sandbox.state else "", MachineState.UNKNOWN)


def _found(sandbox: "AsyncSandbox") -> FoundMachine:
    return FoundMachine(
        ref=sandbox.id,
        name=sandbox.labels.get(LABEL_NAME) or sandbox.name,
        kind="daytona",
        state=_state(sandbox),
        detail=sandbox.error_reason or (sandbox.state.value if sandbox.state else ""),
    )
