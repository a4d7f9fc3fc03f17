"""The files of a commit, read from the repository and not from the disk."""

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Sequence

from daemon.git import Git
from daemon.trees import narrowed

LIST = ("ls-tree", "-r", "-z")

_SYMLINK = b"120000"
_GITMODULES = re.compile(rb"(?:\A|\0)\d{6} \w+ [0-9a-f]+\t\.gitmodules\0")


class GitTree:
    """Symlinks are followed inside the commit, as `FolderTree` follows them on disk; those that lead out are absent.

    A commit never changes, so its list of files is asked for once.
    """

    def __init__(self, *, git: Git, commit: str, listed: bytes | None = None) -> None:
        """`listed` is the output of `LIST` for the commit, where that is known already."""
        self._git = git
        self._commit = commit
        self._listed = listed

    async def find(self, match: Callable[[str], bool], *, ends: Sequence[str] = (), below: str = "") -> dict[str, str]:
        """Raises CommandFailedError."""
        if self._listed is None:
            self._listed = (await self._git(*LIST, self._commit)).stdout
        entries = await asyncio.to_thread(_matching, self._listed, match, ends, below)
        files = {path: blob for path, (mode, kind, blob) in entries.items() if kind == b"blob" and mode != _SYMLINK}
        return files | await self._behind([path for path, (mode, *_) in entries.items() if mode == _SYMLINK])

    async def read(self, path: str) -> bytes | None:
        answer = await self._ask("--batch", [path])
        header, _, rest = answer.partition(
            b"\n"
        )  # of an absent file git repeats the name, which may look like anything
        words = header.split()
        if len(words) == 3 and words[1] == b"blob" and words[2].isdigit():  # noqa: PLR2004 - id, kind and size
            return rest[: int(words[2])]
        return None

    async def _behind(self, symlinks: list[str]) -> dict[str, str]:
        if not symlinks:
            return {}
        # what does not lead to a file is answered in more than one line, so each is asked for by itself
        answers = {path: (await self._ask("--batch-check", [path])).split() for path in symlinks}
        return {path: answer[0].decode() for path, answer in answers.items() if answer[1:2] == [b"blob"]}

    async def _ask(self, how: str, paths: Iterable[str]) -> bytes:
        wanted = b"".join(f"{self._commit}:".encode() + os.fsencode(path) + b"\0" for path in paths)
        return (await self._git("cat-file", how, "--follow-symlinks", "-z", stdin=wanted)).stdout


def has_gitmodules(listed: bytes) -> bool:
    """Of the output of `LIST`. Without that file a commit has no submodules."""
    # the plain search first: of 100,000 names the pattern takes a quarter of a second
    return b"\t.gitmodules\0" in listed and bool(_GITMODULES.search(listed))


def _matching(
    listed: bytes, match: Callable[[str], bool], ends: Sequence[str], below: str
) -> dict[str, tuple[bytes, bytes, str]]:
    """Mode, kind and id by path. Only what matches is taken apart."""
    found = narrowed(listed, ends=ends, below=b"\t" + os.fsencode(below) if below else b"")
    records = (record.partition(b"\t") for record in found)
    wanted = ((meta.split(), path) for meta, _, name in records if match(path := os.fsdecode(name)))
    return {path: (mode, kind, blob.decode()) for (mode, kind, blob), path in wanted}
