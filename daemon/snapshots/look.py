"""A look at everything in the checkout that git does not ignore: into the index, and from there into a tree."""

import asyncio
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from daemon.errors import CommandFailedError
from daemon.git import Git
from daemon.log import get_logger
from daemon.process import Result
from daemon.snapshots import passed_over, submodules, unreadable
from daemon.snapshots.foresight import Foreseen
from daemon.snapshots.in_the_way import in_the_way
from daemon.snapshots.repository import SnapshotRepository, how_to_store
from daemon.snapshots.submodules import Submodule
from daemon.snapshots.trees import Trees
from daemon.stamps import stamp
from daemon.tasks import together

# what `git add` says when it is our repository that cannot take a file; with --ignore-errors it goes on all the same
_NOT_STORED = re.compile(rb"adding an object to repository|unable to write|unable to create temporary file")

log = get_logger()


@dataclass(frozen=True)
class Draft:
    """A tree of the checkout, and the commit that was made of it where it was foreseen.

    Where `staged` says how the checkout's index differs from HEAD, files that are tracked although a rule ignores them
    may be missing in it.
    """

    tree: str
    staged: bytes | None = None
    foreseen: Foreseen | None = None
    commit: str = ""

    def committed(self, message: str) -> tuple[bytes, str] | None:
        """How it differs from HEAD, and the commit with this message, where that was foreseen."""
        foreseen = self.foreseen
        return (foreseen.edits, self.commit) if foreseen and foreseen.message == message else None


async def look(
    repository: SnapshotRepository, head: str | None, *, much: bool = False, foreseen: Foreseen | None = None
) -> Draft:
    """Whole without `head`, the commit of the checkout. `much`: many files are new.

    Raises UnreadableFilesError, CommandFailedError, CheckoutError.
    """
    await repository.ensure()
    inner = await repository.submodules()
    await asyncio.to_thread(repository.tidy, inner)
    exclude = str((await repository.checkout()).exclude)
    much = much or await asyncio.to_thread(repository.is_empty)
    git = repository.git(config={"core.excludesFile": exclude, **how_to_store(much=much)})
    if head and not inner:
        if foreseen and foreseen.head == head:
            return await _confirmed(repository, git, foreseen)
        _, staged = await together(_add_all(git), _staged(repository, head))
        return Draft((await git("write-tree")).text, staged)
    _, ignored = await together(_add_all(git), passed_over.ignored(repository.checkout_git))
    await _add_by_name(repository, ignored | (await _unfold(git, inner) if inner else frozenset()))
    return Draft((await git("write-tree")).text)


async def _confirmed(repository: SnapshotRepository, git: Git, foreseen: Foreseen) -> Draft:
    """The same look; what was foreseen holds where `git add` leaves the index as it was."""
    _, staged, commit = await together(
        _add_all(git), _staged(repository, foreseen.head), Trees(repository).commit(foreseen.tree, foreseen.message)
    )
    if await asyncio.to_thread(stamp, repository.index) == foreseen.index:
        return Draft(foreseen.tree, staged, foreseen, commit)
    return Draft((await git("write-tree")).text, staged)


async def completed(
    repository: SnapshotRepository, draft: Draft, edits: bytes | None, coming: Collection[bytes] | None
) -> str:
    """The tree with what was passed over, and with what is in the way of the files that are `coming`."""
    names = frozenset[bytes]()
    if coming is not None:
        # an update also brings back what is gone from the commit before; what took its place may be ignored, too
        names = await _in_the_way(repository, passed_over.removed(edits or b"").union(coming))
    if edits is not None:
        names -= passed_over.added(edits)
        if draft.staged is not None:
            names |= passed_over.missing(edits, draft.staged)
    return (await repository.git()("write-tree")).text if await _add_by_name(repository, names) else draft.tree


async def _in_the_way(repository: SnapshotRepository, coming: Collection[bytes]) -> frozenset[bytes]:
    if not coming:
        return frozenset()
    inner = [submodule.path for submodule in await repository.submodules()]
    return await asyncio.to_thread(in_the_way, repository.repo, coming, inner)


async def _staged(repository: SnapshotRepository, head: str) -> bytes:
    words = ("diff-index", "--cached", "-z", "--no-renames", "--name-status", head)
    return (await repository.checkout_git(*words)).stdout


async def _add_all(git: Git) -> None:
    await _add(git, "--all")


async def _add_by_name(repository: SnapshotRepository, names: frozenset[bytes]) -> bool:
    """Those that are there, whatever the rules say."""
    there = await asyncio.to_thread(passed_over.present, repository.repo, names) if names else b""
    if there:
        literal = repository.git(env={"GIT_LITERAL_PATHSPECS": "1"})
        await _add(literal, "--force", "--pathspec-from-file=-", "--pathspec-file-nul", names=there)
    return bool(there)


async def _add(git: Git, *words: str, names: bytes = b"") -> None:
    added = await git("add", *words, "--ignore-errors", stdin=names, ok_codes=(0, 1))
    if added.code:
        _refuse_what_is_ours(added)
        # an update might replace them, and so might its way back
        missing = names or await unreadable.listed(git)
        await asyncio.to_thread(unreadable.require_readable, git.folder, missing)
        log.warning("some files cannot be preserved", detail=added.tail)


def _refuse_what_is_ours(added: Result) -> None:
    """A file that changes while it is read is passed over, for that is the checkout's fault; a full disk is not."""
    if _NOT_STORED.search(added.stderr):
        raise CommandFailedError(command=added.command.name, exit_code=added.code, detail=added.tail)


async def _unfold(git: Git, inner: Sequence[Submodule]) -> frozenset[bytes]:
    """Makes folders of the pointers in the index. Returns tracked files that are not in it: rules ignore them."""
    paths = {submodule.path for submodule in inner}
    unfolded: set[bytes] = set()
    while True:
        listed = (await git("ls-files", "--stage", "-z")).stdout
        folded = submodules.pointers(listed).keys() & paths
        # one without a file stays a pointer
        if folded <= unfolded:
            break
        unfolded |= folded
        await git("update-index", "-z", "--index-info", stdin=submodules.unfolding(folded))
        await _add_all(git)
    tracked = frozenset[bytes]().union(*(submodule.tracked for submodule in inner))
    return tracked.difference(submodules.names(listed))
