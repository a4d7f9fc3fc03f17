"""Where the parts of a checkout's repository are, read from plain files: no git process is needed to find them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

# what git keeps until a merge, a cherry-pick or a revert is committed, and drops with a checkout
UNDER_WAY = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "MERGE_MODE", "MERGE_MSG", "SQUASH_MSG", "AUTO_MERGE")
_SYMBOLIC = re.compile(rb"ref: (refs/[^\n]+)\n?")


@dataclass(frozen=True)
class GitDir:
    """`folder` holds HEAD and the index, `common` what all worktrees of the repository share."""

    folder: Path
    common: Path

    @property
    def index(self) -> Path:
        return self.folder / "index"

    @property
    def exclude(self) -> Path:
        return self.common / "info" / "exclude"

    @property
    def objects(self) -> Path:
        return self.common / "objects"

    def head(self) -> bytes | None:
        """The content of HEAD."""
        return read(self.folder / "HEAD")

    def under_way(self) -> dict[str, bytes]:
        """Of what is not committed yet: the files of that name and their content."""
        found = {name: read(self.folder / name) for name in UNDER_WAY}
        return {name: content for name, content in found.items() if content is not None}

    def branch(self) -> str | None:
        """The full name that HEAD points to; None when it is detached."""
        match = _SYMBOLIC.fullmatch(self.head() or b"")
        return os.fsdecode(match[1]) if match else None


def find(checkout: Path) -> GitDir | None:
    """None where there is no repository. In a linked worktree or a submodule `.git` is a file that names its folder."""
    git_dir = _git_dir(checkout)
    if git_dir is None:
        return None
    common = read(git_dir / "commondir")
    common_dir = git_dir / os.fsdecode(common.rstrip(b"\n")) if common else git_dir
    return GitDir(git_dir, common_dir)


def _git_dir(checkout: Path) -> Path | None:
    dot_git = checkout / ".git"
    if dot_git.is_dir():
        return dot_git
    pointer = read(dot_git)
    if pointer is None or not pointer.startswith(b"gitdir: "):
        return None
    return checkout / os.fsdecode(pointer.removeprefix(b"gitdir: ").rstrip(b"\n"))


def read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
