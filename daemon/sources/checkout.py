"""A repository on this machine as it is found: where it is, what it is, and questions that need no network."""

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

from daemon.errors import CheckoutError, CommandFailedError
from daemon.git import Git
from daemon.sources.blame import blamed
from daemon.sources.locks import Locks
from daemon.tasks import together

# a partial clone would fetch in the middle of a local command, without credentials and outside of any time limit
OFFLINE = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}

# prints what is modified
UNMODIFIED = ("status", "--porcelain", "-z", "--untracked-files=no", "--ignore-submodules=untracked", "--no-renames")

_DIFFERENCE = ("diff-tree", "-r", "-z", "--no-renames", "--ignore-submodules=none", "--raw", "--no-abbrev")
_KIND = ("--is-bare-repository", "--is-inside-work-tree", "--is-shallow-repository")
_PLACE = ("--path-format=absolute", "--git-dir", "--git-common-dir")
_HEAD = ("HEAD^{commit}", "--symbolic-full-name", "HEAD")
_OPTIONS = (
    r"^(remote\.origin\.url|remote\..*\.promisor|extensions\.partialclone|core\.sshcommand"
    r"|submodule\..*\.(url|update|active)|url\..*\.insteadof)$"
)
_ORIGIN = "remote.origin.url"
_REWRITTEN = re.compile(rb"(?:\A|\0)url\.[^\n]*\.insteadof\n")
_EMPTY_TREE = {
    40: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    64: "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}


@dataclass(frozen=True, kw_only=True)
class Repository:
    """`head` is None where HEAD names no commit, `branch` is HEAD's full name unless it is detached.

    `origin` is the URL of the remote of that name, as the user's `insteadOf` rules have it, None where there is none.
    `git` never uses the network. `config` holds the few options that the sources look at, by git's own spelling.
    """

    git: Git
    git_dir: Path
    common_dir: Path
    shallow: bool
    head: str | None
    branch: str | None
    origin: str | None
    config: Mapping[str, str]

    @classmethod
    async def open(cls, path: Path, *, limit: float) -> Self:
        """A checkout: the top folder of a working tree. `limit` is for each command, in seconds.

        Raises CheckoutError for anything else.
        """
        return await cls.describe(await git_in(path, limit=limit))

    @classmethod
    async def describe(cls, git: Git) -> Self:
        """Raises CheckoutError."""
        with blamed(CheckoutError, git.folder):
            about, options = await together(
                # 128 is also the answer of a repository without commits
                git("rev-parse", *_KIND, *_PLACE, *_HEAD, ok_codes=(0, 128)),
                git("config", "-z", "--get-regexp", _OPTIONS, ok_codes=(0, 1)),
            )
            lines = about.text.split("\n")
            if len(lines) < len(_KIND) + 2:
                raise CommandFailedError(command=about.command.name, exit_code=about.code, detail=about.tail)
            config = _options(options.stdout)
            origin = config.get(_ORIGIN)
            if origin and _is_rewritten(options.stdout):
                origin = await effective_url(git, "origin")
        bare, inside, shallow, git_dir, common_dir, *head = lines
        if bare == "true" or inside != "true":
            raise CheckoutError(path=str(git.folder), reason="it is a repository without a working tree")
        return cls(
            git=git,
            git_dir=Path(git_dir),
            common_dir=Path(common_dir),
            shallow=shallow == "true",
            head=head[0] if about.code == 0 else None,
            branch=head[1] if about.code == 0 and head[1] != "HEAD" else None,
            origin=origin,
            config=MappingProxyType(config),
        )

    @property
    def folder(self) -> Path:
        return self.git.folder

    @property
    def checked_out(self) -> bool:
        """False for a submodule's repository whose files are nowhere, or not yet."""
        return self.git.git_dir is None

    @property
    def locks(self) -> Locks:
        return Locks(folder=self.folder, git_dirs=tuple(dict.fromkeys((self.git_dir, self.common_dir))))

    @property
    def partial(self) -> bool:
        """Some objects were left at the remote, to be fetched when they are needed."""
        return any(name.endswith((".promisor", ".partialclone")) for name in self.config)

    def limited(self, seconds: float) -> Self:
        """The same with another limit for each command."""
        return replace(self, git=replace(self.git, timeout=seconds))

    async def missing(self, commit: str) -> frozenset[str] | None:
        """As the function of this name."""
        return await missing(self.git, commit)

    async def peeled(self, name: str) -> str | None:
        """The id of the commit that a name, an id or a tag leads to."""
        found = await self.git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", ok_codes=(0, 1, 128))
        return found.text if found.code == 0 else None

    async def peeled_with_tree(self, name: str) -> tuple[str, str] | None:
        """The same, and the id of its tree, which may itself be missing in a partial clone."""
        found = await self.git("rev-list", "--no-walk", "--format=%T", f"{name}^{{commit}}", ok_codes=(0, 128))
        commit, _, tree = found.text.removeprefix("commit ").partition("\n")
        return (commit, tree) if tree else None

    async def difference(self, commit: str) -> bytes:
        """The committed one, from HEAD to `commit`: facts, name, facts, name, and so on, each with a NUL after it."""
        before = self.head or _EMPTY_TREE[len(commit)]
        return (await self.git(*_DIFFERENCE, before, commit)).stdout

    async def difference_if_known(self, name: str) -> bytes | None:
        """The same for anything that leads to a commit; None without a HEAD, or where objects are missing."""
        if self.head is None:
            return None
        told = await self.git(*_DIFFERENCE, self.head, name, ok_codes=(0, 128))
        return None if told.code else told.stdout

    async def unmodified(self) -> bool:
        """Files and index are HEAD's, submodules are at the commits that it names; untracked files do not count."""
        return not (await self.git(*UNMODIFIED)).stdout


async def missing(git: Git, commit: str) -> frozenset[str] | None:
    """Objects of the commit's files that are not here; None if the commit itself is not.

    A fetch that was killed can leave a commit without its files, so that the commit alone proves nothing.
    """
    words = ("rev-list", "--objects", "--no-walk", "--quiet", "--missing=print", commit)
    walked = await git(*words, ok_codes=(0, 128))
    if walked.code:
        return None
    return frozenset(line.removeprefix("?") for line in walked.text.split("\n") if line.startswith("?"))


async def git_in(path: Path, *, limit: float) -> Git:
    """Without the network, and in no repository around the folder; `limit` is for each command, in seconds."""
    folder = await asyncio.to_thread(_resolved, path)
    return Git(folder=folder, timeout=limit, env=OFFLINE | {"GIT_CEILING_DIRECTORIES": str(folder.parent)})


async def effective_url(git: Git, remote: str) -> str:
    """Of a remote's name or a URL, after the user's `insteadOf` rules. Raises CommandFailedError."""
    return (await git("ls-remote", "--get-url", "--end-of-options", remote)).text


def _resolved(path: Path) -> Path:
    """Git compares `safe.directory` with the path that the kernel knows."""
    return Path(os.path.realpath(path))


def _is_rewritten(options: bytes) -> bool:
    """Whether only git can tell which URL a remote has: by the user's rules, or because there are several."""
    return bool(_REWRITTEN.search(options)) or options.count(f"{_ORIGIN}\n".encode()) > 1


def _options(output: bytes) -> dict[str, str]:
    """The last value of each; an option without a value is a true one."""
    pairs = (entry.partition("\n") for entry in os.fsdecode(output).split("\0") if entry)
    return {name: value if newline else "true" for name, newline, value in pairs}


async def make_repository(folder: Path, *, limit: float) -> None:
    """A missing or empty folder becomes a repository without commits; `limit` in seconds. Raises CheckoutError."""
    if await asyncio.to_thread(_is_missing, folder):
        with blamed(CheckoutError, folder):
            await Git(folder=folder, timeout=limit)("init", "--quiet", "--template=", "--initial-branch=main", ".")


def _is_missing(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(folder / ".git"):
            return False
        empty = next(folder.iterdir(), None) is None
    except OSError as error:
        reason = f"it is no folder that can be used ({error.strerror})"
        raise CheckoutError(path=str(folder), reason=reason) from error
    if not empty:
        raise CheckoutError(path=str(folder), reason="it is not empty and not a git repository")
    return True
