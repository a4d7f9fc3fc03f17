"""From one commit to another at the cost of what differs: for a checkout in which nothing was edited.

`git checkout` looks at every file, to find edits. Here they have just been looked for, and git compares the files alone
that it writes. Where it meets an edit that came since, it refuses before it touches anything.
"""

import asyncio
from dataclasses import replace

from daemon import gitdir
from daemon.errors import CommandFailedError
from daemon.files import write_atomically
from daemon.full_disk import says_disk_full
from daemon.gitdir import GitDir
from daemon.sources import EditedSinceError
from daemon.sources.checkout import Repository


async def step(repository: Repository, commit: str) -> None:
    """Files, index and the detached HEAD are those of the commit.

    Raises EditedSinceError where it takes a checkout, CommandFailedError, CommandTimeoutError, NoSpaceError.
    """
    found = await asyncio.to_thread(_where_it_was, repository)
    original = await asyncio.to_thread(gitdir.read, found.folder / "ORIG_HEAD")
    git = replace(repository.git, env={**repository.git.env, "GIT_REFLOG_ACTION": "refreshd"})
    # unlike a checkout it looks at no other file; unlike read-tree it keeps what the index knows of folders
    try:
        await git("reset", "--quiet", "--keep", commit)
    except CommandFailedError as error:
        # a signal is nobody's refusal, and a checkout meets the same full disk
        if error.exit_code < 0 or says_disk_full(error.detail):
            raise
        raise EditedSinceError from error
    await asyncio.to_thread(_put_original_back, found, original)
    if branch := await asyncio.to_thread(found.branch):
        # begun at the last moment: the reset has moved it along
        await git("update-ref", branch, str(repository.head), commit)
        raise EditedSinceError


def _where_it_was(repository: Repository) -> GitDir:
    """Asked at the last moment: of a branch that somebody is on by now, a reset would move the branch."""
    found = gitdir.find(repository.folder)
    head = found.head() if found else None
    if found and head and head.decode("ascii", "replace").strip() == repository.head:
        return found
    raise EditedSinceError


def _put_original_back(found: GitDir, original: bytes | None) -> None:
    """What a reset writes there may be the only name of somebody's commit."""
    path = found.folder / "ORIG_HEAD"
    if original is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, original, mode=0o644)
