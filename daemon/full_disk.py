"""A child that fails because the disk is full says so in words, and callers can act on that."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from daemon.errors import CommandFailedError, NoSpaceError

_WORDS = ("No space left on device", "Disk quota exceeded", "Out of diskspace")


def says_disk_full(output: str) -> bool:
    """Whether git, or a program that says it as the system does, failed because of that."""
    return any(words in output for words in _WORDS)


@contextlib.contextmanager
def disk_full_blamed(path: Path) -> Iterator[None]:
    """Raises NoSpaceError for a child that failed inside because the disk was full."""
    try:
        yield
    except CommandFailedError as error:
        if says_disk_full(error.detail):
            raise NoSpaceError(path=str(path), detail=error.detail) from error
        raise
