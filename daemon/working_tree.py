"""Whether the files of the checkout differ from its commit, and an id of what they hold."""

import asyncio
import hashlib
import os
import stat
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from daemon.errors import RefreshdError
from daemon.git import Git
from daemon.head import GIT_TIMEOUT
from daemon.log import get_logger
from daemon.models import now

SERVES_FOR = 1.0  # seconds after its end that one look serves every caller
FRESH_FOR = 0.5  # seconds, after which the next caller begins another one
MOST_FILES = 1000  # that differ; with more of them, or larger ones, there is no id
MOST_BYTES = 64 * 1024 * 1024

log = get_logger()


@dataclass(frozen=True)
class Look:
    """What was seen at a moment; None for what git cannot tell.

    Equal ids mean equal files, apart from what git ignores. `tree_id` is the tree of the commit while nothing differs.
    """

    at: datetime | None
    dirty: bool | None
    tree_id: str | None = None
    ended: float = field(default_factory=time.monotonic, compare=False)

    def serves(self) -> bool:
        return time.monotonic() - self.ended < SERVES_FOR

    def fresh(self) -> bool:
        return time.monotonic() - self.ended < FRESH_FOR


class WorkingTree:
    def __init__(self, repo: Path) -> None:
        self._repo = repo
        self._git = Git(folder=repo, timeout=GIT_TIMEOUT)
        self._looking: asyncio.Task[Look] | None = None
        self._looked_for = ""
        self._tree: tuple[str, str] = ("", "")

    async def look(self, sha: str) -> Look:
        """`sha` is the commit that HEAD names now."""
        looking = self._looking
        if looking is None or self._looked_for != sha or (looking.done() and not _is_fresh(looking)):
            looking = self._looking = asyncio.create_task(self._look(sha))
            self._looked_for = sha
        return await asyncio.shield(looking)

    async def _look(self, sha: str) -> Look:
        moment = now()
        try:
            listed = await self._git("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
            tree = await self._tree_of(sha)
        except RefreshdError as error:
            log.warning("git cannot tell the state of the working tree", error=str(error), detail=error.detail)
            return Look(moment, None)
        differing = sorted(line[3:] for line in listed.stdout.split(b"\0") if line)
        if not differing:
            return Look(moment, dirty=False, tree_id=tree)
        return Look(moment, dirty=True, tree_id=await asyncio.to_thread(_id, tree, self._repo, differing))

    async def _tree_of(self, sha: str) -> str:
        if self._tree[0] != sha:
            found = await self._git("rev-parse", "--verify", "--end-of-options", f"{sha}^{{tree}}")
            self._tree = (sha, found.text)
        return self._tree[1]


def _is_fresh(looking: asyncio.Task[Look]) -> bool:
    """One that met a defect is not looked at again: the next caller begins another."""
    return not looking.cancelled() and looking.exception() is None and looking.result().fresh()


def _id(tree: str, repo: Path, differing: list[bytes]) -> str | None:
    """Of a tree and of the files that differ from it, by path, kind and content."""
    digest = hashlib.sha256(tree.encode())
    room = MOST_BYTES
    try:
        for path in differing[: MOST_FILES + 1]:
            kind, content = _read(os.fsencode(repo) + b"/" + path, room)
            room -= len(content)
            digest.update(b"\0%s\0%s\0%s" % (path, kind, hashlib.sha256(content).digest()))
    except _NoIdError:
        return None
    return digest.hexdigest() if len(differing) <= MOST_FILES else None


class _NoIdError(Exception):
    """Something that has no content of its own, such as another repository, or more than is worth reading."""


def _read(path: bytes, room: int) -> tuple[bytes, bytes]:
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return b"link", os.readlink(path)  # noqa: PTH115 - a name may hold any bytes
        if not stat.S_ISREG(status.st_mode) or status.st_size > room:
            raise _NoIdError
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            content = file.read(room + 1)
    except (FileNotFoundError, NotADirectoryError):
        return b"gone", b""
    except OSError:
        raise _NoIdError from None
    if len(content) > room:
        raise _NoIdError
    return (b"program" if status.st_mode & stat.S_IXUSR else b"file"), content
