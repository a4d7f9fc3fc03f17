"""To a commit, over whatever was edited: the engine has it safe."""

from collections.abc import Iterable

from daemon.errors import CommandFailedError
from daemon.sources.checkout import Repository

_KEPT = "not uptodate"


async def check_out(repository: Repository, commit: str) -> None:
    """Raises CommandFailedError, CommandTimeoutError, and what clearing a lock raises."""
    try:
        await _check_out(repository, commit)
    except CommandFailedError as error:
        # what somebody has told git not to look at, it keeps even from force
        if _KEPT not in error.detail or not await _look_at_what_differs(repository, commit):
            raise
        await _check_out(repository, commit)


async def _check_out(repository: Repository, commit: str) -> None:
    words = ("checkout", "--quiet", "--force", "--detach", "--no-recurse-submodules", commit, "--")
    await repository.locks.guarded(lambda: repository.git(*words))


async def _look_at_what_differs(repository: Repository, commit: str) -> bool:
    """Takes `skip-worktree` and `assume-unchanged` away from files that the commit changes. False where none had it."""
    git = repository.git
    differing = set((await git("diff-tree", "-r", "-z", "--name-only", "HEAD", commit)).stdout.split(b"\0"))
    listed = ((entry[:1], entry[2:]) for entry in (await git("ls-files", "-z", "-v")).stdout.split(b"\0") if entry)
    marked = [(mark, name) for mark, name in listed if name in differing and (mark in b"Ss" or mark.islower())]
    await _unmark(repository, "--no-skip-worktree", (name for mark, name in marked if mark in b"Ss"))
    await _unmark(repository, "--no-assume-unchanged", (name for mark, name in marked if mark.islower()))
    return bool(marked)


async def _unmark(repository: Repository, option: str, names: Iterable[bytes]) -> None:
    if stdin := b"\0".join(names):
        await repository.locks.guarded(lambda: repository.git("update-index", option, "-z", "--stdin", stdin=stdin))
