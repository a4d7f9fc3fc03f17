"""Which pnpm runs.

A repository pins its pnpm in package.json, and pnpm would switch itself to that version at every call: over the network
(pnpm 10 checks the registry's signature each time, and hangs for minutes without one), and against a frozen lockfile
(pnpm 12 wants to record the version there). So the switch is off for every child. The pin is honoured all the same:
npm fetches the pinned version while staging, and `install` finds it on disk.
"""

import asyncio
import base64
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.errors import CommandFailedError, CommandTimeoutError, InstallError, ToolMissingError
from daemon.installers.scratch import scratch_folder
from daemon.log import get_logger
from daemon.process import Command, Result, run

VERSION_TIMEOUT = 60  # seconds
KEPT_VERSIONS = 2  # the one in use, and the one that an undo goes back to

ENVIRONMENT = {
    "CI": "true",  # nothing asks questions
    "PNPM_CONFIG_PM_ON_FAIL": "ignore",  # pnpm 11 and later: no switch
    "npm_config_manage_package_manager_versions": "false",  # pnpm 10: no switch; npm grumbles, but goes on
}

_PIN = re.compile(r"pnpm@(?P<version>\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)(?:\+(?P<kind>\w+)\.(?P<hash>[0-9a-fA-F]+))?")

log = get_logger()


@dataclass(frozen=True)
class Pin:
    """An exact version; `sha512` is the hexadecimal checksum of its tarball, where package.json names one."""

    version: str
    sha512: str | None = None


def pinned(manifest: bytes | None) -> Pin | None:
    """What the root package.json asks for. A range is no pin: the installed pnpm serves it."""
    asked = _manifest(manifest)
    engine = _mapping(_mapping(asked.get("devEngines")).get("packageManager"))
    for text in (asked.get("packageManager"), f"{engine.get('name')}@{engine.get('version')}"):
        if isinstance(text, str) and (match := _PIN.fullmatch(text)):
            checksum = match["hash"].lower() if match["kind"] == "sha512" else None
            return Pin(match["version"], checksum)
    return None


def is_for_another_manager(manifest: bytes | None) -> bool:
    """Says package.json that yarn, npm or bun manages this project? pnpm refuses to work in it then."""
    asked = _manifest(manifest).get("packageManager")
    return isinstance(asked, str) and not asked.startswith("pnpm@")


@dataclass(frozen=True, kw_only=True)
class Pnpm:
    """One pnpm. `note` says where it is not the one that was asked for."""

    program: str | Path = "pnpm"
    env: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    async def __call__(self, *words: str | Path, cwd: Path, timeout: float) -> Result:  # noqa: ASYNC109 - of the child
        """Raises what `process.run` raises."""
        command = Command(
            argv=(self.program, *words), cwd=cwd, timeout=timeout, env=self.env, shown=f"pnpm {words[0]}".rstrip()
        )
        return await run(command)


class Programs:
    """The pnpm of the image, and those that were fetched into `folder`. `path` is the PATH of the children."""

    def __init__(self, *, folder: Path, path: str, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._path = path
        self._env = env

    async def choose(self, pin: Pin | None) -> Pnpm:
        """The pinned pnpm if it is on disk, else that of the image with a note. No network."""
        if pin is None:
            return Pnpm(env=self._env)
        if await asyncio.to_thread(self._program(pin.version).exists):
            return self._fetched(self._program(pin.version))
        version = await self._image_version()
        note = f"package.json asks for pnpm {pin.version}, which could not be fetched; pnpm {version} was used instead"
        return Pnpm(env=self._env, note="" if version == pin.version else note)

    async def obtain(self, pin: Pin | None, npmrc: bytes | None, timeout: float) -> Pnpm:  # noqa: ASYNC109 - of the child
        """As `choose`, but fetches what is missing. A pin that cannot be had is not an error, a wrong checksum is.

        Raises InstallError.
        """
        chosen = await self.choose(pin)
        if pin is None or not chosen.note:
            return chosen
        try:
            await self._fetch(pin, npmrc, timeout)
        except (CommandFailedError, CommandTimeoutError, ToolMissingError) as error:
            log.warning("pinned pnpm not fetched", version=pin.version, reason=str(error), output=error.detail)
            return chosen
        return await self.choose(pin)

    async def _fetch(self, pin: Pin, npmrc: bytes | None, timeout: float) -> None:  # noqa: ASYNC109 - of the child
        async with scratch_folder(self._folder / "fetching") as aside:
            # the project's registry, if it names one
            await asyncio.to_thread((aside / ".npmrc").write_bytes, npmrc or b"")
            await run(
                Command(
                    argv=("npm", "install", "--prefix", aside, *_NPM_OPTIONS, f"pnpm@{pin.version}"),
                    cwd=aside,
                    timeout=timeout,
                    env=self._env,
                )
            )
            await asyncio.to_thread(_refuse_other_checksum, aside, pin)
            program = self._fetched(_program_in(aside))
            # its own post-install step may have been refused; what does not run is not kept
            answer = await program("--version", cwd=aside, timeout=VERSION_TIMEOUT)
            if answer.text.strip() == pin.version:
                await asyncio.to_thread(self._keep, aside, pin.version)

    def _keep(self, aside: Path, version: str) -> None:
        target = self._folder / version
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
        os.utime(target)
        versions = [folder for folder in self._folder.iterdir() if folder.is_dir()]
        for old in sorted(versions, key=lambda folder: folder.stat().st_mtime_ns)[:-KEPT_VERSIONS]:
            shutil.rmtree(old, ignore_errors=True)

    async def _image_version(self) -> str | None:
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        try:
            answer = await Pnpm(env=self._env)("--version", cwd=self._folder, timeout=VERSION_TIMEOUT)
        except (CommandFailedError, CommandTimeoutError, ToolMissingError):
            return None
        return answer.text.strip()

    def _program(self, version: str) -> Path:
        return _program_in(self._folder / version)

    def _fetched(self, program: Path) -> Pnpm:
        # scripts of packages call pnpm by name: it has to be the same one
        return Pnpm(program=program, env={**self._env, "PATH": f"{program.parent}:{self._path}"})


_NPM_OPTIONS = (
    "--no-save",
    "--no-audit",
    "--no-fund",
    "--no-update-notifier",
    "--ignore-scripts=false",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
)


def _program_in(folder: Path) -> Path:
    return folder / "node_modules" / ".bin" / "pnpm"


def _refuse_other_checksum(aside: Path, pin: Pin) -> None:
    if pin.sha512 and _sha512_of_fetched(aside) != pin.sha512:
        reason = f"the checksum of pnpm {pin.version} is not the one that package.json names"
        raise InstallError(installer="pnpm", reason=reason)


def _sha512_of_fetched(aside: Path) -> str:
    """Hexadecimal, as npm verified it; empty where npm knows no such checksum."""
    record = json.loads((aside / "node_modules" / ".package-lock.json").read_bytes())
    integrity: str = record["packages"]["node_modules/pnpm"].get("integrity", "")
    kind, _, checksum = integrity.partition("-")
    return base64.b64decode(checksum).hex() if kind == "sha512" else ""


def _manifest(content: bytes | None) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(content or b"{}"))
    except (ValueError, RecursionError):
        return {}  # pnpm will say what is wrong with it


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
