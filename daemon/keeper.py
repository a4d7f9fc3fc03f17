"""Names for what only HEAD or the index of a checkout leads to: an update moves both, and git forgets what has none."""

import asyncio
from pathlib import Path

from daemon import gitdir
from daemon.git import AUTHOR, Git

KEPT = "refs/refreshd/kept/"
TIMEOUT = 30.0  # seconds


class Keeper:
    """To be asked before HEAD and the index move."""

    def __init__(self, repo: Path) -> None:
        self._repo = repo
        self._git = Git(folder=repo, timeout=TIMEOUT, env=AUTHOR)

    async def keep_commit(self, head: str) -> str | None:
        """Its name from now on; None where HEAD, which is at it, is on a branch, or where something else leads to it.

        Raises CommandFailedError.
        """
        if not await asyncio.to_thread(_is_detached, self._repo):
            return None
        words = ("for-each-ref", "--count=1", "--format=%(refname)", f"--contains={head}")
        # where a ref is broken git cannot tell, and a name too many does no harm
        if (await self._git(*words, ok_codes=range(256))).stdout:
            return None
        return await self._name(head)

    async def keep_staged(self, head: str, label: str) -> str | None:
        """The name of a commit of the index, on top of `head`; None where the files hold all that is staged.

        Raises CommandFailedError.
        """
        names = ("-z", "--name-only", "--no-renames", "--ignore-submodules")
        staged = set((await self._git("diff-index", "--cached", *names, head)).stdout.split(b"\0")[:-1])
        if not staged or staged.isdisjoint((await self._git("diff-files", *names)).stdout.split(b"\0")):
            return None
        tree = await self._git("write-tree", ok_codes=(0, 128))
        if tree.code:
            # in a conflict, what is staged are versions of commits
            return None
        return await self._name((await self._git("commit-tree", "-p", head, tree.text, stdin=label.encode())).text)

    async def _name(self, commit: str) -> str:
        await self._git("update-ref", f"{KEPT}{commit}", commit)
        return f"{KEPT}{commit}"


def _is_detached(repo: Path) -> bool:
    found = gitdir.find(repo)
    return found is not None and found.branch() is None
