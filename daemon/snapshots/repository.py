"""The repository of snapshots: bare, in the state folder, with the checkout as its work tree and an index of its own.

So the checkout's repository is never written, and the second snapshot costs what changed. Its attributes switch every
conversion off: the bytes are those on disk.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from daemon import gitdir
from daemon.errors import CheckoutError
from daemon.files import write_atomically
from daemon.git import AUTHOR, Git
from daemon.gitdir import GitDir
from daemon.log import get_logger
from daemon.snapshots import submodules
from daemon.snapshots.submodules import Submodule

log = get_logger()

_LARGE = "4m"
_EXACT = b"* -text -filter -ident -eol -working-tree-encoding\n"


class SnapshotRepository:
    """In `folder`, of the checkout `repo`; `timeout` is in seconds and for each command."""

    def __init__(self, *, folder: Path, repo: Path, timeout: float) -> None:
        self.folder = folder
        self.index = folder / "refreshd-index"
        self.repo = repo
        self._timeout = timeout

    def git(self, *, config: dict[str, str] | None = None, env: dict[str, str] | None = None) -> Git:
        return Git(
            folder=self.repo,
            git_dir=self.folder,
            index=self.index,
            timeout=self._timeout,
            config={
                "core.bare": "false",
                "core.fsync": "committed,index,pack-metadata",
                "core.autocrlf": "false",
                "advice.addEmbeddedRepo": "false",
            }
            | (config or {}),
            env=AUTHOR | (env or {}),
        )

    async def git_with_checkout(self, inner: Sequence[Submodule] = ()) -> Git:
        """One that sees the objects of the checkout as well, and those of these submodules. Raises CheckoutError."""
        objects = [(await self.checkout()).objects, *await asyncio.to_thread(_objects, inner)]
        return self.git(env={"GIT_ALTERNATE_OBJECT_DIRECTORIES": ":".join(map(str, objects))})

    @property
    def checkout_git(self) -> Git:
        return Git(folder=self.repo, timeout=self._timeout)

    async def checkout(self) -> GitDir:
        """Raises CheckoutError."""
        found = await asyncio.to_thread(gitdir.find, self.repo)
        if found is None:
            raise CheckoutError(path=str(self.repo), reason="it is not a git repository")
        return found

    async def submodules(self) -> list[Submodule]:
        """Those whose files a snapshot holds as well."""
        return await submodules.checked_out(self.repo, limit=self._timeout)

    async def ensure(self) -> None:
        if await asyncio.to_thread((self.folder / "info" / "attributes").exists):
            return
        await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        await Git(folder=self.folder, timeout=self._timeout)("init", "--quiet", "--bare", "--template=", ".")
        await asyncio.to_thread((self.folder / "info").mkdir, exist_ok=True)
        await asyncio.to_thread(write_atomically, self.folder / "info" / "attributes", _EXACT)

    def tidy(self, inner: Sequence[Submodule]) -> None:
        """Before a look. Nobody else works here, and we hold the machine's lock: whoever left a lock is dead."""
        for lock in (self.index.with_name(f"{self.index.name}.lock"), self.folder / "packed-refs.lock"):
            with contextlib.suppress(FileNotFoundError):
                lock.unlink()
                log.warning("stale lock removed", path=str(lock))
        exclude = self.folder / "info" / "exclude"
        if (rules := submodules.excludes(inner)) != (gitdir.read(exclude) or b""):
            write_atomically(exclude, rules)

    def is_empty(self) -> bool:
        """An index of a checkout without files is no more than its header and its digest."""
        try:
            with self.index.open("rb") as file:
                header = file.read(12)
        except FileNotFoundError:
            return True
        return header[8:12] == bytes(4)


def how_to_store(*, much: bool) -> dict[str, str]:
    """What goes into a pack, and how much smaller it is made.

    Many new files, as the first time: in one pack they cost a fifth of what single objects do, each synced. Later,
    large files only, as they are: most of them cannot be made smaller, and trying takes most of a minute for 1 GB.
    """
    if much:
        return {"core.bigFileThreshold": "1", "pack.compression": "1"}
    return {"core.bigFileThreshold": _LARGE, "pack.compression": "0"}


def _objects(inner: Sequence[Submodule]) -> list[Path]:
    return [found.objects for submodule in inner if (found := gitdir.find(submodule.folder))]
