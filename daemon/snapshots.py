"""Nothing is lost: a tree of everything in the checkout that git does not ignore, in a repository of its own.

The repository is bare, lives in the state folder and has the checkout as its work tree and an index of its own, so the
checkout's repository is neither read nor written, and the second snapshot costs what changed. Its attributes switch
every conversion off: the bytes are those on disk.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from daemon import repository
from daemon.errors import CheckoutError
from daemon.files import write_atomically
from daemon.git import Git, printable
from daemon.log import get_logger
from daemon.models import Changes
from daemon.repository import Repository

LISTED = 200  # names in a record; counts are not cut

log = get_logger()

_EXACT = b"* -text -filter -ident -eol -working-tree-encoding\n"
_AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "refreshd"), ("EMAIL", "refreshd@localhost"))
}


@dataclass(frozen=True)
class Snapshot:
    """`commit` keeps the tree from being collected and says when and why it was taken."""

    commit: str
    tree: str


class Snapshots:
    def __init__(self, *, folder: Path, repo: Path, timeout: float) -> None:
        self.folder = folder
        self.index = folder / "refreshd-index"
        self._repo = repo
        self._timeout = timeout

    async def take(self, label: str) -> Snapshot:
        """Kept, and durable when it returns. Raises CommandFailedError, CheckoutError."""
        tree = await self.tree()
        commit = (await self.git()("commit-tree", tree, stdin=label.encode())).text
        await self.git()("update-ref", f"refs/snapshots/{commit}", commit)
        return Snapshot(commit=commit, tree=tree)

    async def tree(self) -> str:
        """The content id of the checkout as it is now: equal ids, equal files."""
        await self._ensure_repository()
        exclude = str((await self._repository()).exclude)
        git = self.git(config={"core.excludesFile": exclude})
        added = await git("add", "--all", "--ignore-errors", ok_codes=(0, 1))
        if added.code:
            log.warning("some files cannot be preserved", detail=added.tail)
        # files that are tracked although a rule ignores them: `add --all` passes them over
        ignored = await self._checkout()("ls-files", "-z", "--cached", "--ignored", "--exclude-standard")
        if present := await asyncio.to_thread(self._present, ignored.stdout):
            literal = self.git(env={"GIT_LITERAL_PATHSPECS": "1"})
            await literal("add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul", stdin=present)
        return (await git("write-tree")).text

    async def changes(self, before: str, after: str) -> Changes:
        """What differs between two trees, by content."""
        result = await self.git()("diff-tree", "-r", "-z", "--no-renames", "--name-status", before, after)
        return parse_name_status(result.stdout)

    async def changed_since(self, commit: str, tree: str) -> Changes:
        """What a tree holds that a commit of the checkout does not: local edits."""
        objects = str((await self._repository()).objects)
        git = self.git(env={"GIT_ALTERNATE_OBJECT_DIRECTORIES": objects})
        result = await git("diff-tree", "-r", "-z", "--no-renames", "--name-status", f"{commit}^{{tree}}", tree)
        return parse_name_status(result.stdout)

    async def restore(self, tree: str) -> None:
        """Makes the files those of a tree, whatever they are now; what git ignores stays."""
        await self.tree()
        await self.git()("read-tree", "-u", "--reset", tree)

    async def tree_of(self, commit: str) -> str | None:
        """None for a snapshot that is not kept any more."""
        found = await self.git()("rev-parse", "--verify", "--quiet", f"{commit}^{{tree}}", ok_codes=(0, 1, 128))
        return found.text if found.code == 0 else None

    async def _repository(self) -> Repository:
        found = await asyncio.to_thread(repository.find, self._repo)
        if found is None:
            raise CheckoutError(path=str(self._repo), reason="it is not a git repository")
        return found

    def _present(self, listed: bytes) -> bytes:
        root = os.fsencode(self._repo)
        return b"".join(name + b"\0" for name in listed.split(b"\0") if name and os.path.lexists(root + b"/" + name))

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
                "core.fsync": "committed,index",
                "core.autocrlf": "false",
                "advice.addEmbeddedRepo": "false",
            }
            | (config or {}),
            env=_AUTHOR | (env or {}),
        )

    def _checkout(self) -> Git:
        return Git(folder=self._repo, timeout=self._timeout)


def parse_name_status(output: bytes) -> Changes:
    """The output of `--name-status -z`: status, name, status, name, and so on."""
    fields = output.split(b"\0")
    pairs = list(zip(fields[0:-1:2], fields[1::2], strict=False))
    kinds = [{b"A": "A", b"D": "D"}.get(status[:1], "M") for status, _ in pairs]
    return Changes(
        added=kinds.count("A"),
        changed=kinds.count("M"),
        deleted=kinds.count("D"),
        files=tuple(f"{kind} {printable(name)}" for kind, (_, name) in list(zip(kinds, pairs, strict=True))[:LISTED]),
    )
