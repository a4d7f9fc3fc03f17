"""Trees that snapshots hold: what they differ in, what is in them, and how files become what they are in one."""

import asyncio
from collections.abc import Sequence

from daemon.difference import Difference
from daemon.errors import CommandFailedError, DamagedSnapshotError
from daemon.git import Git, parse_changes
from daemon.models import Changes
from daemon.snapshots import base
from daemon.snapshots.repository import SnapshotRepository
from daemon.snapshots.touched import put_in_index, tells_all

DIFFERENCE = ("diff-tree", "-r", "-z", "--no-renames", "--name-status")


class Trees:
    """Nothing here looks at the whole checkout."""

    def __init__(self, repository: SnapshotRepository) -> None:
        self._repository = repository

    async def changes(self, before: str, after: str) -> Changes:
        """What differs between two trees, by content."""
        return parse_changes((await self._git()(*DIFFERENCE, before, after)).stdout)

    async def differing(self, before: str, after: str) -> frozenset[bytes]:
        """The names of all files that differ between two trees, one of which may be a commit's of the checkout."""
        git = await self._repository.git_with_checkout()
        return frozenset((await git(*DIFFERENCE, before, after)).stdout.split(b"\0")[1::2])

    async def edited(self, tree: str) -> bool:
        """Whether a file of a tree is not on disk as it is there. For the holder of the machine's lock."""
        git = await self._repository.git_with_checkout()
        # a new file that the index does not have would look like one that is gone
        unknown = (await git("diff-index", "--cached", "-z", "--no-renames", "--name-only", tree)).stdout
        await put_in_index(self._git(), unknown.split(b"\0")[:-1])
        words = ("diff", "--quiet", "--no-ext-diff", "--no-renames", "--ignore-submodules", tree)
        return bool((await git(*words, ok_codes=(0, 1))).code)

    async def reached(self, before: str, after: str) -> bool:
        """Whether what differs between two trees is on disk as the second has it, asked of those files alone.

        False also where they do not tell it.
        """
        git = await self._repository.git_with_checkout()
        raw = (await git("diff-tree", "-r", "-z", "--no-renames", "--raw", before, after)).stdout
        return await self.holds(Difference(after, raw))

    async def holds(self, step: Difference) -> bool:
        """The same of a difference that is known."""
        return tells_all(step.names) and await asyncio.to_thread(step.is_on_disk, self._repository.repo)

    async def changed_since(self, commit: str, tree: str) -> Changes:
        """What a tree holds that a commit of the checkout, and those of its submodules, do not: local edits."""
        return parse_changes(await self.edits(commit, tree) or b"")

    async def edited_since(self, commit: str, tree: str) -> frozenset[bytes]:
        """The names of all of them."""
        return frozenset((await self.edits(commit, tree) or b"").split(b"\0")[1::2])

    async def edits(self, commit: str | None, tree: str) -> bytes | None:
        """The same as git tells it: status, name, status, name, and so on. None without a commit."""
        if commit is None:
            return None
        inner = await self._repository.submodules()
        git = await self._repository.git_with_checkout(inner)
        before = await base.with_submodules(git, commit, inner) if inner else f"{commit}^{{tree}}"
        return (await git(*DIFFERENCE, before, tree)).stdout

    async def commit(self, tree: str, message: str) -> str:
        """Makes one of a tree. No ref leads to it yet."""
        return (await self._git()("commit-tree", tree, stdin=message.encode())).text

    async def walk(self, tree: str) -> None:
        """The way back reads all of it: what is damaged has to be noticed before it is needed.

        Raises CommandFailedError.
        """
        await self._git()("ls-tree", "-r", "-t", "-z", "--object-only", tree)

    async def read(self, before: str, after: str) -> None:
        """Reads every file that has to change to get from one tree to the other. Raises DamagedSnapshotError."""
        try:
            await self._git()("diff-tree", "-r", "--no-renames", "--numstat", before, after)
        except CommandFailedError as error:
            raise DamagedSnapshotError(snapshot=after, detail=error.detail) from error

    async def check_out(self, tree: str) -> None:
        """Makes the files those of a tree, as far as the index, which has to be up to date, says that they differ."""
        await self._git()("read-tree", "-u", "--reset", tree)

    async def restore_files(self, tree: str, names: Sequence[bytes]) -> None:
        """Makes these files what they are in a tree. Names are literal; each of them has to be in the tree."""
        words = ("restore", f"--source={tree}", "--worktree", "--pathspec-from-file=-", "--pathspec-file-nul")
        git = self._repository.git(env={"GIT_LITERAL_PATHSPECS": "1"})
        await git(*words, stdin=b"".join(name + b"\0" for name in names))

    async def names(self, tree: str) -> list[bytes]:
        """Of all files in a tree; an embedded repository is recorded as a pointer, and is left out."""
        listed = (await self._git()("ls-tree", "-r", "-z", tree)).stdout.split(b"\0")
        lines = (line.partition(b"\t") for line in listed if line)
        return [name for facts, _, name in lines if not facts.startswith(b"160000 ")]

    async def of(self, commit: str) -> str | None:
        """None for a snapshot that is not kept any more."""
        found = await self._git()("rev-parse", "--verify", "--quiet", f"{commit}^{{tree}}", ok_codes=(0, 1, 128))
        return found.text if found.code == 0 else None

    def _git(self) -> Git:
        return self._repository.git()
