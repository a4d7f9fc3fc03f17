"""Nothing is lost: a tree of everything in the checkout that git does not ignore, in a repository of its own."""

import asyncio
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from daemon.difference import Difference
from daemon.errors import CommandFailedError
from daemon.full_disk import disk_full_blamed
from daemon.git import Git, parse_changes
from daemon.log import get_logger
from daemon.models import Changes
from daemon.snapshots import broken, passed_over
from daemon.snapshots.foresight import Foreseen, foresee
from daemon.snapshots.look import Draft, completed, look
from daemon.snapshots.repository import SnapshotRepository
from daemon.snapshots.submodules import Submodule
from daemon.snapshots.touched import MOST, tells_all, tree_with
from daemon.snapshots.trees import Trees
from daemon.tasks import together

REFS = "refs/snapshots/"
_REF = re.compile(r"(?P<number>[0-9]{6,12})-(?P<commit>[0-9a-f]{40,64})")

log = get_logger()


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
    """`repo` is the checkout; `timeout` is in seconds and for each command of git."""

    def __init__(self, *, folder: Path, repo: Path, timeout: float) -> None:
        self._repository = SnapshotRepository(folder=folder, repo=repo, timeout=timeout)
        self.folder = folder
        self.index = self._repository.index
        self.trees = Trees(self._repository)

    async def foresee(self, label: str, *, update: str, head: str | None) -> Foreseen | None:
        """For a `look` with the same head and a `take` with the same label and update. For the lock's holder."""
        return await foresee(self._repository, head, _message(label, update=update, head=head)) if head else None

    async def look(self, head: str | None, foreseen: Foreseen | None = None) -> Draft | None:
        """For `take` with the same head; None where that has to find out what is wrong.

        Raises UnreadableFilesError, NoSpaceError.
        """
        try:
            with disk_full_blamed(self.folder):
                return await look(self._repository, head, foreseen=foreseen)
        except CommandFailedError as error:
            if error.exit_code < 0:
                raise
            return None

    async def take(
        self,
        label: str,
        *,
        update: str | None = None,
        head: str | None = None,
        draft: Draft | None = None,
        coming: Collection[bytes] | None = None,
    ) -> Snapshot:
        """Kept, and durable when it returns. For the holder of the machine's lock. `head`: the commit of the checkout.

        `draft` is what `look` gave a moment ago. `coming`: an update is about to write files, and these are the names
        that `head` does not have: what is there now is in the snapshot also where git ignores it.
        A repository that is damaged is put aside and a new one begun, and the snapshot's notes say so.
        Raises UnreadableFilesError, RepositoryInTheWayError, CommandFailedError, CheckoutError, NoSpaceError.
        """
        message = _message(label, update=update, head=head)
        try:
            return await self._take(message, head, coming, draft)
        except CommandFailedError as error:
            if error.exit_code < 0:  # it was killed: that says nothing about the repository
                raise
            log.warning("snapshot fails, trying without the index", error=str(error), detail=error.detail)
        await asyncio.to_thread(self.index.unlink, missing_ok=True)
        try:
            return await self._take(message, head, coming)
        except CommandFailedError as error:
            log.warning("snapshot fails, trying a new repository", error=str(error), detail=error.detail)
        return await self._take_anew(message, head, coming)

    async def _take(
        self, message: str, head: str | None, coming: Collection[bytes] | None, draft: Draft | None = None
    ) -> Snapshot:
        with disk_full_blamed(self.folder):
            draft = draft or await look(self._repository, head)
            tree = draft.tree
            edits, commit = draft.committed(message) or await self._commit(tree, head, message)
            # only how it differs from HEAD tells what is missing: seldom anything, and then it takes another commit
            if (whole := await completed(self._repository, draft, edits, coming)) != tree:
                tree = whole
                edits, commit = await self._commit(tree, head, message)
            number = await asyncio.to_thread(self._next_number)
            await self.git()("update-ref", f"{REFS}{number:06}-{commit}", commit)
        if edits is None:
            return Snapshot(commit=commit, tree=tree)
        names = frozenset(edits.split(b"\0")[1::2])
        pristine = not edits and draft.staged == b""
        return Snapshot(commit=commit, tree=tree, edits=parse_changes(edits), edited=names, pristine=pristine)

    async def _commit(self, tree: str, head: str | None, message: str) -> tuple[bytes | None, str]:
        """How it differs from `head`, and the commit that was made of it."""
        _, edits, commit = await together(
            self.trees.walk(tree), self.trees.edits(head, tree), self.trees.commit(tree, message)
        )
        return edits, commit

    async def _take_anew(self, message: str, head: str | None, coming: Collection[bytes] | None) -> Snapshot:
        """Where a new repository does not help either, the old one was not to blame and is put back."""
        aside = await asyncio.to_thread(broken.put_aside, self.folder)
        try:
            taken = await self._take(message, head, coming)
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

    async def after(
        self, before: Snapshot, names: frozenset[bytes] | None, step: Difference | None = None
    ) -> tuple[str, Changes]:
        """The tree of what is there when since `before`, the last look, its edits and `names` alone were touched.

        And how it differs. Costs what was touched. `names` None: there is no telling. `step`: what the update changed
        in the commit; where the disk holds exactly that, git is not asked. For the holder of the machine's lock.
        """
        told = step is not None and (names is None or names <= step.names)
        if before.pristine and step and told and await self.trees.holds(step):
            return step.tree, step.changes
        tree = await self._tree_after(before, names)
        return tree, await self.trees.changes(before.tree, tree)

    async def _tree_after(self, before: Snapshot, names: frozenset[bytes] | None) -> str:
        if names is None or before.edited is None:
            return await self.tree()
        touched = names | before.edited
        if not touched:
            return before.tree
        has_submodules = await asyncio.to_thread((self._repository.repo / ".gitmodules").exists)
        if has_submodules or not tells_all(touched):
            return await self.tree(much=len(touched) > MOST)
        with disk_full_blamed(self.folder):
            return await tree_with(self.git(), touched) or await self.tree()

    async def tree(self, *, much: bool = False) -> str:
        """The content id of the checkout as it is now: equal ids, equal files. For the holder of the machine's lock.

        `much`: many files are new.
        """
        return (await look(self._repository, None, much=much)).tree

    async def restore(self, tree: str) -> None:
        """Makes the files those of a tree, whatever they are now; what git ignores stays.

        Raises DamagedSnapshotError with nothing touched.
        """
        await self.trees.read(await self.tree(), tree)
        await self.trees.check_out(tree)

    async def hidden(self, names: Collection[bytes]) -> frozenset[bytes]:
        """Those of them that no look at the checkout finds, because a rule ignores them."""
        return await passed_over.hidden(self._repository.checkout_git, names)

    async def space(self) -> int:
        """The bytes that the next one and its way back take at least: the index of the checkout, twice."""
        index = (await self._repository.checkout()).index
        try:
            return 2 * (await asyncio.to_thread(index.stat)).st_size
        except FileNotFoundError:
            return 0

    async def submodules(self) -> list[Submodule]:
        """Those whose files a snapshot holds as well."""
        return await self._repository.submodules()

    def git(self) -> Git:
        """In the repository of snapshots."""
        return self._repository.git()


def _message(label: str, *, update: str | None, head: str | None) -> str:
    facts = (("update", update), ("head", head))
    return f"{label}\n\n" + "".join(f"{name}: {value}\n" for name, value in facts if value)
