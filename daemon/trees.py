"""The files of an update before they are in the checkout: what installers look at to decide and to stage."""

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol


class Tree(Protocol):
    """Read-only files by path, relative to the root of the checkout."""

    async def find(self, match: Callable[[str], bool]) -> dict[str, str]:
        """Path → git blob id of each file whose path matches. `match` is asked about every one."""

    async def read(self, path: str) -> bytes | None:
        """The content, or None where there is no such file."""


class FolderTree:
    """Files of a folder on disk, as far as they are in the given list."""

    def __init__(self, root: Path, paths: Iterable[bytes]) -> None:
        self._root = root
        self._paths = frozenset(map(os.fsdecode, paths))

    async def find(self, match: Callable[[str], bool]) -> dict[str, str]:
        return await asyncio.to_thread(self._find, match)

    def _find(self, match: Callable[[str], bool]) -> dict[str, str]:
        wanted = (name for name in sorted(self._paths) if match(name))
        contents = ((name, _content(self._root / name)) for name in wanted)
        return {name: blob_id(content) for name, content in contents if content is not None}

    async def read(self, path: str) -> bytes | None:
        return await asyncio.to_thread(_content, self._root / path) if path in self._paths else None


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() else None
    except FileNotFoundError:
        return None


def blob_id(content: bytes) -> str:
    """The id that git gives to a file of this content (in a repository of SHA-1 objects)."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
