"""The submodules of a checkout: folders with a repository of their own, of which a tree names only a commit.

A snapshot holds their files all the same. In its index such a pointer is replaced by a file below it that is not there:
from then on git takes the folder for one like any other and finds the files itself.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from daemon import gitdir
from daemon.git import Git

MAX_DEPTH = 8

_POINTER = b"160000 "
_EMPTY = b"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
_NOTHING = b"0" * 40


@dataclass(frozen=True)
class Submodule:
    """One that is checked out, in the repository at `above`.

    `path` and the names of its `tracked` files are relative to the checkout.
    """

    path: bytes
    folder: Path
    above: Path
    tracked: frozenset[bytes]


async def checked_out(repo: Path, *, limit: float) -> list[Submodule]:
    """To any depth, the outer before the inner; `limit` is in seconds and for each call of git."""
    if not await asyncio.to_thread((repo / ".gitmodules").exists):
        return []
    found: list[Submodule] = []
    level = [(repo, b"", repo, await _listed(repo, limit))]
    for _ in range(MAX_DEPTH):
        level = [
            (folder, path, above, await _listed(folder, limit))
            for above, prefix, _, listed in level
            for folder, path in await asyncio.to_thread(_with_repository, above, prefix, pointers(listed))
        ]
        found += [
            Submodule(path, folder, above, frozenset(path + b"/" + name for name in names(listed)))
            for folder, path, above, listed in level
        ]
    return found


async def _listed(folder: Path, limit: float) -> bytes:
    return (await Git(folder=folder, timeout=limit)("ls-files", "--stage", "-z")).stdout


def _with_repository(above: Path, prefix: bytes, paths: Iterable[bytes]) -> list[tuple[Path, bytes]]:
    """Those of the paths, and below what prefix they are. A link in place of a folder may lead anywhere."""
    real = Path(os.path.realpath(above))
    folders = ((above / os.fsdecode(path), path) for path in paths)
    return [
        (folder, prefix + b"/" + path if prefix else path)
        for folder, path in folders
        if os.path.lexists(folder / ".git") and os.path.realpath(folder) == str(real / os.fsdecode(path))
    ]


def pointers(listed: bytes) -> dict[bytes, bytes]:
    """Path → commit, from the output of `ls-files --stage -z` or `ls-tree -r -z`."""
    lines = (line.partition(b"\t") for line in listed.split(b"\0") if line.startswith(_POINTER))
    return {name: max(facts.split(), key=len) for facts, _, name in lines}


def names(listed: bytes) -> Iterator[bytes]:
    """Of everything else, from the same output."""
    lines = (line.partition(b"\t") for line in listed.split(b"\0") if line and not line.startswith(_POINTER))
    return (name for _, _, name in lines)


def unfolding(paths: Iterable[bytes]) -> bytes:
    """For `update-index -z --index-info`: the pointers go, and what git is to take for a file comes below them."""
    return b"".join(b"0 %s\t%s\x00100644 %s\t%s/.refreshd\x00" % (_NOTHING, path, _EMPTY, path) for path in paths)


def excludes(submodules: Iterable[Submodule]) -> bytes:
    """The rules of their own `info/exclude` files as rules for the checkout."""
    return b"".join(
        rule + b"\n"
        for submodule in submodules
        if (found := gitdir.find(submodule.folder))
        for line in (gitdir.read(found.exclude) or b"").splitlines()
        if (rule := _below(submodule.path, line))
    )


def _below(path: bytes, line: bytes) -> bytes:
    """A rule of .gitignore, for a folder above; empty for what is none."""
    rule = line.strip()
    if not rule or rule.startswith(b"#"):
        return b""
    negation, rule = (b"!", rule[1:]) if rule.startswith(b"!") else (b"", rule)
    literal = b"".join(b"\\" + bytes([c]) if c in b"\\*?[" else bytes([c]) for c in path)
    anywhere = b"" if b"/" in rule.rstrip(b"/") else b"**/"
    return negation + b"/" + literal + b"/" + anywhere + rule.lstrip(b"/")
