"""Which files of the mount are its code: those that git lists there, as far as they are there to be copied."""

import asyncio
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from daemon.errors import MountError
from daemon.names import NONE, Names
from daemon.sources.blame import blamed
from daemon.sources.mount.host import HostRepository
from daemon.sources.mount.known import Known
from daemon.sources.mount.look import Folder

Paths = frozenset[bytes]

_LIST = ("ls-files", "-z", "-t", "--cached", "--others", "--exclude-standard")
_PLAIN = b"\0H "
_ODD = re.compile(rb"\0(?!H )([^\0]+)")
_OTHER = b"?"
_NOT_CHECKED_OUT = b"S"
_SUBMODULE = b"160000 "
_UNREADABLE = re.compile(r"could not open directory .*")
_MACHINE_OWN = frozenset({b"node_modules", b".venv"})


@dataclass(frozen=True, kw_only=True)
class Entries:
    """What git says is there. Submodules are among what is tracked; other repositories are folders."""

    tracked: Names = NONE
    untracked: Paths = frozenset()
    sparse: Paths = frozenset()
    repositories: Paths = frozenset()


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Paths relative to the mount.

    `files` are regular files and symlinks, none of them behind a symlink; `doubtful` are those of them of which it is
    not known that they are the same in the checkout. The others are not to be copied: `special` are FIFOs, sockets and
    devices, `machine_own` are folders that are made on each machine, `repositories` are no submodules, `sparse` are
    tracked and not checked out on the host.
    """

    files: Names = NONE
    doubtful: Paths = frozenset()
    special: Paths = frozenset()
    machine_own: Paths = frozenset()
    repositories: Paths = frozenset()
    sparse: Paths = frozenset()

    def including(self, inner: "Listing") -> "Listing":
        files = self.files.plus(inner.files.paths - self.files.paths)
        others = {part.name: getattr(self, part.name) | getattr(inner, part.name) for part in fields(self)[1:]}
        return Listing(files=files, **others)


async def ask_git(repository: HostRepository, folder: bytes = b"") -> Entries:
    """For a repository in a folder of the mount its path, with a slash at the end. Raises MountError."""
    with blamed(MountError, repository.folder):
        result = await repository.git(*_LIST)
    if unreadable := _UNREADABLE.search(result.stderr.decode(errors="replace")):
        raise MountError(path=str(repository.folder), reason=f"git {unreadable[0]}")
    return await asyncio.to_thread(_parsed, result.stdout, folder)


def _parsed(listed: bytes, folder: bytes) -> Entries:
    """A record is a tag, a space and a path; nearly all of them are tracked files that are checked out."""
    marked = b"\0" + listed
    odd = [(record[:1], folder + record[2:]) for record in _ODD.findall(marked)]
    plain = _ODD.sub(b"", marked) if odd else marked
    tracked = Names(plain.replace(_PLAIN, b"\0")[1:]).marked(folder)
    others = frozenset(path for tag, path in odd if tag == _OTHER)
    repositories = frozenset(path for path in others if path.endswith(b"/"))
    return Entries(
        tracked=tracked.plus({path for tag, path in odd if tag != _OTHER}),
        untracked=others - repositories,
        sparse=frozenset(path for tag, path in odd if tag == _NOT_CHECKED_OUT),
        repositories=frozenset(path.removesuffix(b"/") for path in repositories),
    )


async def look_at(mount: HostRepository, entries: Entries, known: Known, *, tracked_here: Names) -> Listing:
    """`tracked_here`, what the checkout tracks, stands in for the host's index where that cannot be read.

    Raises MountError, also where a part of the mount cannot be read: a file that is not seen would be deleted.
    """
    if not mount.readable:
        entries = replace(entries, tracked=tracked_here, untracked=entries.untracked - tracked_here.paths)
    return await _look_at(mount.folder, b"", mount, entries, known)


async def _look_at(mount: Path, folder: bytes, repository: HostRepository, entries: Entries, known: Known) -> Listing:
    listing, inner = await asyncio.to_thread(_look, mount, entries, known)
    for path in await _submodules(repository, sorted(path.removeprefix(folder) for path in inner)):
        below = await repository.inner(path)
        there = folder + path + b"/"
        listing = listing.including(await _look_at(mount, there, below, await ask_git(below, there), known))
    return listing


async def _submodules(repository: HostRepository, paths: Sequence[bytes]) -> list[bytes]:
    """Those of them that the index has as such. Raises MountError."""
    if not paths:
        return []
    with blamed(MountError, repository.folder):
        listed = (await repository.git("--literal-pathspecs", "ls-files", "-z", "--stage", "--", *paths)).stdout
    return [entry.partition(b"\t")[2] for entry in listed.split(b"\0") if entry.startswith(_SUBMODULE)]


def _look(root: Path, entries: Entries, known: Known) -> tuple[Listing, list[bytes]]:
    """What of it can be copied, and tracked folders that are repositories. Raises MountError."""
    mount = Folder(root, MountError)
    others = {path: _machine_own(path) for path in entries.untracked | entries.repositories}
    wanted = entries.tracked.plus({path for path in entries.untracked if not others[path]})
    doubtful = known.doubtful(wanted)
    looks = {path: found.st_mode if (found := mount.stat(path)) else None for path in doubtful}
    kinds = {path: stat.S_IFMT(mode) for path, mode in looks.items() if mode}
    files = frozenset(path for path, kind in kinds.items() if kind in {stat.S_IFREG, stat.S_IFLNK})
    folders = frozenset(path for path, kind in kinds.items() if kind == stat.S_IFDIR)
    listing = Listing(
        files=wanted.minus(doubtful - files),
        doubtful=files,
        special=frozenset(kinds) - files - folders,
        machine_own=frozenset(filter(None, others.values())),
        repositories=frozenset(path for path in entries.repositories if not others[path]),
        sparse=entries.sparse - kinds.keys() & doubtful,
    )
    return listing, [path for path in folders if mount.stat(path + b"/.git")]


def _machine_own(path: bytes) -> bytes:
    """The folder of the path that each machine makes for itself, empty if there is none."""
    parts = path.split(b"/")
    return next((b"/".join(parts[: i + 1]) for i, part in enumerate(parts) if part in _MACHINE_OWN), b"")
