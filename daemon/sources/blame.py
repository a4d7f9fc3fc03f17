"""Turns the failure of a child into the error of what it worked on."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from daemon.errors import CheckoutError, CommandFailedError, MountError, NoSpaceError
from daemon.full_disk import says_disk_full

_COMPLAINTS = ("fatal: ", "error: ", "rsync: ")


@contextlib.contextmanager
def blamed(kind: type[CheckoutError | MountError], path: Path) -> Iterator[None]:
    """Raises `kind` for a child that failed inside, NoSpaceError if the disk was full. Time limits pass unchanged."""
    try:
        yield
    except CommandFailedError as error:
        raise blame(error, kind, path) from error


def blame(
    error: CommandFailedError, kind: type[CheckoutError | MountError], path: Path
) -> CheckoutError | MountError | NoSpaceError:
    if says_disk_full(error.detail):
        return NoSpaceError(path=str(path), detail=error.detail)
    return kind(path=str(path), reason=complaint(error), detail=error.detail)


def complaint(error: CommandFailedError) -> str:
    """The first line in which the child says what is wrong."""
    for line in error.detail.splitlines():
        for prefix in _COMPLAINTS:
            if line.startswith(prefix):
                return line.removeprefix(prefix)
    return str(error)
