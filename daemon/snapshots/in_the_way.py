"""Files that git ignores, where an update is about to put its own: no look at the checkout finds them."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from daemon.errors import RepositoryInTheWayError
from daemon.git import printable
from daemon.trees import files_below


def in_the_way(repo: Path, names: Iterable[bytes], submodules: Iterable[bytes] = ()) -> frozenset[bytes]:
    """The files at those names, below them, and in place of a folder that they are in. A link is a file.

    Those of submodules are known already. Of any other repository in the checkout nothing is kept: raises
    RepositoryInTheWayError.
    """
    root = os.fsencode(repo) + b"/"
    # those that are there, and True where it is a submodule
    folders = dict.fromkeys(submodules, True)
    obstacles = {obstacle for name in names if (obstacle := _obstacle(root, name, folders))}
    return frozenset(file for obstacle in obstacles for file in _files(root, obstacle))


def _obstacle(root: bytes, name: bytes, folders: dict[bytes, bool]) -> bytes | None:
    parts = name.split(b"/")
    for end in range(1, len(parts)):
        folder = b"/".join(parts[:end])
        if folder not in folders:
            mode = _mode(root + folder)
            if mode is None or not stat.S_ISDIR(mode):
                return folder if mode else None
            _require_no_repository(root, folder)
            folders[folder] = False
        if folders[folder]:
            return None
    return name if not folders.get(name) and _mode(root + name) else None


def _files(root: bytes, path: bytes) -> Iterator[bytes]:
    if not stat.S_ISDIR(_mode(root + path) or 0):
        yield path
        return
    for folder, files in files_below(root, path):
        _require_no_repository(root, folder)
        yield from files


def _require_no_repository(root: bytes, folder: bytes) -> None:
    if _mode(os.path.join(root, folder, b".git")):  # noqa: PTH118 - bytes
        raise RepositoryInTheWayError(path=printable(folder))


def _mode(path: bytes) -> int | None:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return None
