"""Files that must survive: a file is old or new, never half."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from daemon.errors import NoSpaceError, SystemCallError

_ASIDE = re.compile(r"\..+\.(?P<writer>[0-9]+)\.tmp")


def write_atomically(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Durable when it returns: written aside, synced, renamed, and the folder synced.

    Raises NoSpaceError with the old file untouched.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_full_named(path):
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            aside.replace(path)
            sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise


def sweep(folder: Path) -> list[Path]:
    """Removes what `write_atomically` has left in a folder where its process was killed, and says what it was."""
    try:
        found = [(path, match) for path in folder.iterdir() if (match := _ASIDE.fullmatch(path.name))]
    except OSError:
        return []
    left = [path for path, match in found if not Path("/proc", match["writer"]).exists()]
    for path in left:
        path.unlink(missing_ok=True)
    return left


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def refusals_named(path: Path) -> Iterator[None]:
    """Turns what the system refuses into an error that names what it was about, `path` where it does not say."""
    try:
        yield
    except OSError as error:
        named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(path)
        raise SystemCallError(path=named, reason=error.strerror or type(error).__name__) from error


@contextlib.contextmanager
def disk_full_named(path: Path) -> Iterator[None]:
    """Turns ENOSPC and EDQUOT into the error that a caller can act on."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpaceError(path=str(path)) from error
        raise
