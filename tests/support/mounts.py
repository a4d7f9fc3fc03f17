"""A host's folder, a checkout and the source between them."""

import os
from dataclasses import dataclass
from pathlib import Path

from daemon.refs import parse_ref
from daemon.sources import Staged
from daemon.sources.mount import MountSource
from tests.support.repos import Repo

Seen = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Lab:
    """`host` is what is mounted, `checkout` what is refreshed from it."""

    root: Path
    host: Repo

    @classmethod
    def create(cls, root: Path) -> "Lab":
        return cls(root, Repo.create(root / "host"))

    @property
    def checkout(self) -> Repo:
        return Repo(self.root / "checkout")

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    def source(self, *, mount: Path | None = None, timeout: float = 60) -> MountSource:
        return MountSource(
            repo=self.checkout.path,
            mount=mount or self.host.path,
            state_dir=self.state_dir,
            stage_timeout=timeout,
            apply_timeout=timeout,
        )

    async def stage(self, ref: str = "main", *, mount: Path | None = None) -> Staged:
        source = self.source(mount=mount)
        await source.prepare()
        return await source.stage(parse_ref(ref))

    async def refresh(self, ref: str = "main", *, mount: Path | None = None) -> Staged:
        """As the engine does: each refresh in a process of its own, nothing kept but the state folder."""
        staged = await self.stage(ref, mount=mount)
        await self.source(mount=mount).apply(staged)
        return staged

    @property
    def files(self) -> set[str]:
        """All files of the checkout."""
        return files_below(self.checkout.path)


def files_below(root: Path) -> set[str]:
    """Relative paths of everything that is no folder, without those in a `.git`."""
    found = (Path(parent, name).relative_to(root) for parent, _, names in os.walk(root) for name in names)
    links = (path.relative_to(root) for path in root.rglob("*") if path.is_symlink())
    return {str(path) for path in (*found, *links) if ".git" not in path.parts}


def everything_about(root: Path) -> Seen:
    """All that a write would change, of every file and folder, the `.git` included; when it was read does not count."""
    paths = [root, *root.rglob("*")]
    return {str(path): _seen(os.lstat(path)) for path in paths}


def _seen(found: os.stat_result) -> tuple[int, ...]:
    return (
        found.st_ino,
        found.st_mode,
        found.st_uid,
        found.st_gid,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )
