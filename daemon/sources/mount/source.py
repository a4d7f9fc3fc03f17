"""The `mount` source: the host's work tree, mounted into the machine, is copied into the checkout.

The host's git decides what is copied and rsync copies it. What is removed here is what was copied before or is
committed here, and is not among the host's files any more. Everything else that is only here stays.
"""

import asyncio
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.difference import Difference as CommittedDifference
from daemon.errors import CommandFailedError, MountError
from daemon.git import printable
from daemon.models import Changes
from daemon.names import Names
from daemon.refs import Ref
from daemon.sources import Staged
from daemon.sources.checkout import Repository, make_repository
from daemon.sources.mount.checkout import committed_files, fetch_from_mount, make_aside, move_head
from daemon.sources.mount.compare import Difference, compare
from daemon.sources.mount.copy import SOME_FAILED, SOME_VANISHED, Copier
from daemon.sources.mount.host import HostRepository, open_host_repository
from daemon.sources.mount.known import Known, KnownFiles
from daemon.sources.mount.list import Listing, Paths, ask_git, look_at
from daemon.sources.mount.notes import displaced_note, head_notes, host_notes, listing_notes
from daemon.sources.mount.record import Record, RecordFile
from daemon.sources.mount.removal import contents, remove
from daemon.tasks import together, uncancelled
from daemon.trees import FolderTree

COPY_ATTEMPTS = 3
_FEW = 50
MAX_FILES = 200  # that `Changes` names


@dataclass(frozen=True, kw_only=True)
class StagedMount(Staged):
    """`mount` is its real path."""

    mount: Path
    checkout: Repository
    work: "Work"


@dataclass(frozen=True, kw_only=True)
class Work:
    """`files` are what the checkout will hold of the mount; `leaving` has to go for them, with its content ids.

    `committed` is what its commit has.
    """

    files: Names
    difference: Difference
    leaving: Mapping[bytes, bytes]
    committed: Names
    record: Record

    @property
    def nothing_to_do(self) -> bool:
        return not self.difference.to_copy and not self.leaving

    @property
    def touches(self) -> Paths:
        return self.difference.to_copy | self.difference.displaced | self.leaving.keys()

    @property
    def uncommitted(self) -> Paths:
        """What it touches and the checkout's commit does not have."""
        # to look for a name in a list of 100,000 takes a millisecond, to make a set of them 60
        names = self.committed if len(self.touches) < _FEW else self.committed.paths
        return frozenset(path for path in self.touches if path not in names)


class MountSource:
    """The time limits are in seconds and for each child process."""

    name = "mount"

    def __init__(self, *, repo: Path, mount: Path, state_dir: Path, stage_timeout: float, apply_timeout: float) -> None:
        self._repo = repo
        self._mount = mount
        self._record = RecordFile(state_dir / "mount" / "copied")
        self._known = KnownFiles(state_dir / "mount")
        self._scratch = state_dir / "mount" / "empty.git"
        self._stage_timeout = stage_timeout
        self._apply_timeout = apply_timeout

    async def prepare(self) -> None:
        await make_repository(self._repo, limit=self._stage_timeout)

    async def stage(self, ref: Ref) -> StagedMount:
        """Raises MountError, CheckoutError, NoSpaceError, CommandTimeoutError."""
        limit = self._stage_timeout
        checkout, host = await together(Repository.open(self._repo, limit=limit), self._host(limit))
        (listing, work), brought = await together(self._compare(checkout, host), _bring_commit(checkout, host))
        commit, step = brought.commit, brought.step
        moves_head = commit not in {None, checkout.head}
        current = work.nothing_to_do and not moves_head
        return StagedMount(
            commit=commit,
            ref=host.ref,
            tree=FolderTree(host.folder, work.files),
            current=current,
            changes=_changes(work.difference, work.leaving.keys()),
            step=step if step and work.touches <= step.names else None,
            coming=work.uncommitted,
            notes=(
                *host_notes(host, ref),
                *brought.notes,
                *head_notes(checkout, commit, current=current),
                *listing_notes(listing),
                *displaced_note(work.difference.displaced - work.leaving.keys()),
            ),
            mount=host.folder,
            checkout=checkout.limited(self._apply_timeout),
            work=work,
        )

    async def apply(self, staged: Staged, *, pristine: bool = False) -> Paths | None:  # noqa: ARG002 - what differs is known by name
        """Raises MountError, CheckoutError, NoSpaceError, CommandTimeoutError."""
        if not isinstance(staged, StagedMount):
            raise TypeError("this was staged by another source")
        await asyncio.to_thread(_usable, self._mount)
        copier = Copier(mount=staged.mount, checkout=staged.checkout.folder, timeout=self._apply_timeout)
        with copier.blamed():
            touched = await self._copy(copier, staged.checkout, staged.work)
        if staged.commit:
            await move_head(staged.checkout, staged.commit)
        return touched

    async def _host(self, limit: float) -> HostRepository:
        folder = await asyncio.to_thread(_usable, self._mount)
        return await open_host_repository(folder, scratch=self._scratch, limit=limit)

    async def _compare(self, checkout: Repository, host: HostRepository) -> tuple[Listing, Work]:
        entries, known, committed = await together(
            ask_git(host),
            self._known.recall(host.folder, checkout.folder, limit=host.git.timeout),
            committed_files(checkout),
        )
        listing = await look_at(host, entries, known, tracked_here=committed)
        if not listing.files:
            raise MountError(path=str(self._mount), reason="it is not empty and yet git lists no file in it")
        return listing, await asyncio.to_thread(self._work, host.folder, checkout.folder, listing, known, committed)

    def _work(self, mount: Path, checkout: Path, listing: Listing, known: Known, committed: Names) -> Work:
        difference = compare(mount, checkout, listing.doubtful, known)
        self._known.write(known, listing.files, difference.learned, difference.proven)
        record = self._record.read()
        leaving = _leaving(record, checkout, listing.files, committed)
        return Work(files=listing.files, difference=difference, leaving=leaving, committed=committed, record=record)

    async def _copy(self, copier: Copier, checkout: Repository, work: Work) -> Paths:
        """Returns what it touched. Files may vanish from the mount meanwhile: the record says what is true in the end.

        Raises CommandFailedError, MountError, CheckoutError, NoSpaceError.
        """
        removed: dict[bytes, bytes] = {}
        touched = work.touches
        for attempts_left in reversed(range(COPY_ATTEMPTS)):
            # first what goes: a folder may have to make way for a file
            await self._remove(checkout, work)
            removed |= work.leaving
            try:
                await _copy_what_differs(copier, checkout, work.difference)
                break
            except CommandFailedError as error:
                if not attempts_left or error.exit_code not in {SOME_FAILED, SOME_VANISHED}:
                    raise
            _, work = await self._compare(checkout, await self._host(copier.timeout))
            touched |= work.touches
        after = Record(copied=work.files, removed=removed)
        if after != work.record:
            await asyncio.to_thread(self._record.write, after)
        return touched

    async def _remove(self, checkout: Repository, work: Work) -> None:
        # before the first change: should this process die in the copy, the next refresh knows all that may have come
        before = work.record
        record = Record(copied=before.copied.plus(work.files - before.copied), removed=before.removed)
        if record != before:
            await asyncio.to_thread(self._record.write, record)
        # to its end even if the update is cancelled: the undo must not meet it
        await uncancelled(asyncio.to_thread(remove, checkout.folder, work.leaving))


