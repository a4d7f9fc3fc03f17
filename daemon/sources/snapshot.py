"""The source of a rollback: what the checkout held before an earlier update, out of its snapshot. No network."""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from daemon import gitdir
from daemon.errors import CheckoutError, NothingToRollBackError
from daemon.full_disk import disk_full_blamed
from daemon.git import Git
from daemon.models import Update
from daemon.refs import Ref
from daemon.snapshots import Snapshots
from daemon.sources import Staged
from daemon.trees import narrowed


class SnapshotTree:
    """The files of a snapshot."""

    def __init__(self, git: Git, tree: str) -> None:
        self._git = git
        self._tree = tree

    async def find(self, match: Callable[[str], bool], *, ends: Sequence[str] = (), below: str = "") -> dict[str, str]:
        listed = (await self._git("ls-tree", "-r", "-z", self._tree)).stdout
        found = narrowed(listed, ends=ends, below=b"\t" + os.fsencode(below) if below else b"")
        lines = (line.decode("utf-8", "surrogateescape").partition("\t") for line in found)
        files = {name: facts.split()[2] for facts, _, name in lines if facts.split()[1] == "blob"}
        return {name: blob for name, blob in files.items() if match(name)}

    async def read(self, path: str) -> bytes | None:
        found = await self._git("cat-file", "blob", f"{self._tree}:{path}", ok_codes=(0, 128))
        return found.stdout if found.code == 0 else None


class SnapshotSource:
    """Goes back to the state before `update`: its files with the local edits of then, its HEAD, and an index to fit."""

    name = "snapshot"

    def __init__(self, *, repo: Path, snapshots: Snapshots, update: Update, timeout: float) -> None:
        self._repo = repo
        self._snapshots = snapshots
        self._update = update
        self._git = Git(folder=repo, timeout=timeout)

    async def prepare(self) -> None:
        return

    async def stage(self, ref: Ref) -> Staged:
        """Raises NothingToRollBackError for a snapshot that is not kept any more, DamagedSnapshotError."""
        tree = await self._tree()
        now = await self._snapshots.tree()
        await self._snapshots.trees.read(now, tree)
        head = (await self._git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", ok_codes=(0, 1))).text
        return Staged(
            commit=self._update.from_commit,
            ref=None,
            coming=await self._snapshots.trees.differing(now, tree),
            tree=SnapshotTree(self._snapshots.git(), tree),
            current=head == ref.name and now == tree,
        )

    async def apply(self, staged: Staged, *, pristine: bool = False) -> None:  # noqa: ARG002 - nothing is looked for
        """Raises CheckoutError, CommandFailedError, DamagedSnapshotError, NoSpaceError."""
        with disk_full_blamed(self._repo):
            await self._apply(staged)

    async def _apply(self, staged: Staged) -> None:
        tree = await self._tree()
        await self._snapshots.restore(tree)
        if staged.commit is None:
            return
        found = await asyncio.to_thread(gitdir.find, self._repo)
        if found is None:
            raise CheckoutError(path=str(self._repo), reason="it is not a git repository")
        await self._git("update-ref", "--no-deref", "HEAD", staged.commit)
        await self._git("read-tree", staged.commit)
        await self._move_submodules(tree)
        await self._git("update-index", "-q", "--refresh", ok_codes=(0, 1))

    async def _move_submodules(self, tree: str) -> None:
        """Each to the commit that the index names for it, without a network; then its files, which that overwrote."""
        here = [submodule.path for submodule in await self._snapshots.submodules() if submodule.above == self._repo]
        if here:
            git = replace(self._git, env={"GIT_LITERAL_PATHSPECS": "1"})
            await git("submodule", "--quiet", "update", "--force", "--no-fetch", "--recursive", "--", *here)
            await self._snapshots.restore(tree)

    async def _tree(self) -> str:
        tree = await self._snapshots.trees.of(self._update.snapshot) if self._update.snapshot else None
        if tree is None:
            raise NothingToRollBackError(update=self._update.id, reason="the snapshot before it is not kept any more")
        return tree
