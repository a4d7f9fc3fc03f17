"""Commits that were tried and did not run: refused until somebody asks for one with force."""

import asyncio
import json
from pathlib import Path

from daemon.errors import RefreshdError
from daemon.files import write_atomically
from daemon.log import get_logger

KEPT = 100
# what says something about the code; a dead network says nothing about it
_CODES = frozenset({"check_failed", "verify_failed", "crash_loop"})

log = get_logger()


class BadTargets:
    """Commit → sentence, in one small file. A file that cannot be read is an empty one: updates must stay possible."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def reason(self, commit: str | None) -> str | None:
        return (await asyncio.to_thread(self._read)).get(commit or "")

    async def remember(self, commit: str | None, error: RefreshdError) -> None:
        """Does nothing for an error that is not the commit's fault."""
        if commit is not None and error.code in _CODES:
            await asyncio.to_thread(self._change, commit, str(error))

    async def forget(self, commit: str | None) -> None:
        if commit is not None and await self.reason(commit):
            await asyncio.to_thread(self._change, commit, None)

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            log.warning("bad targets cannot be read, none is refused", error=str(error))
            return {}
        return {str(commit): str(reason) for commit, reason in found.items()} if isinstance(found, dict) else {}

    def _change(self, commit: str, reason: str | None) -> None:
        known = {name: kept for name, kept in self._read().items() if name != commit}
        if reason is not None:
            known[commit] = reason
        write_atomically(self._path, json.dumps(dict(list(known.items())[-KEPT:])).encode())
