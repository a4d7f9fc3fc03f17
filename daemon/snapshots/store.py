"""Nothing is lost: a tree of everything in the checkout that git does not ignore, in a repository of its own.

The repository is bare, lives in the state folder and has the checkout as its work tree and an index of its own, so the
checkout's repository is neither read nor written, and the second snapshot costs what changed. Its attributes switch
every conversion off: the bytes are those on disk.
"""

import asyncio
import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from daemon import gitdir
from daemon.errors import CheckoutError, CommandFailedError, DamagedSnapshotError
from daemon.files import write_atomically
from daemon.full_disk import disk_full_blamed
from daemon.git import Git, parse_name_status
from daemon.gitdir import GitDir
from daemon.log import get_logger
from daemon.models import Changes
from daemon.process import Result
from daemon.snapshots import base, broken, passed_over, submodules, unreadable
from daemon.snapshots.passed_over import Look, missing
from daemon.snapshots.submodules import Submodule
from daemon.snapshots.touched import MOST, tells_all, tree_with
from daemon.tasks import together

REFS = "refs/snapshots/"
_REF = re.compile(r"(?P<number>[0-9]{6,12})-(?P<commit>[0-9a-f]{40,64})")
# what `git add` says when it is our repository that cannot take a file; with --ignore-errors it goes on all the same
_NOT_STORED = re.compile(rb"adding an object to repository|unable to write|unable to create temporary file")

log = get_logger()

_LARGE = "4m"
_EXACT = b"* -text -filter -ident -eol -working-tree-encoding\n"
_AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "refreshd"), ("EMAIL", "refreshd@localhost"))
}


@dataclass(frozen=True)
class Snapshot:
    """`commit` keeps the tree from being collected and says when and why it was taken.

    `edits` is what differs from the checkout's HEAD, where that was given, and `edited` are the names of all of it.
    `pristine`: neither files nor index differed from it.
    """

    commit: str
    tree: str
    edits: Changes | None = None
    edited: frozenset[bytes] | None = None
    notes: tuple[str, ...] = ()
    pristine: bool = False


