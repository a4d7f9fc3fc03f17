"""The commit that is checked out already, known without the remote: HEAD names it, and no file differs from it."""

import asyncio
from pathlib import Path

from daemon.head import look
from daemon.models import Changes
from daemon.refs import Ref, RefKind
from daemon.sources import Staged
from daemon.sources.checkout import UNMODIFIED, git_in
from daemon.sources.git.tree import LIST, GitTree, has_gitmodules
from daemon.tasks import together


async def present(repo: Path, ref: Ref, limit: float) -> Staged | None:
    """None for what needs a closer look: another commit, files that differ, submodules. `limit` is in seconds.

    Raises CommandFailedError where git cannot look.
    """
    if ref.kind is not RefKind.COMMIT or await asyncio.to_thread(look, repo) != (None, ref.name):
        return None
    git = await git_in(repo, limit=limit)
    changed, listed = await together(git(*UNMODIFIED), git(*LIST, ref.name))
    if changed.stdout or has_gitmodules(listed.stdout):
        return None
    tree = GitTree(git=git, commit=ref.name, listed=listed.stdout)
    return Staged(commit=ref.name, ref=None, tree=tree, current=True, changes=Changes())
