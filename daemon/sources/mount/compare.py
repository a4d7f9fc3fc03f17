"""What a copy from the mount would change in the checkout, by content.

With this a refresh costs little more than what changed: rsync takes several times as long for the same answer, because
it reads its list of files byte by byte. So it gets those only that it has to copy.
"""

import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from daemon.errors import CheckoutError, MountError
from daemon.sources.mount.known import Known, equal, mode_and_size, seen, sight
from daemon.sources.mount.look import Folder

PRIVILEGES = stat.S_ISUID | stat.S_ISGID  # are not copied
_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, kw_only=True)
class Difference:
    """`displaced` are files here whose folder has to make way for a file from there.

    `learned` are entries for what is known of files that do not differ.
    """

    added: frozenset[bytes]
    changed: frozenset[bytes]
    displaced: frozenset[bytes]
    learned: Mapping[bytes, bytes] = field(default_factory=dict)

    @property
    def to_copy(self) -> frozenset[bytes]:
        return self.added | self.changed


def compare(mount: Path, checkout: Path, files: Mapping[bytes, bytes], known: Known) -> Difference:
    """Looks at type, permissions and content. `files` are the mount's, each as `seen` has it.

    What is known to be equal is not read. What has to be read and has vanished counts as a file to copy.

    Raises MountError, CheckoutError.
    """
    there, here = Folder(mount, MountError), Folder(checkout, CheckoutError)
    added: set[bytes] = set()
    changed: set[bytes] = set()
    displaced: set[bytes] = set()
    unread: dict[bytes, bytes] = {}
    for path, found in here.stats(files):
        if found is None:
            added.add(path)
        elif known.proves(path, look := sight(files[path], found)):
            continue
        elif stat.S_ISDIR(found.st_mode):
            added.add(path)
            displaced.update(_files_below(checkout, path))
        elif not _alike(path, files[path], found, there, here):
            changed.add(path)
        elif stat.S_ISREG(found.st_mode):
            unread[path] = look
    learned = _read(unread, there, here, known)
    changed |= unread.keys() - learned.keys()
    return Difference(
        added=frozenset(added), changed=frozenset(changed), displaced=frozenset(displaced), learned=learned
    )


def _alike(path: bytes, wanted: bytes, found: os.stat_result, there: Folder, here: Folder) -> bool:
    """In all but the content of a file."""
    mode, size = mode_and_size(wanted)
    if stat.S_ISLNK(mode):
        return stat.S_ISLNK(found.st_mode) and there.target(path) == here.target(path)
    # the kind is a part of the mode
    return mode & ~PRIVILEGES == found.st_mode and size == found.st_size


def _read(unread: Mapping[bytes, bytes], there: Folder, here: Folder, known: Known) -> dict[bytes, bytes]:
    """Entries for the files whose contents are equal."""
    seen_at = time.time_ns()
    learned = {}
    for path, look in unread.items():
        read_at = time.time_ns()
        if _same_content(path, look, there, here):
            learned[path] = equal(look, since=known.since(path, look, seen_at), read_at=read_at)
    return learned


def _same_content(path: bytes, look: bytes, there: Folder, here: Folder) -> bool:
    with ExitStack() as stack:
        files = [folder.open(path) for folder in (there, here)]
        theirs, ours = (file and stack.enter_context(file) for file in files)
        if theirs is None or ours is None:
            return False
        wanted, found = (os.fstat(file.fileno()) for file in (theirs, ours))
        # what changes under our eyes, or a short read, makes a difference where there may be none:
        # rsync looks again, and nothing is missed
        if sight(seen(wanted), found) != look:
            return False
        while chunk := theirs.read(min(wanted.st_size + 1, _CHUNK)):
            if chunk != ours.read(len(chunk)):
                return False
    return True


def _files_below(checkout: Path, folder: bytes) -> Iterator[bytes]:
    root = os.fsencode(checkout)
    for parent, folders, files in os.walk(os.path.join(root, folder)):  # noqa: PTH118 - bytes
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]  # noqa: PTH114, PTH118 - bytes
        yield from (os.path.relpath(os.path.join(parent, name), root) for name in (*files, *links))  # noqa: PTH118
