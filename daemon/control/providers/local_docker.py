"""Machines on a Docker engine: containers of one image with the host's repository mounted read-only.

Found by their labels, so nothing has to be remembered. The port is published on loopback only.
"""

import asyncio
import io
import json
import shlex
import tarfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiodocker import Docker, DockerError
from aiodocker.containers import DockerContainer

from daemon.client import Watcher
from daemon.control.errors import MachineNotFoundError, ProviderError, ProviderTimeoutError
from daemon.control.models import (
    Activity,
    Fact,
    FoundMachine,
    MachineState,
    RefreshResult,
    ShellCommand,
)
from daemon.control.providers import DAEMON_PORT, MachineSpec, Preview
from daemon.control.providers.asking import LIMIT, refresh_by
from daemon.control.providers.environment import checked
from daemon.control.providers.passwd import Owner, owner_of
from daemon.control.tokens import MachineTokens, new_salt

MOUNT = "/local-iterate-repo"
TOKEN_PLACE = "etc/refreshd/machine-token"  # noqa: S105 - where it is, below the root of the container
LABEL_FLEET = "dev.refreshd.fleet"
LABEL_NAME = "dev.refreshd.machine"
LABEL_SALT = "dev.refreshd.salt"
ARCHIVED = "-archived"  # behind a container's name: labels cannot be changed
STOP_SECONDS = 15

SHORT_ID = 12
_PORT = f"{DAEMON_PORT}/tcp"
_NOT_FOUND = 404
_STATES = {
    "created": MachineState.STOPPED,
    "running": MachineState.RUNNING,
    "paused": MachineState.STOPPED,
    "restarting": MachineState.STARTING,
    "removing": MachineState.STOPPING,
    "exited": MachineState.STOPPED,
    "dead": MachineState.FAILED,
}


