"""`overlay`: lays the machine's files out in a root file system, from the package or from a source checkout."""

import stat
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import daemon
from daemon.cli.exit_codes import ExitCode
from daemon.cli.output import Output
from daemon.errors import RefreshdError
from daemon.files import write_atomically

ENTRY = Path("usr/local/bin/refreshd-entry")


class Change(Enum):
    """What laying a file out does, in the words for having done it."""

    NONE = "unchanged"
    CREATE = "created"
    SET_MODE = "mode set"
    REPLACE = "replaced"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True)
class Placement:
    """One file of a machine and where it goes."""

    path: Path
    content: bytes

    @property
    def mode(self) -> int:
        """What begins with `#!` is a program, whatever became of its mode on the way here."""
        return 0o755 if self.content.startswith(b"#!") else 0o644

    def change(self) -> Change:
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return Change.CREATE
        except NotADirectoryError:
            return Change.IMPOSSIBLE
        if stat.S_ISLNK(found.st_mode):
            return Change.REPLACE
        if not stat.S_ISREG(found.st_mode):
            return Change.IMPOSSIBLE
        if self.path.read_bytes() != self.content:
            return Change.REPLACE
        return Change.NONE if stat.S_IMODE(found.st_mode) == self.mode else Change.SET_MODE

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, self.content)
        # the umask has had its say when the file was made
        self.path.chmod(self.mode)


class OverlayError(Exception):
    pass


def run(arguments: Namespace) -> int:
    output = Output(as_json=arguments.json, quiet=arguments.quiet)
    folder = arguments.folder.absolute()
    try:
        changes = [(placement, placement.change()) for placement in placements(folder, sources())]
        _refuse_damage(changes, force=arguments.force)
        if not arguments.dry_run:
            _write(changes)
    except (OverlayError, RefreshdError) as error:
        output.failure(str(error), {"error": {"code": "overlay_failed", "message": str(error)}})
        return ExitCode.FAILED
    except OSError as error:
        message = f"cannot lay out {error.filename or folder}: {error.strerror}"
        output.failure(message, {"error": {"code": "overlay_failed", "message": message}})
        return ExitCode.FAILED
    output.result(_told(changes, dry_run=arguments.dry_run), _documented(folder, changes))
    return ExitCode.DONE


def sources() -> Path:
    """The folder that holds `s6-overlay/` and `entry.sh`: in the package, or above it in a source checkout.

    Raises OverlayError.
    """
    package = Path(daemon.__file__).parent
    for folder in (package / "machine", package.parent):
        if (folder / "s6-overlay").is_dir() and (folder / "entry.sh").is_file():
            return folder
    raise OverlayError(f"cannot find the machine's files beside {package}: install refreshd from its wheel")


def placements(root: Path, source: Path) -> Iterator[Placement]:
    overlay = source / "s6-overlay"
    for file in sorted(overlay.rglob("*")):
        if file.is_file():
            yield Placement(root / file.relative_to(overlay), file.read_bytes())
    yield Placement(root / ENTRY, (source / "entry.sh").read_bytes())


def _refuse_damage(changes: Sequence[tuple[Placement, Change]], *, force: bool) -> None:
    """All is refused before anything is written. Raises OverlayError."""
    blocked = [placement.path for placement, change in changes if change is Change.IMPOSSIBLE]
    if blocked:
        raise OverlayError("\n    ".join(["cannot write where something else than a file is:", *map(str, blocked)]))
    differing = [placement.path for placement, change in changes if change is Change.REPLACE]
    if differing and not force:
        raise OverlayError("\n    ".join(["cannot overwrite files that differ without --force:", *map(str, differing)]))


def _write(changes: Sequence[tuple[Placement, Change]]) -> None:
    for placement, change in changes:
        if change is Change.SET_MODE:
            placement.path.chmod(placement.mode)
        elif change is not Change.NONE:
            placement.write()


def _told(changes: Sequence[tuple[Placement, Change]], *, dry_run: bool) -> str:
    lines = [f"{change.value} {placement.path}" for placement, change in changes if change is not Change.NONE]
    same = sum(change is Change.NONE for _, change in changes)
    lines.append(f"{same} of {len(changes)} files were right already")
    return "\n".join([*(["nothing is written, this is what would be:"] if dry_run else []), *lines])


def _documented(folder: Path, changes: Sequence[tuple[Placement, Change]]) -> dict[str, object]:
    def paths(wanted: Change) -> list[str]:
        return [str(placement.path) for placement, change in changes if change is wanted]

    return {
        "folder": str(folder),
        "created": paths(Change.CREATE),
        "replaced": paths(Change.REPLACE),
        "mode_set": paths(Change.SET_MODE),
        "unchanged": paths(Change.NONE),
    }
