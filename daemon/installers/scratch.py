"""A folder that exists for the length of one step."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterable
from pathlib import Path, PurePosixPath

from daemon.files import disk_full_named
from daemon.trees import Tree


@contextlib.asynccontextmanager
async def scratch_folder(path: Path) -> AsyncIterator[Path]:
    """Empty when it is given out, removed on every way out. What a killed process left at `path` goes first."""
    await asyncio.to_thread(_make_empty, path)
    try:
        yield path
    finally:
        await remove(path)


async def remove(*paths: Path) -> None:
    for path in paths:
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)


async def write_out(tree: Tree, paths: Iterable[str], folder: Path, *, below: str = "") -> None:
    """Writes files of `tree` to `folder`, under their paths relative to `below`. Raises NoSpaceError."""
    for path in paths:
        relative = PurePosixPath(path).relative_to(below)
        content = await tree.read(path)
        if content is not None and ".." not in relative.parts:
            await asyncio.to_thread(_write, folder / relative, content)


def _make_empty(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with disk_full_named(path):
        path.mkdir(parents=True)


def _write(path: Path, content: bytes) -> None:
    with disk_full_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
