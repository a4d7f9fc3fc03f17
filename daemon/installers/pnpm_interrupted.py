"""What an install that did not come to its end has left in `node_modules`, and how the next one is made to mend it.

pnpm trusts its own record, node_modules/.pnpm/lock.yaml, and writes it last. Ended before that, it leaves links that
are on no record, or lacks some that are, and the next install finds everything up to date. What is there then lies
between what had been complete and what was aimed at. So where one of the two is wanted next, the record is made the
other's: pnpm removes what only that one has and links what only this one has. In every other case there is no record,
and pnpm links all that it needs. Packages stay where they are, for it may be the only place for some.
"""

import asyncio
import contextlib
import shutil
from pathlib import Path

from daemon.files import write_atomically
from daemon.installers.kept import content_of
from daemon.installers.markers import Marker
from daemon.log import get_logger
from daemon.models import Shape

_PNPM = Path("node_modules/.pnpm")
_RECORD = _PNPM / "lock.yaml"
# made anew by every install that has work to do; the other one lets pnpm skip the work
_HOISTED, _SHORTCUT = _PNPM / "node_modules", Path("node_modules/.pnpm-workspace-state-v1.json")

log = get_logger()


class _Begun(Shape):
    """Fingerprints. `complete` is that of what `node_modules` was before; None when nobody knows."""

    complete: str | None
    aim: str


class Interrupted:
    """Remembers in `folder` what an install began with. `lockfile` is the checkout's."""

    def __init__(self, *, repo: Path, lockfile: Path, folder: Path) -> None:
        self._repo = repo
        self._lockfile = lockfile
        self._begun = Marker(folder / "begun.json", _Begun)
        self._complete = folder / "begun.complete.yaml"
        self._aim = folder / "begun.aim.yaml"

    async def begin(self, fingerprint: str, *, complete: str | None) -> None:
        """To be called before an install of `fingerprint`; mends what the last one left, if that did not end well.

        `complete` is the fingerprint of what is installed, None when that is not known. Raises NoSpaceError.
        """
        begun = await self._begun.read()
        if complete is None and begun:
            other = self._other_than(fingerprint, begun)
            await asyncio.to_thread(self._mend, other)
            if other:
                return  # and if this one is interrupted too, the same will mend it
            await self._begun.remove()
        await asyncio.to_thread(self._remember)
        await self._begun.write(_Begun(complete=complete, aim=fingerprint))

    async def end(self) -> None:
        """The install has ended well."""
        await self._begun.remove()

    def _other_than(self, fingerprint: str, begun: _Begun) -> Path | None:
        if begun.complete is None:
            return None
        return {begun.complete: self._aim, begun.aim: self._complete}.get(fingerprint)

    def _remember(self) -> None:
        self._aim.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._complete, content_of(self._repo / _RECORD) or b"")
        write_atomically(self._aim, content_of(self._lockfile) or b"")

    def _mend(self, record: Path | None) -> None:
        if not (self._repo / _RECORD).is_file():
            return
        log.warning("an install was interrupted, and node_modules is looked through")
        if content := content_of(record) if record else None:
            write_atomically(self._repo / _RECORD, content, mode=0o644)
        else:
            (self._repo / _RECORD).unlink()
        with contextlib.suppress(FileNotFoundError):
            (self._repo / _SHORTCUT).unlink()
        shutil.rmtree(self._repo / _HOISTED, ignore_errors=True)
