"""Looks at paths below a folder without following a symlink in any part of them."""

import os
import stat
from io import FileIO
from pathlib import Path

from daemon.errors import CheckoutError, MountError
from daemon.git import printable

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Folder:
    """What it has learned of the folders in it, it keeps: make one for each look around.

    Where something is there and cannot be looked at, it raises the given kind of error.
    """

    def __init__(self, root: Path, kind: type[CheckoutError | MountError]) -> None:
        self._root = root
        self._kind = kind
        self._prefix = os.fsencode(root) + b"/"
        self._real = {b"": True}

    def stat(self, path: bytes) -> os.stat_result | None:
        """None for what is not there, or is behind a symlink."""
        if not self._is_real_folder(path.rpartition(b"/")[0]):
            return None
        try:
            return os.lstat(self._prefix + path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._error(path, error) from error

    def target(self, path: bytes) -> bytes | None:
        """Of a symlink; None for what is none any more."""
        try:
            return os.readlink(self._prefix + path)  # noqa: PTH115 - bytes
        except OSError:
            return None

    def open(self, path: bytes) -> FileIO | None:
        """A regular file, unbuffered; None for what is not there any more."""
        try:
            return FileIO(os.open(self._prefix + path, _OPEN))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(path, error) from error

    def _error(self, path: bytes, error: OSError) -> CheckoutError | MountError:
        return self._kind(path=str(self._root), reason=f"{printable(path)} cannot be read ({error.strerror})")

    def _is_real_folder(self, path: bytes) -> bool:
        if path not in self._real:
            found = self.stat(path)
            self._real[path] = found is not None and stat.S_ISDIR(found.st_mode)
        return self._real[path]