def _leaving(record: Record, checkout: Path, files: Names, committed: Names) -> Mapping[bytes, bytes]:
    """What is here and has to go when `files` come, with its content ids."""
    owned = (record.copied - files) | (committed - files)
    # once more: comparing lists relies on their order, and a record may be damaged
    owned = owned and owned - files.paths
    removed = record.removed.keys() - files.paths if record.removed else frozenset()
    found = contents(checkout, owned | removed)
    return {path: content for path, content in found.items() if path in owned or record.removed[path] == content}


async def _copy_what_differs(copier: Copier, checkout: Repository, difference: Difference) -> None:
    if difference.to_copy:
        aside = await make_aside(checkout)
        await copier.copy(difference.to_copy, aside=aside)
        if aside:
            await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)


def _usable(mount: Path) -> Path:
    """Its real path. Raises MountError for one that is not there: nothing may be deleted because of that."""
    try:
        real = Path(os.path.realpath(mount, strict=True))
        empty = next(real.iterdir(), None) is None
    except FileNotFoundError:
        raise MountError(path=str(mount), reason="there is no such folder") from None
    except OSError as error:
        raise MountError(path=str(mount), reason=f"it is not readable ({error.strerror})") from error
    if empty:
        raise MountError(path=str(mount), reason="it is empty; is the host's folder mounted there?")
    return real


@dataclass(frozen=True)
class Brought:
    """The host's commit if the checkout has it now, and what is committed between HEAD and it, where that is known."""

    commit: str | None
    step: CommittedDifference | None = None
    notes: tuple[str, ...] = ()


async def _bring_commit(checkout: Repository, host: HostRepository) -> Brought:
    """Without it the files can still be copied, and a note says so."""
    if host.commit is None or host.tree is None or host.commit == checkout.head:
        return Brought(host.commit)
    try:
        await fetch_from_mount(checkout, host.folder, host.commit)
    except MountError as error:
        return Brought(None, notes=(f"the mount's commit {host.commit} could not be brought here: {error.reason}",))
    committed = await checkout.difference_if_known(host.commit)
    return Brought(host.commit, CommittedDifference(host.tree, committed) if committed else None)


def _changes(difference: Difference, leaving: Iterable[bytes]) -> Changes:
    deleted = difference.displaced.union(leaving)
    lines = sorted(_lines(difference, deleted), key=lambda line: line[2:])
    return Changes(
        added=len(difference.added),
        changed=len(difference.changed),
        deleted=len(deleted),
        files=tuple(lines[:MAX_FILES]),
    )


def _lines(difference: Difference, deleted: Paths) -> Iterator[str]:
    for letter, paths in (("A", difference.added), ("M", difference.changed), ("D", deleted)):
        for path in paths:
            yield f"{letter} {printable(path)}"
