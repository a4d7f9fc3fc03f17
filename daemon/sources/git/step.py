"""From one commit to another at the cost of what differs: for a checkout in which nothing was edited.

`git checkout` looks at every file, to find edits. Here they have just been looked for, and git compares the files alone
that it writes. Where it meets an edit that came since, it refuses before it touches anything.
"""

import asyncio
from dataclasses import replace

from daemon import gitdir
from daemon.errors import CommandFailedError
from daemon.full_disk import says_disk_full
from daemon.sources.checkout import Repository


async def step(repository: Repository, commit: str) -> bool:
    """Files, index and the detached HEAD are those of the commit; False where it takes a checkout.

    Raises CommandFailedError, CommandTimeoutError.
    """
    if not await asyncio.to_thread(_is_where_it_was, repository):
        return False
    git = replace(repository.git, env={**repository.git.env, "GIT_REFLOG_ACTION": "refreshd"})
    # unlike a checkout it looks at no other file; unlike read-tree it keeps what the index knows of folders
    try:
        await git("reset", "--quiet", "--keep", commit)
    except CommandFailedError as error:
        # a signal is nobody's refusal, and a checkout meets the same full disk
        if error.exit_code < 0 or says_disk_full(error.detail):
            raise
        return False
    return True


def _is_where_it_was(repository: Repository) -> bool:
    """Asked at the last moment: of a branch that somebody is on by now, a reset would move the branch."""
    found = gitdir.find(repository.folder)
    head = found.head() if found else None
    return bool(repository.head and head and head.decode("ascii", "replace").strip() == repository.head)
