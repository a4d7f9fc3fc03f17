"""Files that are tracked although a rule ignores them: `git add --all` passes those over that its index does not have.

They are what the checkout's index has and a snapshot has not. Both are compared with one commit, at the cost of what
differs from it; listing what is tracked and ignored would look at every file.
"""

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from daemon.git import Git


async def ignored(checkout: Git) -> frozenset[bytes]:
    """All of them, by the rules; needs no commit."""
    listed = (await checkout("ls-files", "-z", "--cached", "--ignored", "--exclude-standard")).stdout
    return frozenset(listed.split(b"\0")[:-1])


async def hidden(checkout: Git, names: Collection[bytes]) -> frozenset[bytes]:
    """Those of them that a rule ignores, tracked or not."""
    if not names:
        return frozenset()
    words = ("check-ignore", "-z", "--stdin", "--no-index")
    listed = await checkout(*words, stdin=b"".join(name + b"\0" for name in names), ok_codes=(0, 1, 128))
    return frozenset(listed.stdout.split(b"\0")[:-1])


def missing(edits: bytes, staged: bytes) -> frozenset[bytes]:
    """What the index has and the tree has not, from `--name-status -z` of both against the same commit."""
    # U: of a merge that is under way
    return (removed(edits) - _names(staged, b"D")) | (_names(staged, b"A") | _names(staged, b"U")) - added(edits)


def removed(edits: bytes) -> frozenset[bytes]:
    """What the commit has and the tree has not."""
    return _names(edits, b"D")


def added(edits: bytes) -> frozenset[bytes]:
    """What the tree has and the commit has not."""
    return _names(edits, b"A")


def present(repo: Path, names: Iterable[bytes]) -> bytes:
    """Those that are there, each with a NUL after it. A folder is what became of a file, unless it is a repository."""
    root = os.fsencode(repo) + b"/"
    return b"".join(name + b"\0" for name in sorted(names) if name and _is_one(root + name))


def _is_one(path: bytes) -> bool:
    if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114 - bytes
        return os.path.lexists(path + b"/.git")
    return os.path.lexists(path)


def _names(listed: bytes, status: bytes) -> frozenset[bytes]:
    fields = listed.split(b"\0")
    return frozenset(name for kind, name in zip(fields[0:-1:2], fields[1::2], strict=False) if kind == status)
