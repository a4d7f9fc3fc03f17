"""The tree of a commit with the files of its submodules in place of the pointers: what local edits differ from."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from daemon.git import Git
from daemon.snapshots.submodules import Submodule, pointers

INDEX = "base-index"


async def with_submodules(git: Git, commit: str, inner: Sequence[Submodule]) -> str:
    """`git` has to see the objects of them all. A submodule whose commit is not there stays a pointer."""
    if git.git_dir is None:
        raise TypeError("a repository of its own is needed")
    index = git.git_dir / INDEX
    own = replace(git, index=index)
    try:
        await own("read-tree", commit)
        for submodule in inner:
            await _put_in_place(own, submodule.path)
        return (await own("write-tree", "--missing-ok")).text
    finally:
        await asyncio.to_thread(index.unlink, missing_ok=True)


async def _put_in_place(git: Git, path: bytes) -> None:
    commit = pointers((await git("ls-files", "--stage", "-z")).stdout).get(path)
    if commit is None:
        return
    if (await git("cat-file", "-e", commit + b"^{tree}", ok_codes=range(256))).code:
        return
    await git("update-index", "-z", "--index-info", stdin=b"0 %s\t%s\x00" % (b"0" * 40, path))
    await git("read-tree", b"--prefix=" + path + b"/", commit)
