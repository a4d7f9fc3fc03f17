"""What this process is made of. As long as the disk holds the same, starting it once more would prove nothing new."""

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import daemon
from daemon.stamps import Stamp, stamp
from daemon.trees import Tree, blob_id

_PACKAGE = "daemon"
_IMPORTABLE = (".py", ".so", ".pth", ".zip")


@dataclass(frozen=True)
class OwnCode:
    """The daemon's files in the checkout, and what decides which interpreter and which libraries they meet."""

    repo: Path
    code_dir: Path
    files: Mapping[str, Stamp]
    interpreter: Stamp
    libraries: frozenset[str]

    async def unchanged(self) -> bool:
        """Whether the disk holds what this process has imported."""
        return await asyncio.to_thread(look, self.repo, self.code_dir) == self

    async def is_in(self, tree: Tree, ids: Mapping[str, str] | None = None) -> bool:
        """Whether that tree has the same daemon, file by file. `ids`: what was asked for a while ago."""
        # first: of a daemon that somebody changed or removed in the meantime nothing has to be looked for
        ours = ids or await self.ids()
        return ours is not None and ours == await tree.find(
            lambda path: path.startswith(self._prefix), below=self._prefix
        )

    async def ids(self) -> Mapping[str, str] | None:
        """Of its files, by their paths in the checkout; None once the disk holds something else."""
        if not await self.unchanged():
            return None
        try:
            return await asyncio.to_thread(self._ids)
        except OSError:
            return None  # changed since

    @property
    def _prefix(self) -> str:
        return f"{(self.code_dir / _PACKAGE).as_posix()}/"

    def _ids(self) -> dict[str, str]:
        package = self.repo / self.code_dir / _PACKAGE
        return {self._prefix + name: blob_id((package / name).read_bytes()) for name in self.files}


def look(repo: Path, code_dir: Path) -> OwnCode | None:
    """None where this process runs another daemon than the checkout's, such as the image's own copy."""
    code = repo / code_dir
    package = code / _PACKAGE
    if package.resolve() != Path(daemon.__file__).resolve().parent:
        return None
    return OwnCode(
        repo=repo,
        code_dir=code_dir,
        files={os.path.relpath(path, package): stamp(path) for path in _files(package)},
        interpreter=stamp(code / ".venv" / "bin" / "python"),
        libraries=frozenset(name for folder in {str(code), *sys.path} for name in _importable(folder)),
    )


def _files(package: Path) -> Iterator[str]:
    for folder, inner, names in os.walk(package):
        inner[:] = [name for name in inner if name != "__pycache__"]
        yield from (os.path.join(folder, name) for name in names)  # noqa: PTH118 - half the time, at each start


def _importable(folder: str) -> Iterator[str]:
    """By name: another version of a library is another folder `….dist-info`."""
    try:
        with os.scandir(folder or ".") as entries:
            yield from (entry.path for entry in entries if entry.name.endswith(_IMPORTABLE) or entry.is_dir())
    except OSError:
        return