class Snapshots:
    def __init__(self, *, folder: Path, repo: Path, timeout: float) -> None:
        self.folder = folder
        self.index = folder / "refreshd-index"
        self._repo = repo
        self._timeout = timeout

    async def look(self, head: str | None) -> Look | None:
        """For `take` with the same head; None where that has to find out what is wrong.

        Raises UnreadableFilesError, NoSpaceError.
        """
        try:
            with disk_full_blamed(self.folder):
                return await self._look(head)
        except CommandFailedError as error:
            if error.exit_code < 0:
                raise
            return None

    async def take(
        self, label: str, *, update: str | None = None, head: str | None = None, look: Look | None = None
    ) -> Snapshot:
        """Kept, and durable when it returns. For the holder of the machine's lock. `head`: the commit of the checkout.

        `look` is what `look` gave a moment ago.
        A repository that is damaged is put aside and a new one begun, and the snapshot's notes say so.
        Raises UnreadableFilesError, CommandFailedError, CheckoutError, NoSpaceError.
        """
        message = _message(label, update=update, head=head)
        try:
            return await self._take(message, head, look)
        except CommandFailedError as error:
            if error.exit_code < 0:  # it was killed: that says nothing about the repository
                raise
            log.warning("snapshot fails, trying without the index", error=str(error), detail=error.detail)
        await asyncio.to_thread(self.index.unlink, missing_ok=True)
        try:
            return await self._take(message, head)
        except CommandFailedError as error:
            log.warning("snapshot fails, trying a new repository", error=str(error), detail=error.detail)
        return await self._take_anew(message, head)

    async def _take(self, message: str, head: str | None, look: Look | None = None) -> Snapshot:
        with disk_full_blamed(self.folder):
            look = look or await self._look(head)
            tree = look.tree
            edits, commit = await self._commit(tree, head, message)
            # only how it differs from HEAD tells what is missing: seldom anything, and then it takes another commit
            if (whole := await self._completed(look, edits)) != tree:
                tree = whole
                edits, commit = await self._commit(tree, head, message)
            number = await asyncio.to_thread(self._next_number)
            await self.git()("update-ref", f"{REFS}{number:06}-{commit}", commit)
        if edits is None:
            return Snapshot(commit=commit, tree=tree)
        names = frozenset(edits.split(b"\0")[1::2])
        pristine = not edits and look.staged == b""
        return Snapshot(commit=commit, tree=tree, edits=parse_name_status(edits), edited=names, pristine=pristine)

    async def _commit(self, tree: str, head: str | None, message: str) -> tuple[bytes | None, str]:
        """How it differs from `head`, and the commit that was made of it."""
        git = self.git()
        _, edits, commit = await together(
            # the way back reads all of it: what is damaged has to be noticed before it is needed
            git("ls-tree", "-r", "-t", "-z", "--object-only", tree),
            self._edits(head, tree),
            git("commit-tree", tree, stdin=message.encode()),
        )
        return edits, commit.text

    async def _take_anew(self, message: str, head: str | None) -> Snapshot:
        """Where a new repository does not help either, the old one was not to blame and is put back."""
        aside = await asyncio.to_thread(broken.put_aside, self.folder)
        try:
            taken = await self._take(message, head)
        except BaseException:
            await asyncio.to_thread(broken.put_back, aside, self.folder)
            raise
        log.error("snapshot repository was damaged, a new one is begun", aside=str(aside))
        return replace(
            taken, notes=(f"the repository of snapshots was damaged: it is now {aside.name}, a new one began",)
        )

    def _next_number(self) -> int:
        """Counted and not dated: an order that survives a clock that jumps. The newest is never removed."""
        try:
            names = [path.name for path in (self.folder / REFS).iterdir()]
        except FileNotFoundError:
            return 1
        return max((int(match["number"]) for match in map(_REF.fullmatch, names) if match), default=0) + 1

    async def tree_after(self, before: Snapshot, names: frozenset[bytes] | None) -> str:
        """What `tree` says when since `before`, the last look, its edits and `names` alone were touched.

        Costs what was touched. None: there is no telling. For the holder of the machine's lock.
        """
        if names is None or before.edited is None:
            return await self.tree()
        touched = names | before.edited
        if not touched:
            return before.tree
        has_submodules = await asyncio.to_thread((self._repo / ".gitmodules").exists)
        if has_submodules or not tells_all(touched):
            return await self.tree(much=len(touched) > MOST)
        with disk_full_blamed(self.folder):
            return await tree_with(self.git(), touched) or await self.tree()

    async def tree(self, *, much: bool = False) -> str:
        """The content id of the checkout as it is now: equal ids, equal files. For the holder of the machine's lock.

        `much`: many files are new.
        """
        return (await self._look(None, much=much)).tree

    async def _look(self, head: str | None, *, much: bool = False) -> Look:
        """Whole without `head`."""
        await self._ensure_repository()
        inner = await self.submodules()
        await asyncio.to_thread(self._prepare_to_look, inner)
        exclude = str((await self._repository()).exclude)
        git = self.git(config={"core.excludesFile": exclude, **await self._how_to_store(much=much)})
        if head and not inner:
            _, staged = await together(self._add_all(git), self._staged(head))
            return Look((await git("write-tree")).text, staged)
        _, ignored = await together(self._add_all(git), passed_over.ignored(self._checkout()))
        await self._add_by_name(ignored | (await self._unfold(git, inner) if inner else frozenset()))
        return Look((await git("write-tree")).text)

    async def _staged(self, head: str) -> bytes:
        words = ("diff-index", "--cached", "-z", "--no-renames", "--name-status", head)
        return (await self._checkout()(*words)).stdout

    async def _completed(self, look: Look, edits: bytes | None) -> str:
        """The tree with what was passed over."""
        names = missing(edits, look.staged) if edits is not None and look.staged is not None else frozenset[bytes]()
        return (await self.git()("write-tree")).text if await self._add_by_name(names) else look.tree

    async def _add_by_name(self, names: frozenset[bytes]) -> bool:
        """Those that are there, whatever the rules say."""
        there = await asyncio.to_thread(passed_over.present, self._repo, names) if names else b""
        if there:
            literal = self.git(env={"GIT_LITERAL_PATHSPECS": "1"})
            await self._add(literal, "--force", "--pathspec-from-file=-", "--pathspec-file-nul", names=there)
        return bool(there)

    async def submodules(self) -> list[Submodule]:
        """Those whose files a snapshot holds as well."""
        return await submodules.checked_out(self._repo, limit=self._timeout)

    async def _add_all(self, git: Git) -> None:
        await self._add(git, "--all")

    async def _add(self, git: Git, *words: str, names: bytes = b"") -> None:
        added = await git("add", *words, "--ignore-errors", stdin=names, ok_codes=(0, 1))
        if added.code:
            self._refuse_what_is_ours(added)
            # an update might replace them, and so might its way back
            missing_names = names or await unreadable.listed(git)
            await asyncio.to_thread(unreadable.require_readable, self._repo, missing_names)
            log.warning("some files cannot be preserved", detail=added.tail)

    async def _unfold(self, git: Git, inner: Sequence[Submodule]) -> frozenset[bytes]:
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
            await self._add_all(git)
        tracked = frozenset[bytes]().union(*(submodule.tracked for submodule in inner))
        return tracked.difference(submodules.names(listed))

    async def _how_to_store(self, *, much: bool) -> dict[str, str]:
        """What goes into a pack, and how much smaller it is made.

        Many new files, as the first time: in one pack they cost a fifth of what single objects do, each synced. Later,
        large files only, as they are: most of them cannot be made smaller, and trying takes most of a minute for 1 GB.
        """
        if much or await asyncio.to_thread(_is_empty, self.index):
            return {"core.bigFileThreshold": "1", "pack.compression": "1"}
        return {"core.bigFileThreshold": _LARGE, "pack.compression": "0"}

    async def space(self) -> int:
        """The bytes that the next one and its way back take at least: the index of the checkout, twice."""
        index = (await self._repository()).index
        try:
            return 2 * (await asyncio.to_thread(index.stat)).st_size
        except FileNotFoundError:
            return 0

    async def changes(self, before: str, after: str) -> Changes:
        """What differs between two trees, by content."""
        result = await self.git()("diff-tree", "-r", "-z", "--no-renames", "--name-status", before, after)
        return parse_name_status(result.stdout)

    async def differing(self, before: str, after: str) -> frozenset[bytes]:
        """The names of all files that differ between two trees."""
        result = await self.git()("diff-tree", "-r", "-z", "--no-renames", "--name-only", before, after)
        return frozenset(result.stdout.split(b"\0")[:-1])

    async def edited(self, tree: str) -> bool:
        """Whether a file of a tree is not on disk as it is there. The index has to be that tree's, or it is slow."""
        words = ("diff", "--quiet", "--no-ext-diff", "--no-renames", "--ignore-submodules", tree)
        return bool((await self.git()(*words, ok_codes=(0, 1))).code)

    async def changed_since(self, commit: str, tree: str) -> Changes:
        """What a tree holds that a commit of the checkout, and those of its submodules, do not: local edits."""
        return parse_name_status(await self._edits(commit, tree) or b"")

    async def edited_since(self, commit: str, tree: str) -> frozenset[bytes]:
        """The names of all of them."""
        return frozenset((await self._edits(commit, tree) or b"").split(b"\0")[1::2])

    async def _edits(self, commit: str | None, tree: str) -> bytes | None:
        if commit is None:
            return None
        inner = await self.submodules()
        objects = [(await self._repository()).objects, *await asyncio.to_thread(_objects, inner)]
        git = self.git(env={"GIT_ALTERNATE_OBJECT_DIRECTORIES": ":".join(map(str, objects))})
        before = await base.with_submodules(git, commit, inner) if inner else f"{commit}^{{tree}}"
        return (await git("diff-tree", "-r", "-z", "--no-renames", "--name-status", before, tree)).stdout

    async def restore(self, tree: str) -> None:
        """Makes the files those of a tree, whatever they are now; what git ignores stays.

        Raises DamagedSnapshotError with nothing touched.
        """
        await self.read(await self.tree(), tree)
        await self.git()("read-tree", "-u", "--reset", tree)

    async def read(self, before: str, after: str) -> None:
        """Reads every file that has to change to get from one tree to the other. Raises DamagedSnapshotError."""
        try:
            await self.git()("diff-tree", "-r", "--no-renames", "--numstat", before, after)
        except CommandFailedError as error:
            raise DamagedSnapshotError(snapshot=after, detail=error.detail) from error

    async def restore_files(self, tree: str, names: Sequence[bytes]) -> None:
        """Makes these files what they are in a tree. Names are literal; each of them has to be in the tree."""
        words = ("restore", f"--source={tree}", "--worktree", "--pathspec-from-file=-", "--pathspec-file-nul")
        git = self.git(env={"GIT_LITERAL_PATHSPECS": "1"})
        await git(*words, stdin=b"".join(name + b"\0" for name in names))

    async def names(self, tree: str) -> list[bytes]:
        """Of all files in a tree; an embedded repository is recorded as a pointer, and is left out."""
        listed = (await self.git()("ls-tree", "-r", "-z", tree)).stdout.split(b"\0")
        lines = (line.partition(b"\t") for line in listed if line)
        return [name for facts, _, name in lines if not facts.startswith(b"160000 ")]

    async def tree_of(self, commit: str) -> str | None:
        """None for a snapshot that is not kept any more."""
        found = await self.git()("rev-parse", "--verify", "--quiet", f"{commit}^{{tree}}", ok_codes=(0, 1, 128))
        return found.text if found.code == 0 else None

    async def _repository(self) -> GitDir:
        found = await asyncio.to_thread(gitdir.find, self._repo)
        if found is None:
            raise CheckoutError(path=str(self._repo), reason="it is not a git repository")
        return found

    def _refuse_what_is_ours(self, added: Result) -> None:
        """A file that changes while it is read is passed over, for that is the checkout's fault; a full disk is not."""
        if _NOT_STORED.search(added.stderr):
            raise CommandFailedError(command=added.command.name, exit_code=added.code, detail=added.tail)

    def _prepare_to_look(self, inner: Sequence[Submodule]) -> None:
        """Nobody else works here, and we hold the machine's lock: whoever left a lock is dead."""
        for lock in (self.index.with_name(f"{self.index.name}.lock"), self.folder / "packed-refs.lock"):
            with contextlib.suppress(FileNotFoundError):
                lock.unlink()
                log.warning("stale lock removed", path=str(lock))
        exclude = self.folder / "info" / "exclude"
        if (rules := submodules.excludes(inner)) != (gitdir.read(exclude) or b""):
            write_atomically(exclude, rules)

    async def _ensure_repository(self) -> None:
        if await asyncio.to_thread((self.folder / "info" / "attributes").exists):
            return
        await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        await Git(folder=self.folder, timeout=self._timeout)("init", "--quiet", "--bare", "--template=", ".")
        await asyncio.to_thread((self.folder / "info").mkdir, exist_ok=True)
        await asyncio.to_thread(write_atomically, self.folder / "info" / "attributes", _EXACT)

    def git(self, *, config: dict[str, str] | None = None, env: dict[str, str] | None = None) -> Git:
        return Git(
            folder=self._repo,
            git_dir=self.folder,
            index=self.index,
            timeout=self._timeout,
            config={
                "core.bare": "false",
                "core.fsync": "committed,index,pack-metadata",
                "core.autocrlf": "false",
                "advice.addEmbeddedRepo": "false",
            }
            | (config or {}),
            env=_AUTHOR | (env or {}),
        )

    def _checkout(self) -> Git:
        return Git(folder=self._repo, timeout=self._timeout)


def _is_empty(index: Path) -> bool:
    """An index of a checkout without files is no more than its header and its digest."""
    try:
        with index.open("rb") as file:
            header = file.read(12)
    except FileNotFoundError:
        return True
    return header[8:12] == bytes(4)


def _objects(inner: Sequence[Submodule]) -> list[Path]:
    return [found.objects for submodule in inner if (found := gitdir.find(submodule.folder))]


def _message(label: str, *, update: str | None, head: str | None) -> str:
    facts = (("update", update), ("head", head))
    return f"{label}\n\n" + "".join(f"{name}: {value}\n" for name, value in facts if value)
