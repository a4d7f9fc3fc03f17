"""The commit that HEAD names, read as git stores it, without a git process, each time: it cannot be stale.

Whatever is stored in another way (packed refs, reftable, a symbolic chain) is asked of git and kept only as long as the
files that could have changed it are the same.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daemon import gitdir
from daemon.errors import RefreshdError
from daemon.log import get_logger
from daemon.stamps import Stamp, stamp

GIT_TIMEOUT = 30.0  # seconds
_RACY = 2.0  # seconds; a file changed this recently may change again without its time stamp showing it

_COMMIT = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64})\n?")

log = get_logger()


class Head:
    """The commit that `git rev-parse HEAD` names in a checkout; None where there is none yet."""

    def __init__(self, repo: Path) -> None:
        self._repo = repo
        self._asked: tuple[object, str | None] | None = None

    async def read(self) -> str | None:
        key, sha = look(self._repo)
        if sha or key is None:
            return sha
        if self._asked and self._asked[0] == key:
            return self._asked[1]
        sha = await self._ask_git()
        self._asked = (key, sha) if _settled(key) else None
        return sha

    def unchanged(self) -> Callable[[], bool]:
        """Asked later, it tells whether HEAD and its branch are as they are now, in whatever way git stores them."""
        found = gitdir.find(self._repo)
        branch = found.branch() if found else None
        files = [found.folder / "HEAD"] if found else []
        if found and branch:
            files += [found.folder / branch, found.common / branch, *_stored(found)]
        before = tuple(map(stamp, files))

        def same() -> bool:
            return tuple(map(stamp, files)) == before

        return same

    async def _ask_git(self) -> str | None:
        from daemon.git import Git  # noqa: PLC0415 - seldom needed for the first answer, and a third of its imports

        git = Git(folder=self._repo, timeout=GIT_TIMEOUT)
        try:
            result = await git("rev-parse", "--verify", "--quiet", "--end-of-options", "HEAD^{commit}", ok_codes=(0, 1))
        except RefreshdError as error:
            log.warning("git cannot tell the commit", error=str(error), detail=error.detail)
            return None
        return result.text or None


@dataclass(frozen=True)
class _Indirect:
    """What the answer of git depends on, where reading HEAD alone does not tell it."""

    head: bytes
    stamps: tuple[Stamp, ...]


def look(repo: Path) -> tuple[_Indirect | None, str | None]:
    """The commit as far as plain files tell it. (None, None): no repository. (key, None): git has to be asked."""
    found = gitdir.find(repo)
    head = found.head() if found else None
    if found is None or head is None:
        return None, None
    if commit := _COMMIT.fullmatch(head):
        return None, commit[1].decode()
    if branch := found.branch():
        loose = gitdir.read(found.folder / branch) or gitdir.read(found.common / branch)
        if loose and (commit := _COMMIT.fullmatch(loose)):
            return None, commit[1].decode()
    return _Indirect(head, tuple(map(stamp, (found.folder / "HEAD", *_stored(found))))), None


def _stored(found: gitdir.GitDir) -> tuple[Path, ...]:
    common = found.common
    return (common / "packed-refs", common / "reftable" / "tables.list", common / "refs" / "heads")


def _settled(key: _Indirect | None) -> bool:
    newest = max((stamp[3] for stamp in key.stamps if stamp), default=0) if key else 0
    return time.time_ns() - newest > _RACY * 1e9
