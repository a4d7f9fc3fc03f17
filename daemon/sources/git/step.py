"""From one commit to another at the cost of what differs: for a checkout in which nothing was edited.

`git checkout` looks at every file, to find edits. Here they have just been looked for, and git compares the files alone
that it writes. Where it meets an edit that came since, it refuses before it touches anything.
"""

import asyncio
from pathlib import Path

from daemon.sources.checkout import Repository
from daemon.tasks import together

_ANY = range(256)
# of a merge or the like that is under way, which a checkout ends
_UNDER_WAY = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "MERGE_MSG", "SQUASH_MSG", "AUTO_MERGE")


async def step(repository: Repository, commit: str) -> bool:
    """Files, index and a detached HEAD are those of the commit.

    False where it takes a checkout; only HEAD may have moved then. Raises CommandTimeoutError.
    """
    head, git = repository.head, repository.git
    if head is None or await asyncio.to_thread(_is_under_way, repository.git_dir):
        return False
    # as a checkout says it: `git checkout -` goes by that
    message = f"checkout: moving from {(repository.branch or head).removeprefix('refs/heads/')} to {commit}"
    moved, named = await together(
        # HEAD moves meanwhile, so both are told by their ids
        git("read-tree", "-m", "-u", head, commit, ok_codes=_ANY),
        git("update-ref", "--no-deref", "-m", message, "HEAD", commit, head, ok_codes=_ANY),
    )
    return not moved.code and not named.code


def _is_under_way(git_dir: Path) -> bool:
    return any((git_dir / name).exists() for name in _UNDER_WAY)
