"""What a copy from the mount would change in the checkout, by content.

With this a refresh costs little more than what changed: rsync takes several times as long for the same answer, because
it reads its list of files byte by byte. So it gets those only that it has to copy.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import CheckoutError, MountError
from daemon.sources.mount.look import Folder

PRIVILEGES = stat.S_ISUID | stat.S_ISGID  # are not copied
_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, kw_only=True)
class Difference:
    """`displaced` are files here whose folder has to make way for a file from there."""

    added: frozenset[bytes]
    changed: frozenset[bytes]
    displaced: frozenset[bytes]

    @property
    def to_copy(self) -> frozenset[bytes]:
        return self.added | self.changed


def compare(mount: Path, checkout: Path, files: Iterable[bytes]) -> Difference:
    """Looks at type, permissions and content. A file that has vanished from the mount counts as one to copy.

    Raises MountError, CheckoutError.
    """
    there, here = Folder(mount, MountError), Folder(checkout, CheckoutError)
    added: set[bytes] = set()
    changed: set[bytes] = set()
    displaced: set[bytes] = set()
    for path in files:
        found = here.stat(path)
        if found is None:
            added.add(path)
        elif stat.S_ISDIR(found.st_mode):
            added.add(path)
            displaced.update(_files_below(checkout, path))
        elif not _same(path, found, there, here):
            changed.add(path)
    return Difference(added=frozenset(added), changed=frozenset(changed), displaced=frozenset(displaced))


def _same(path: bytes, found: os.stat_result, there: Folder, here: Folder) -> bool:
    wanted = there.stat(path)
    if wanted is None or stat.S_IFMT(wanted.st_mode) != stat.S_IFMT(found.st_mode):
        return False
    if stat.S_ISLNK(wanted.st_mode):
        return there.target(path) == here.target(path)
    if wanted.st_mode & ~PRIVILEGES != found.st_mode or wanted.st_size != found.st_size:
        return False
    return _same_content(path, wanted.st_size, there, here)


def _same_content(path: bytes, size: int, there: Folder, here: Folder) -> bool:
    with ExitStack() as stack:
        files = [folder.open(path) for folder in (there, here)]
        theirs, ours = (file and stack.enter_context(file) for file in files)
        if theirs is None or ours is None:
            return False
        # a short read makes a difference where there is none: rsync looks again, and nothing is missed
        while chunk := theirs.read(min(size + 1, _CHUNK)):
            if chunk != ours.read(len(chunk)):
                return False
    return True


def _files_below(checkout: Path, folder: bytes) -> Iterator[bytes]:
    root = os.fsencode(checkout)
    for parent, folders, files in os.walk(os.path.join(root, folder)):  # noqa: PTH118 - bytes
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]  # noqa: PTH114, PTH118 - bytes
        yield from (os.path.relpath(os.path.join(parent, name), root) for name in (*files, *links))  # noqa: PTH118
