"""Where the daemon finds itself, with the evidence for it. Detected once; the settings can overrule it."""

import os
from pathlib import Path
from typing import Literal

from daemon.models import Shape
from daemon.settings import Settings

Name = Literal["local-docker", "daytona", "local"]


class MountEvidence(Shape):
    """What is known of the host's mount. `worktree`: its `.git` is a file that points elsewhere."""

    path: str
    present: bool
    mount_point: bool = False
    readable: bool = False
    empty: bool = False
    read_only: bool = False
    git_repository: bool = False
    worktree: bool = False


class Environment(Shape):
    name: Name
    overridden: bool
    mount: MountEvidence


def detect(settings: Settings) -> Environment:
    mount = look_at_mount(settings.mount)
    detected: Name = "local-docker" if mount.present else "daytona"
    return Environment(name=settings.environment or detected, overridden=bool(settings.environment), mount=mount)


def look_at_mount(path: Path) -> MountEvidence:
    """Never raises: a mount that cannot be looked at is evidence too."""
    if not path.is_dir():
        return MountEvidence(path=str(path), present=False)
    try:
        empty = next(path.iterdir(), None) is None
    except OSError:
        return MountEvidence(path=str(path), present=True, mount_point=path.is_mount())
    dot_git = path / ".git"
    return MountEvidence(
        path=str(path),
        present=True,
        mount_point=path.is_mount(),
        readable=True,
        empty=empty,
        read_only=bool(os.statvfs(path).f_flag & os.ST_RDONLY),
        git_repository=dot_git.exists(),
        worktree=dot_git.is_file(),
    )
