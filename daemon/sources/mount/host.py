"""The git side of the mount: its HEAD, and a git that lists its files. Nothing here writes into the mount."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import MountError
from daemon.git import Git
from daemon.process import Result
from daemon.sources.blame import blamed


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a repository answers to one question of `git rev-parse`, and where its HEAD is.

    `commit` and its `tree` are None where HEAD names none, `ref` is the branch's full name and None on a detached HEAD.
    """

    answer: str
    commit: str | None = None
    tree: str | None = None
    ref: str | None = None


async def identify(git: Git, question: str) -> Identity | None:
    """None when git finds no repository that it can read. One child for all: every refresh asks."""
    words = ("rev-parse", question, "HEAD^{commit}", "HEAD^{tree}", "--symbolic-full-name", "HEAD")
    # 128 is also the answer of a repository without commits; the question is answered all the same
    return _parsed(await git(*words, ok_codes=(0, 128)))


def _parsed(result: Result) -> Identity | None:
    answer, *head = result.text.split("\n")
    if not answer:
        return None
    if result.code:
        return Identity(answer=answer)
    commit, tree, name = head
    return Identity(answer=answer, commit=commit, tree=tree, ref=None if name == "HEAD" else name)


@dataclass(frozen=True, kw_only=True)
class HostRepository:
    """A folder of the host, free of symlinks itself, and the `git` that lists its files.

    Where its own repository cannot be read, `readable` is False and `problem` says why: `git` then works with an empty
    repository at `scratch` and knows nothing but the .gitignore files.
    """

    folder: Path
    scratch: Path
    git: Git
    readable: bool
    commit: str | None = None
    tree: str | None = None
    ref: str | None = None
    problem: str = ""

    async def inner(self, path: bytes) -> "HostRepository":
        """The repository in a folder of this one. Raises MountError."""
        return await open_host_repository(self.folder / os.fsdecode(path), scratch=self.scratch, limit=self.git.timeout)


async def open_host_repository(folder: Path, *, scratch: Path, limit: float) -> HostRepository:
    """`limit` is in seconds and for each call of git. Raises MountError."""
    own = Git(folder=folder, timeout=limit)
    with blamed(MountError, folder):
        identity = await identify(own, "--show-toplevel")
    # git also finds a repository around the folder, or one that works on another folder
    if identity is None or identity.answer != str(folder):
        return await _open_without_repository(folder, scratch, limit)
    return HostRepository(
        folder=folder,
        scratch=scratch,
        git=own,
        readable=True,
        commit=identity.commit,
        tree=identity.tree,
        ref=identity.ref,
        problem="" if identity.commit else "the mount's HEAD names no commit",
    )


async def _open_without_repository(folder: Path, scratch: Path, limit: float) -> HostRepository:
    await asyncio.to_thread(scratch.mkdir, parents=True, exist_ok=True)
    with blamed(MountError, folder):
        await Git(folder=scratch, timeout=limit)("init", "--quiet", "--bare", "--template=")
    return HostRepository(
        folder=folder,
        scratch=scratch,
        git=Git(folder=folder, timeout=limit, git_dir=scratch),
        readable=False,
        problem=await asyncio.to_thread(_why_unreadable, folder),
    )


def _why_unreadable(folder: Path) -> str:
    dot_git = folder / ".git"
    if not os.path.lexists(dot_git):
        return "the mount is no git repository"
    if dot_git.is_file():
        return "the mount's .git points to a repository elsewhere on the host, which cannot be seen from here"
    return "git cannot read the repository of the mount"
