"""Machines that somebody else owns, listed in a file: known by name and, where a daemon can be asked, by URL.

The file is read again each time; a token is named by the file that holds it, so that the list can be shown around.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from daemon.auth.tokens import read_secret
from daemon.client import Watcher, server_url
from daemon.control.errors import ActionUnsupportedError, MachineNotFoundError, ProviderError
from daemon.control.models import (
    Activity,
    Fact,
    FoundMachine,
    MachineKind,
    MachineName,
    MachineState,
    RefreshResult,
    ShellCommand,
)
from daemon.control.providers import MachineSpec, Preview
from daemon.control.providers.asking import LIMIT, UNSUPPORTED, refresh_by
from daemon.errors import ConfigurationError, in_words

MAX_FILE = 1024 * 1024  # bytes
REFRESHED: frozenset[MachineKind] = frozenset({"local-docker", "daytona"})


def _url(text: str) -> str:
    return str(server_url(text))


class Entry(BaseModel):
    """One machine. `local` runs the host's own code; `local-vanilla` has no daemon at all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: MachineName
    kind: MachineKind
    url: Annotated[str, AfterValidator(_url)] | None = None
    token_file: Path | None = None
    commands: tuple[ShellCommand, ...] = Field((), max_length=20)

    @model_validator(mode="after")
    def _can_be_asked(self) -> "Entry":
        if self.kind in REFRESHED and self.url is None:
            raise ValueError(f"a machine of the type {self.kind} needs a url")
        return self


class Inventory(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    machines: tuple[Entry, ...] = Field((), max_length=10_000)

    @pydantic.field_validator("machines")
    @classmethod
    def _distinct(cls, machines: tuple[Entry, ...]) -> tuple[Entry, ...]:
        names = [machine.name for machine in machines]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{twice} is listed twice")
        return machines


class InventoryProvider:
    name = "inventory"
    activities = frozenset({Activity.REFRESH, Activity.ROLLBACK})

    def __init__(self, path: Path, *, refresh_timeout: float = LIMIT) -> None:
        self._path = path
        self._refresh_timeout = refresh_timeout

    async def machines(self) -> Sequence[FoundMachine]:
        return [_found(entry) for entry in (await self._read()).machines]

    async def create(self, spec: MachineSpec) -> FoundMachine:
        raise ActionUnsupportedError(action="create", machine=spec.name, kind=self.name)

    async def start(self, ref: str) -> None:
        raise ActionUnsupportedError(action="start", machine=ref, kind=self.name)

    async def stop(self, ref: str) -> None:
        raise ActionUnsupportedError(action="stop", machine=ref, kind=self.name)

    async def restart(self, ref: str) -> None:
        raise ActionUnsupportedError(action="restart", machine=ref, kind=self.name)

    async def archive(self, ref: str) -> None:
        raise ActionUnsupportedError(action="archive", machine=ref, kind=self.name)

    async def delete(self, ref: str) -> None:
        raise ActionUnsupportedError(action="delete", machine=ref, kind=self.name)

    async def preview_url(self, ref: str) -> Preview | None:
        entry = await self._entry(ref)
        if entry.url is None:
            return None
        try:
            token = await asyncio.to_thread(read_secret, entry.token_file) if entry.token_file else None
        except ConfigurationError as error:
            raise ProviderError(action="ask the machine", provider="the inventory", reason=error.problems) from None
        return Preview(url=entry.url, token=token)

    async def display_info(self, machine: FoundMachine) -> Sequence[Fact]:
        entry = await self._entry(machine.ref)
        return (Fact(label="Address", value=entry.url or "no daemon"), Fact(label="Inventory", value=str(self._path)))

    async def commands(self, machine: FoundMachine) -> Sequence[ShellCommand]:
        return (await self._entry(machine.ref)).commands

    async def refresh_code(
        self, ref: str, target_ref: str, *, key: str = "", watcher: Watcher | None = None
    ) -> RefreshResult:
        entry = await self._entry(ref)
        preview = await self.preview_url(ref)
        if entry.kind not in REFRESHED or preview is None:
            return UNSUPPORTED
        return await refresh_by(preview, target_ref, key=key, watcher=watcher, limit=self._refresh_timeout)

    async def close(self) -> None:
        pass

    async def _entry(self, ref: str) -> Entry:
        for entry in (await self._read()).machines:
            if entry.name == ref:
                return entry
        raise MachineNotFoundError(machine=ref)

    async def _read(self) -> Inventory:
        try:
            content = await asyncio.to_thread(_bounded, self._path)
            return Inventory.model_validate_json(content)
        except ValidationError as error:
            reason = in_words(error)
        except OSError as error:
            reason = f"{self._path} cannot be read ({type(error).__name__})"
        raise ProviderError(action="list the machines", provider="the inventory", reason=reason)


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_FILE)


def _found(entry: Entry) -> FoundMachine:
    """Nobody tells us whether it runs; its daemon's answer does."""
    return FoundMachine(ref=entry.name, name=entry.name, kind=entry.kind, state=MachineState.UNKNOWN)