class LocalDockerProvider:
    """`timeout` is for one call, in seconds. `os_sha` is told to each machine."""

    name = "local-docker"
    activities = frozenset(Activity)

    def __init__(
        self,
        *,
        url: str,
        fleet: str,
        image: str,
        repo: Path,
        tokens: MachineTokens,
        os_sha: str = "",
        timeout: float = 60,
        refresh_timeout: float = LIMIT,
    ) -> None:
        self._url = url
        self._fleet = fleet
        self._image = image
        self._repo = repo
        self._tokens = tokens
        self._os_sha = os_sha
        self._timeout = timeout
        self._refresh_timeout = refresh_timeout
        self._docker: Docker | None = None

    async def machines(self) -> Sequence[FoundMachine]:
        filters = json.dumps({"label": [f"{LABEL_FLEET}={self._fleet}"]})
        async with self._engine("list the machines") as docker:
            containers = await docker.containers.list(all="true", filters=filters)
        return [_found(container) for container in containers]

    async def create(self, spec: MachineSpec) -> FoundMachine:
        salt = new_salt()
        async with self._engine(f"create the machine {spec.name}") as docker:
            container = await docker.containers.create(self._config(spec, salt), name=self._container_name(spec.name))
            try:
                await self._hand_over_token(docker, container, salt)
                await container.start()
            except BaseException:
                # what cannot be asked is no machine; shielded, as this is where a time-out ends
                await asyncio.shield(container.delete(force=True, v=True))
                raise
            shown = await container.show()
        return _found_by_inspection(shown)

    async def start(self, ref: str) -> None:
        async with self._engine("start the machine", ref) as docker:
            container = docker.containers.container(ref)
            await self._rename(container, archived=False)
            await container.start()

    async def stop(self, ref: str) -> None:
        async with self._engine("stop the machine", ref) as docker:
            await docker.containers.container(ref).stop(t=STOP_SECONDS)

    async def restart(self, ref: str) -> None:
        async with self._engine("restart the machine", ref) as docker:
            await docker.containers.container(ref).restart(t=STOP_SECONDS)

    async def archive(self, ref: str) -> None:
        async with self._engine("archive the machine", ref) as docker:
            container = docker.containers.container(ref)
            await container.stop(t=STOP_SECONDS)
            await self._rename(container, archived=True)

    async def delete(self, ref: str) -> None:
        async with self._engine("delete the machine", ref) as docker:
            await docker.containers.container(ref).delete(force=True, v=True)

    async def preview_url(self, ref: str) -> Preview | None:
        async with self._engine("look at the machine", ref) as docker:
            shown = await docker.containers.container(ref).show()
        published = (shown["NetworkSettings"].get("Ports") or {}).get(_PORT)
        if not published:
            return None
        salt = shown["Config"]["Labels"].get(LABEL_SALT, "")
        return Preview(url=f"http://127.0.0.1:{published[0]['HostPort']}", token=self._tokens.token_for(salt))

    async def display_info(self, machine: FoundMachine) -> Sequence[Fact]:
        async with self._engine("look at the machine", machine.ref) as docker:
            shown = await docker.containers.container(machine.ref).show()
        published = (shown["NetworkSettings"].get("Ports") or {}).get(_PORT)
        address = f"http://127.0.0.1:{published[0]['HostPort']}" if published else "not published while it is stopped"
        return (
            Fact(label="Container", value=shown["Name"].lstrip("/")),
            Fact(label="Image", value=shown["Config"]["Image"]),
            Fact(label="Address", value=address),
            Fact(label="Repository", value=f"{self._repo} (read-only)"),
        )

    async def commands(self, machine: FoundMachine) -> Sequence[ShellCommand]:
        container = shlex.quote(machine.ref)
        return (
            ShellCommand(label="Terminal", command=f"docker exec --interactive --tty {container} bash"),
            ShellCommand(label="Logs", command=f"docker logs --follow --tail 100 {container}"),
            ShellCommand(label="Service status", command=f"docker exec {container} refreshd status"),
        )

    async def refresh_code(
        self, ref: str, target_ref: str, *, key: str = "", watcher: Watcher | None = None
    ) -> RefreshResult:
        preview = await self.preview_url(ref)
        if preview is None:
            return RefreshResult(success=False, outcome="stopped", message="cannot refresh a machine that is stopped")
        return await refresh_by(preview, target_ref, key=key, watcher=watcher, limit=self._refresh_timeout)

    async def close(self) -> None:
        if self._docker:
            await self._docker.close()
            self._docker = None

    def _config(self, spec: MachineSpec, salt: str) -> dict[str, Any]:
        env = checked(spec.env) | {"REFRESHD_TOKEN_FILE": f"/{TOKEN_PLACE}"}
        if self._os_sha:
            env["ITERATE_GIT_SHA"] = self._os_sha
        mount = {"Type": "bind", "Source": str(self._repo), "Target": MOUNT, "ReadOnly": True}
        return {
            "Image": self._image,
            "Env": [f"{name}={value}" for name, value in env.items()],
            "Labels": {LABEL_FLEET: self._fleet, LABEL_NAME: spec.name, LABEL_SALT: salt},
            "ExposedPorts": {_PORT: {}},
            "HostConfig": {
                "Mounts": [mount],
                "PortBindings": {_PORT: [{"HostIp": "127.0.0.1", "HostPort": ""}]},
                "RestartPolicy": {"Name": "unless-stopped"},
            },
        }

    async def _hand_over_token(self, docker: Docker, container: DockerContainer, salt: str) -> None:
        """As a file: `docker inspect` shows a container's variables to everybody who may ask the engine."""
        image = await docker.images.inspect(self._image)
        users = await container.get_archive("/etc/passwd")
        owner = owner_of(image["Config"].get("User") or "", _content(users))
        archive = _token_archive(self._tokens.token_for(salt), owner)
        await container.put_archive("/", archive)  # type: ignore[no-untyped-call]

    async def _rename(self, container: DockerContainer, *, archived: bool) -> None:
        name = (await container.show())["Name"].lstrip("/")
        wanted = name.removesuffix(ARCHIVED) + (ARCHIVED if archived else "")
        if wanted != name:
            await container.rename(wanted)

    def _container_name(self, name: str) -> str:
        return f"refreshd-{self._fleet}-{name}"

    @asynccontextmanager
    async def _engine(self, action: str, ref: str = "") -> AsyncIterator[Docker]:
        """The engine's errors in our words. The connection is made by the first call, inside of the loop."""
        self._docker = self._docker or Docker(url=self._url)
        try:
            async with asyncio.timeout(self._timeout):
                yield self._docker
        except TimeoutError:
            raise ProviderTimeoutError(action=action, provider="the Docker engine", seconds=self._timeout) from None
        except DockerError as error:
            if ref and error.status == _NOT_FOUND:
                raise MachineNotFoundError(machine=ref) from None
            raise ProviderError(action=action, provider="the Docker engine", reason=error.message) from None
        except (aiohttp.ClientError, OSError) as error:
            reason = f"it cannot be reached at {self._url} ({type(error).__name__})"
            raise ProviderError(action=action, provider="the Docker engine", reason=reason) from None


def _found(container: DockerContainer) -> FoundMachine:
    """From a list, where names are many and the state is a word."""
    return _machine(container.id, container["Names"][0], container["Labels"], container["State"], container["Status"])


def _found_by_inspection(shown: dict[str, Any]) -> FoundMachine:
    status = shown["State"]["Status"]
    return _machine(shown["Id"], shown["Name"], shown["Config"]["Labels"], status, status)


def _machine(ref: str, container: str, labels: dict[str, str], state: str, detail: str) -> FoundMachine:
    found = _STATES.get(state, MachineState.UNKNOWN)
    if container.endswith(ARCHIVED) and found is MachineState.STOPPED:
        found = MachineState.ARCHIVED
    return FoundMachine(ref=ref[:SHORT_ID], name=labels[LABEL_NAME], kind="local-docker", state=found, detail=detail)


def _content(archive: tarfile.TarFile) -> str:
    member = archive.next()
    file = archive.extractfile(member) if member else None
    return file.read().decode(errors="replace") if file else ""


def _token_archive(token: str, owner: Owner) -> bytes:
    archived = io.BytesIO()
    with tarfile.open(fileobj=archived, mode="w") as archive:
        folder = tarfile.TarInfo(str(Path(TOKEN_PLACE).parent))
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        file = tarfile.TarInfo(TOKEN_PLACE)
        file.mode, file.uid, file.gid, file.size = 0o400, owner.uid, owner.gid, len(token)
        archive.addfile(file, io.BytesIO(token.encode()))
    return archived.getvalue()
