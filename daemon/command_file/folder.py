"""A folder that somebody else can write, too: whatever is put there, no file outside of it is read or written.

The folder is held by a descriptor and every name is looked up in it; a symlink is never followed, a FIFO never waited
for, a large file never read. Everything here blocks, for as long as the file system takes.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from daemon.command_file.errors import UnacceptableError

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# the machine's user is another one: it may write here, and remove only what is its own
_SHARED = 0o1777
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class Folder:
    """Raises OSError where the file system says no. A context manager; `close` ends it, too."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def open(cls, base: Path, *inside: str) -> Self:
        """`base` may lie behind symlinks. What is inside may not: others can write there."""
        return cls._descend(base, inside, _enter)

    @classmethod
    def make(cls, base: Path, *inside: str) -> Self:
        """As `open`; what is missing inside is created such that the machine can use it, whatever its user."""
        return cls._descend(base, inside, _make)

    @classmethod
    def _descend(cls, base: Path, inside: Sequence[str], enter: Callable[[int, str], int]) -> Self:
        descriptor = os.open(base, _OPEN_FOLDER)
        for name in inside:
            try:
                deeper = enter(descriptor, name)
            finally:
                os.close(descriptor)
            descriptor = deeper
        return cls(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)

    @property
    def identity(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        return found.st_dev, found.st_ino

    def lock(self) -> bool:
        """False when somebody else has it. It is let go of when the folder is closed or the process ends."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def has(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def names(self) -> Iterator[str]:
        with os.scandir(self._descriptor) as entries:
            yield from (entry.name for entry in entries)

    def read(self, name: str, most: int) -> bytes:
        """Raises UnacceptableError for everything but a regular file of at most `most` bytes, and FileNotFoundError."""
        # merely opening a device may do something
        _require_file(os.stat(name, dir_fd=self._descriptor, follow_symlinks=False))
        try:
            descriptor = os.open(
                name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._descriptor
            )
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.EMLINK}:
                raise UnacceptableError(reason="it is a symlink") from None
            if isinstance(error, PermissionError):
                raise UnacceptableError(reason="this user may not read it") from None
            raise
        with open(descriptor, "rb") as file:
            _require_file(os.fstat(descriptor))
            content = file.read(most + 1)
        if len(content) > most:
            raise UnacceptableError(reason=f"it is larger than {most} bytes")
        return content

    def replace(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Readers see the old file or the new one, and never half of it."""
        # one writer per name: what a writer that was killed has left is taken over
        aside = f".{name}.tmp"
        self.remove(aside)
        try:
            self._write(aside, content, durable=durable)
            os.rename(aside, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                self.remove(aside)
            raise
        if durable:
            os.fsync(self._descriptor)

    def create(self, name: str, content: bytes) -> None:
        """Raises FileExistsError when there is one; of many writers at the same time exactly one gets through."""
        aside = f".{name}.{secrets.token_hex(8)}.tmp"
        try:
            self._write(aside, content, durable=True)
            self._put(aside, name)
        finally:
            self.remove(aside)

    def _put(self, aside: str, name: str) -> None:
        try:
            os.link(aside, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # a shared folder of a virtual machine may know no links; then two writers can meet, and the later one wins
            if self.has(name):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
            os.rename(aside, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        os.fsync(self._descriptor)

    def remove(self, name: str) -> None:
        """Also an empty folder. There need not be any."""
        with contextlib.suppress(FileNotFoundError):
            try:
                os.unlink(name, dir_fd=self._descriptor)
            except (IsADirectoryError, PermissionError):
                if not self._is_folder(name):
                    raise
                os.rmdir(name, dir_fd=self._descriptor)

    def _is_folder(self, name: str) -> bool:
        return stat.S_ISDIR(os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_mode)

    def _write(self, name: str, content: bytes, *, durable: bool) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o644, dir_fd=self._descriptor)
        with open(descriptor, "wb") as file:
            # the other end has another user, and this one may have any umask
            os.fchmod(descriptor, 0o644)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(descriptor)


def _require_file(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UnacceptableError(reason="it is not a regular file")


def _enter(parent: int, name: str) -> int:
    return os.open(name, _OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=parent)


def _make(parent: int, name: str) -> int:
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:
        return _enter(parent, name)
    descriptor = _enter(parent, name)
    os.fchmod(descriptor, _SHARED)  # whatever the umask
    return descriptor
