"""What s6 supervises in this machine, and how it is. Asked of s6's own programs: its files are not an interface."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import RefreshdError
from daemon.process import Command, run

OURS = "refreshd"
# plain s6 as entry.sh lays it out, then s6-overlay
SCAN_DIRECTORIES = ("service", "/run/service")

_TIMEOUT = 5.0  # seconds
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:+-]{0,100}")
_FIELDS = "up,wantedup,ready,paused,pid,exitcode,updownfor"


def is_service_name(text: str) -> bool:
    """One path component, and no option of a program."""
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """`since` is for how many seconds it has been up or down; `exit_code` is of its last death, None where unknown."""

    up: bool
    wanted_up: bool
    ready: bool
    paused: bool
    pid: int | None
    exit_code: int | None
    since: int


class ScanDirectory:
    """The folder that s6-svscan watches: the first one that there is."""

    def __init__(self, run_dir: Path, candidates: Sequence[str] = SCAN_DIRECTORIES) -> None:
        self._candidates = tuple(run_dir / name for name in candidates)

    async def names(self) -> list[str]:
        """The services in it, sorted; none where this machine has no s6."""
        return await asyncio.to_thread(self._names)

    async def status(self, name: str) -> ServiceStatus | None:
        """None where nothing supervises it, or where this user may not know."""
        folder = await asyncio.to_thread(self._find)
        return await self._status(folder / name) if folder and is_service_name(name) else None

    async def logger(self, name: str) -> ServiceStatus | None:
        """Of the service that reads what the service says."""
        folder = await asyncio.to_thread(self._find)
        return await self._status(folder / name / "log") if folder and is_service_name(name) else None

    async def _status(self, folder: Path) -> ServiceStatus | None:
        command = Command(argv=("s6-svstat", "-o", _FIELDS, folder), cwd=Path("/"), timeout=_TIMEOUT)
        try:
            words = (await run(command)).text.split()
        except RefreshdError:
            return None
        return _parse(words)

    def _names(self) -> list[str]:
        folder = self._find()
        if folder is None:
            return []
        return sorted(path.name for path in folder.iterdir() if is_service_name(path.name) and path.is_dir())

    def _find(self) -> Path | None:
        return next((folder for folder in self._candidates if folder.is_dir()), None)


def _parse(words: Sequence[str]) -> ServiceStatus | None:
    if len(words) != len(_FIELDS.split(",")):
        return None
    up, wanted_up, ready, paused, pid, exit_code, since = words
    return ServiceStatus(
        up=up == "true",
        wanted_up=wanted_up == "true",
        ready=ready == "true",
        paused=paused == "true",
        pid=int(pid) if int(pid) > 0 else None,
        exit_code=int(exit_code) if int(exit_code) >= 0 else None,
        since=int(since),
    )
