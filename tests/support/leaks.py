"""Where a secret could be found by somebody who was not given it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.repos import git


def arguments_and_environments() -> Iterator[bytes]:
    """Of every process on this machine that can be looked at."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield (process / "cmdline").read_bytes() + (process / "environ").read_bytes()


def files_with(folder: Path, secret: str) -> list[Path]:
    """Files below the folder that hold it, by name or content; of git's objects the unpacked content."""
    found = [path for path in folder.rglob("*") if secret in path.name]
    found += [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    for objects in folder.rglob("objects"):
        everything = git(objects.parent, "--git-dir=.", "cat-file", "--batch-all-objects", "--batch", "--unordered")
        found += [objects] if secret in everything else []
    return found
