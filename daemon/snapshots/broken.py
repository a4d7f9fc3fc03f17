"""A repository of snapshots that cannot be used any more is put aside, for whoever wants to look, and not deleted."""

import re
import shutil
from pathlib import Path

KEPT = 2

_ASIDE = re.compile(r"\.broken-(?P<number>[0-9]+)")


def put_aside(folder: Path) -> Path:
    """Returns the new name, `….broken-N`; the newest of them are kept."""
    older = _aside(folder)
    for path in older[: max(0, len(older) - KEPT + 1)]:
        shutil.rmtree(path, ignore_errors=True)
    aside = folder.with_name(f"{folder.name}.broken-{_number(older[-1]) + 1 if older else 1}")
    folder.rename(aside)
    return aside


def put_back(aside: Path, folder: Path) -> None:
    """As it was, in place of what has been begun since."""
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def _aside(folder: Path) -> list[Path]:
    """The oldest first."""
    found = folder.parent.glob(f"{folder.name}.broken-*")
    return sorted((path for path in found if _ASIDE.fullmatch(path.suffix)), key=_number)


def _number(path: Path) -> int:
    return int(path.suffix.rpartition("-")[2])
