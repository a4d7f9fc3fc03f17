"""What the `mount` source does with the checkout's repository: makes it, gives it the host's commit, moves it there."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from daemon.errors import CheckoutError, MountError
from daemon.files import disk_full_named
from daemon.names import NONE, Names
from daemon.sources.blame import blamed
from daemon.sources.checkout import Repository

FETCHED = "refs/refreshd/fetched"

# -c does not reach the git at the other end, which would refuse a mount of another owner
_UPLOAD_PACK = "git -c 'safe.directory=*' upload-pack"
_FROM_FOLDERS_ONLY = {"GIT_ALLOW_PROTOCOL": "file"}
_CONFIG = {
    # only protocol 2 serves a commit by its id
    "protocol.version": "2",
    "advice.fetchShowForcedUpdates": "false",
}


async def committed_files(checkout: Repository) -> Names:
    """What HEAD holds. Raises CheckoutError."""
    if checkout.head is None:
        return NONE
    with blamed(CheckoutError, checkout.folder):
        result = await checkout.git("ls-tree", "-r", "-z", "--name-only", "--full-tree", checkout.head)
    return Names(result.stdout)


async def fetch_from_mount(checkout: Repository, mount: Path, commit: str) -> None:
    """Brings the commit with its history, or alone into a shallow repository.

    Raises MountError, CheckoutError, NoSpaceError.
    """
    words = (
        "fetch",
        "--quiet",
        "--force",
        "--no-tags",
        "--no-prune",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--no-auto-maintenance",
        "--no-show-forced-updates",
        f"--upload-pack={_UPLOAD_PACK}",
        # the latter is for a host whose own history is cut
        "--depth=1" if checkout.shallow else "--update-shallow",
        "--end-of-options",
        str(mount),
        f"+{commit}:{FETCHED}",
    )
    git = replace(checkout.git, config=_CONFIG, env={**checkout.git.env, **_FROM_FOLDERS_ONLY})
    with blamed(MountError, mount):
        await checkout.locks.guarded(partial(git, *words))


async def move_head(checkout: Repository, commit: str) -> None:
    """Detaches HEAD at the commit and makes the index that commit; the files stay. Raises CheckoutError."""
    for words in (
        ("update-ref", "--no-deref", "-m", "refreshd: as in the mount", "HEAD", commit),
        # reset and not read-tree: it keeps what the index knows of unchanged files, and it ends a merge. It learns the
        # times of the others: until then a build's `git diff-index` would call files changed that are not
        ("reset", "--quiet", "--mixed", commit),
    ):
        with blamed(CheckoutError, checkout.folder):
            await checkout.locks.guarded(partial(checkout.git, *words))


async def make_aside(checkout: Repository) -> Path | None:
    """An empty folder outside the work tree from which files can be renamed into it, None if there is no such place.

    Raises CheckoutError, NoSpaceError.
    """
    return await asyncio.to_thread(_make_aside, checkout.folder, checkout.git_dir)


def _make_aside(folder: Path, git_dir: Path) -> Path | None:
    aside = git_dir / "refreshd-incoming"
    with _named(git_dir, "no folder can be made in it"):
        if git_dir.stat().st_dev != folder.stat().st_dev:
            return None
        if os.path.lexists(aside):
            # of an rsync that was killed
            shutil.rmtree(aside)
        aside.mkdir()
    return aside


@contextlib.contextmanager
def _named(path: Path, reason: str) -> Iterator[None]:
    try:
        with disk_full_named(path):
            yield
    except OSError as error:
        raise CheckoutError(path=str(path), reason=f"{reason} ({error.strerror})") from error
