"""Where the daemon finds itself, with the evidence for it. Detected once; the settings can overrule it."""

import os
import re
import stat
from pathlib import Path
from typing import Literal

from daemon.models import Shape
from daemon.settings import Settings

Name = Literal["local-docker", "daytona", "local"]

_MOUNT_TABLE = Path("/proc/self/mountinfo")
_MOUNT_POINT = 4  # the field of its lines
_ESCAPED = re.compile(rb"\\([0-7]{3})")


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
    """Blocks as long as the mount does."""
    mount = look_at_mount(settings.mount)
    detected: Name = "local-docker" if mount.present else "daytona"
    return Environment(name=settings.environment or detected, overridden=bool(settings.environment), mount=mount)


def look_at_mount(path: Path) -> MountEvidence:
    """Never raises: a mount that cannot be looked at is evidence too, and is not taken for one that is missing."""
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            return MountEvidence(path=str(path), present=False)
        return _look_inside(path)
    except (FileNotFoundError, NotADirectoryError):
        return MountEvidence(path=str(path), present=False)
    except OSError:
        return MountEvidence(path=str(path), present=True, mount_point=_is_mount_point(path))


def _look_inside(path: Path) -> MountEvidence:
    names = {entry.name for entry in path.iterdir()}
    return MountEvidence(
        path=str(path),
        present=True,
        mount_point=_is_mount_point(path),
        readable=True,
        empty=not names,
        read_only=bool(os.statvfs(path).f_flag & os.ST_RDONLY),
        git_repository=".git" in names,
        worktree=(path / ".git").is_file(),
    )


def _is_mount_point(path: Path) -> bool:
    """By the kernel's table: `Path.is_mount` does not see a folder of the same file system that is bound here."""
    try:
        table = _MOUNT_TABLE.read_bytes()
    except OSError:
        return False
    points = (line.split(b" ")[_MOUNT_POINT] for line in table.splitlines())
    # spaces and the like are written in octal there
    wanted = os.path.realpath(os.fsencode(path))
    return any(_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), point) == wanted for point in points)
