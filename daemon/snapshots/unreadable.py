"""Edits that nobody could bring back: of files that the daemon's user may not read, and may well replace.

The folder says who may replace a file, and the file who may read it. Whoever writes atomically as another user, by a
temporary file and a rename, often leaves mode 600.
"""

import errno
import os
import stat
from pathlib import Path

from daemon.errors import UnreadableFilesError
from daemon.git import Git, some


async def listed(git: Git) -> bytes:
    """What `git add --all` should have taken and the index does not have, each with a NUL after it."""
    return (await git("ls-files", "-z", "--modified", "--others", "--exclude-standard")).stdout


def require_readable(repo: Path, names: bytes) -> None:
    """Raises UnreadableFilesError."""
    root = os.fsencode(repo) + b"/"
    if found := [name for name in names.split(b"\0") if name and not _may_be_read(root + name)]:
        raise UnreadableFilesError(names=some(found))


def _may_be_read(path: bytes) -> bool:
    """By trying it: modes alone do not tell. What is gone or no file needs no reading."""
    try:
        if stat.S_ISREG(os.lstat(path).st_mode):
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW))
    except OSError as error:
        return error.errno not in {errno.EACCES, errno.EPERM}
    return True
