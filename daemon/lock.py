"""Locks between processes. The kernel drops them with their holder."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.files import refusals_named

_PATIENCE = 5.0  # seconds
_PAUSE = 0.01


class MachineLock:
    """One update at a time on a machine, whichever process runs it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """False while anybody holds it, be it another process or another part of this one. Raises SystemCallError."""
        if self._descriptor is not None:
            return False
        with refusals_named(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = _lock(self._path)
        return self._descriptor is not None

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def held(path: Path, patience: float = _PATIENCE) -> Iterator[None]:
    """For changes that take milliseconds; blocks, `patience` in seconds. Raises TimeoutError."""
    deadline = time.monotonic() + patience
    while (descriptor := _lock(path)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} is locked")
        time.sleep(_PAUSE)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int | None:
    """The descriptor whose end is the lock's; None while somebody else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
