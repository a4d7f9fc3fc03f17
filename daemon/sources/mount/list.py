"""Which files of the mount are its code: those that git lists there, as far as they are there to be copied."""

import asyncio
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from daemon.errors import MountError
from daemon.sources.blame import blamed
from daemon.sources.mount.host import HostRepository
from daemon.sources.mount.known import seen
from daemon.sources.mount.look import Folder

Paths = frozenset[bytes]

_LIST = ("ls-files", "-z", "-t", "--stage", "--cached", "--others", "--exclude-standard")
_OTHER = b"?"
_NOT_CHECKED_OUT = b"S"
_SUBMODULE = b"160000 "
_UNREADABLE = re.compile(r"could not open directory .*")
_MACHINE_OWN = frozenset({b"node_modules", b".venv"})


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Paths relative to the mount.

    `files` are regular files and symlinks, none of them behind a symlink, each as `known.seen` has it. The others are
    not to be copied: `special` are FIFOs, sockets and devices, `machine_own` are folders that are made on each machine,
    `repositories` are no submodules, `sparse` are tracked and not checked out on the host.
    """

    files: Mapping[bytes, bytes] = field(default_factory=dict)
    special: Paths = frozenset()
    machine_own: Paths = frozenset()
    repositories: Paths = frozenset()
    sparse: Paths = frozenset()

    def including(self, inner: "Listing", folder: bytes) -> "Listing":
        """Both; `inner` is of a folder of this one."""

        def joined(name: str) -> Paths:
            own: Paths = getattr(self, name)
            return own | {folder + b"/" + path for path in getattr(inner, name)}

        files = {**self.files, **{folder + b"/" + path: look for path, look in inner.files.items()}}
        return Listing(files=files, **{part.name: joined(part.name) for part in fields(self) if part.name != "files"})


async def list_files(repository: HostRepository, *, tracked_here: Paths = frozenset()) -> Listing:
    """`tracked_here`, what the checkout tracks, stands in for the host's index where that cannot be read.

    Raises MountError, also where a part of the mount cannot be read: a file that is not seen would be deleted.
    """
    entries = await asyncio.to_thread(_parsed, await _ask_git(repository))
    if not repository.readable:
        entries.tracked |= tracked_here
    listing, submodules = await asyncio.to_thread(_look, repository.folder, entries)
    for path in submodules:
        listing = listing.including(await list_files(await repository.inner(path)), path)
    return listing


@dataclass(kw_only=True)
class _Entries:
    """What git says is there. Submodules and other repositories are folders."""

    tracked: set[bytes] = field(default_factory=set)
    untracked: set[bytes] = field(default_factory=set)
    sparse: set[bytes] = field(default_factory=set)
    submodules: set[bytes] = field(default_factory=set)
    repositories: set[bytes] = field(default_factory=set)


async def _ask_git(repository: HostRepository) -> bytes:
    with blamed(MountError, repository.folder):
        result = await repository.git(*_LIST)
    if unreadable := _UNREADABLE.search(result.stderr.decode(errors="replace")):
        raise MountError(path=str(repository.folder), reason=f"git {unreadable[0]}")
    return result.stdout


def _parsed(listed: bytes) -> _Entries:
    r"""A record is `? path`, or `TAG MODE ID STAGE\tpath` of an index entry."""
    entries = _Entries()
    for record in listed.split(b"\0")[:-1]:
        tag, _, rest = record.partition(b" ")
        if tag == _OTHER:
            (entries.repositories if rest.endswith(b"/") else entries.untracked).add(rest.removesuffix(b"/"))
            continue
        about, _, path = rest.partition(b"\t")
        (entries.submodules if about.startswith(_SUBMODULE) else entries.tracked).add(path)
        if tag == _NOT_CHECKED_OUT:
            entries.sparse.add(path)
    return entries


def _look(root: Path, entries: _Entries) -> tuple[Listing, list[bytes]]:
    """What of it can be copied, and the submodules that are checked out. Raises MountError."""
    mount = Folder(root, MountError)
    others = {path: _machine_own(path) for path in entries.untracked | entries.repositories}
    wanted = entries.tracked | {path for path in entries.untracked if not others[path]}
    files: dict[bytes, bytes] = {}
    special: set[bytes] = set()
    absent: set[bytes] = set()
    for path, found in mount.stats(wanted):
        if found is None:
            absent.add(path)
        elif stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
            files[path] = seen(found)
        elif not stat.S_ISDIR(found.st_mode):
            special.add(path)
    listing = Listing(
        files=files,
        special=frozenset(special),
        machine_own=frozenset(filter(None, others.values())),
        repositories=frozenset(path for path in entries.repositories if not others[path]),
        sparse=frozenset(entries.sparse & absent),
    )
    return listing, sorted(path for path in entries.submodules if mount.stat(path + b"/.git"))


def _machine_own(path: bytes) -> bytes:
    """The folder of the path that each machine makes for itself, empty if there is none."""
    parts = path.split(b"/")
    return next((b"/".join(parts[: i + 1]) for i, part in enumerate(parts) if part in _MACHINE_OWN), b"")
