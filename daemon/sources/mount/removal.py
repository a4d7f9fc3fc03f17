"""Removes files of the checkout by their paths, and says what is in them, without ever leaving the checkout.

Every path is walked part by part from a descriptor of the checkout: a symlink in place of a folder ends the walk.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from daemon.errors import CheckoutError
from daemon.git import printable

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_STAYS = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY}) | _NOT_THERE
_NEVER = frozenset({b"", b".", b"..", b".git"})


def contents(root: Path, paths: Iterable[bytes]) -> dict[bytes, bytes]:
    """The content id of those that are files, symlinks or the like here; a folder is not. Raises CheckoutError."""
    found: dict[bytes, bytes] = {}
    with _root(root) as top:
        for folder, names in _by_folder(paths).items():
            with _opened(top, folder) as inside:
                if inside is not None:
                    found |= {_join(folder, name): content for name in names if (content := _content(inside, name))}
    return found


def remove(root: Path, paths: Iterable[bytes]) -> None:
    """Removes them as far as they are there, and the folders that are empty then. Raises CheckoutError."""
    emptied: set[bytes] = set()
    with _root(root) as top:
        for folder, names in _by_folder(paths).items():
            with _opened(top, folder) as inside:
                if inside is not None and sum(_unlinked(inside, name) for name in names):
                    emptied |= set(_upwards(folder))
        for folder in sorted(emptied, key=lambda path: path.count(b"/"), reverse=True):
            parent, _, name = folder.rpartition(b"/")
            with _opened(top, parent) as inside, _passing(_STAYS):
                if inside is not None:
                    os.rmdir(name, dir_fd=inside)


def _by_folder(paths: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    folders: dict[bytes, list[bytes]] = defaultdict(list)
    for path in paths:
        if _NEVER.isdisjoint(path.split(b"/")):
            folder, _, name = path.rpartition(b"/")
            folders[folder].append(name)
    return folders


def _join(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def _upwards(folder: bytes) -> Iterator[bytes]:
    while folder:
        yield folder
        folder = folder.rpartition(b"/")[0]


def _content(inside: int, name: bytes) -> bytes | None:
    """Of what is neither file nor symlink only the kind counts. None where there is nothing, or a folder."""
    with _passing(_NOT_THERE):
        mode = os.stat(name, dir_fd=inside, follow_symlinks=False).st_mode
        if stat.S_ISREG(mode):
            with open(os.open(name, _OPEN_FILE, dir_fd=inside), "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest().encode()
        if stat.S_ISLNK(mode):
            target = os.readlink(name, dir_fd=inside)
            return b"link-" + hashlib.sha256(target).hexdigest().encode()
        return None if stat.S_ISDIR(mode) else b"special"
    return None


def _unlinked(inside: int, name: bytes) -> bool:
    with _passing(_NOT_THERE | {errno.EISDIR}):
        os.unlink(name, dir_fd=inside)
        return True
    return False


@contextlib.contextmanager
def _root(root: Path) -> Iterator[int]:
    descriptor = -1
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        yield descriptor
    except OSError as error:
        name = printable(error.filename) if isinstance(error.filename, bytes) else "it"
        raise CheckoutError(path=str(root), reason=f"{name} cannot be removed ({error.strerror})") from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)


@contextlib.contextmanager
def _passing(errors: frozenset[int]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in errors:
            raise


@contextlib.contextmanager
def _opened(top: int, folder: bytes) -> Iterator[int | None]:
    """None when there is no such folder, or when a symlink is in its place."""
    descriptor = _open(top, folder)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open(top: int, folder: bytes) -> int | None:
    descriptor = os.dup(top)
    for part in folder.split(b"/") if folder else ():
        outer = descriptor
        try:
            descriptor = os.open(part, _OPEN_FOLDER, dir_fd=outer)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise
        finally:
            os.close(outer)
    return descriptor
