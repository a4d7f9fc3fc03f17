"""The files of a commit, read from the repository and not from the disk."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from daemon.git import Git

_SYMLINK = b"120000"


@dataclass(frozen=True, kw_only=True)
class GitTree:
    """Symlinks are followed inside the commit, as `FolderTree` follows them on disk; those that lead out are absent."""

    git: Git
    commit: str

    async def find(self, match: Callable[[PurePosixPath], bool]) -> dict[str, str]:
        """Raises CommandFailedError."""
        listed = await self.git("ls-tree", "-r", "-z", self.commit)
        entries = {path: entry for path, entry in _entries(listed.stdout) if match(PurePosixPath(path))}
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
        wanted = b"".join(f"{self.commit}:".encode() + os.fsencode(path) + b"\0" for path in paths)
        return (await self.git("cat-file", how, "--follow-symlinks", "-z", stdin=wanted)).stdout


def _entries(listed: bytes) -> Iterable[tuple[str, tuple[bytes, bytes, str]]]:
    for record in filter(None, listed.split(b"\0")):
        meta, _, path = record.partition(b"\t")
        mode, kind, blob = meta.split()
        yield os.fsdecode(path), (mode, kind, blob.decode())
