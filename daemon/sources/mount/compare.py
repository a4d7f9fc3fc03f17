"""What a copy from the mount would change in the checkout, by content.

With this a refresh costs little more than what changed: rsync takes several times as long for the same answer, because
it reads its list of files byte by byte. So it gets those only that it has to copy.
"""

import os
import stat
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from daemon.errors import CheckoutError, MountError
from daemon.sources.mount.known import Known, Pair
from daemon.sources.mount.look import Folder
from daemon.sources.mount.looks import entry
from daemon.trees import files_below

PRIVILEGES = stat.S_ISUID | stat.S_ISGID  # are not copied
_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, kw_only=True)
class Difference:
    """`displaced` are files here whose folder has to make way for a file from there.

    `learned` are the looks of files that do not differ, `proven` those of which this was known already.
    """

    added: frozenset[bytes]
    changed: frozenset[bytes]
    displaced: frozenset[bytes]
    learned: Mapping[bytes, Pair] = field(default_factory=dict)
    proven: frozenset[bytes] = frozenset()

    @property
    def to_copy(self) -> frozenset[bytes]:
        return self.added | self.changed


def compare(mount: Path, checkout: Path, files: Iterable[bytes], known: Known) -> Difference:
    """Looks at type, permissions and content of the mount's `files`. Those that have vanished count as files to copy.

    Raises MountError, CheckoutError.
    """
    there, here = Folder(mount, MountError), Folder(checkout, CheckoutError)
    added: set[bytes] = set()
    changed: set[bytes] = set()
    displaced: set[bytes] = set()
    learned: dict[bytes, Pair] = {}
    proven: set[bytes] = set()
    for path in files:
        began = time.time_ns()
        wanted, found = there.stat(path), here.stat(path)
        if found is None:
            added.add(path)
        elif stat.S_ISDIR(found.st_mode):
            added.add(path)
            displaced.update(*(files for _, files in files_below(os.fsencode(checkout), path)))
        elif wanted is None or not _equal(path, wanted, found, there, here):
            changed.add(path)
        elif not known.awaits(path):
            learned[path] = (entry(path, wanted), entry(path, found))
        elif known.settled(began):
            proven.add(path)
    return Difference(
        added=frozenset(added),
        changed=frozenset(changed),
        displaced=frozenset(displaced),
        learned=learned,
        proven=frozenset(proven),
    )


def _equal(path: bytes, wanted: os.stat_result, found: os.stat_result, there: Folder, here: Folder) -> bool:
    if stat.S_ISLNK(wanted.st_mode):
        target = there.target(path)
        return target is not None and target == here.target(path)
    # the kind is a part of the mode
    if wanted.st_mode & ~PRIVILEGES != found.st_mode or wanted.st_size != found.st_size:
        return False
    return stat.S_ISREG(wanted.st_mode) and _same_content(path, wanted, found, there, here)


def _same_content(path: bytes, wanted: os.stat_result, found: os.stat_result, there: Folder, here: Folder) -> bool:
    with ExitStack() as stack:
        files = [folder.open(path) for folder in (there, here)]
        theirs, ours = (file and stack.enter_context(file) for file in files)
        if theirs is None or ours is None:
            return False
        # what changes under our eyes, or a short read, makes a difference where there may be none:
        # rsync looks again, and nothing is missed
        looks = ((theirs, wanted), (ours, found))
        if any(_sight(os.fstat(file.fileno())) != _sight(look) for file, look in looks):
            return False
        while chunk := theirs.read(min(wanted.st_size + 1, _CHUNK)):
            if chunk != ours.read(len(chunk)):
                return False
    return True


def _sight(look: os.stat_result) -> tuple[int, ...]:
    return (look.st_ino, look.st_size, look.st_mtime_ns, look.st_ctime_ns, look.st_mode)
