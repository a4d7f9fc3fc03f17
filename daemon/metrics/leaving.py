"""How long a process took to leave, as a note for the one after it. Everything blocks."""

import math
from contextlib import suppress
from pathlib import Path

_NAME = "lame-duck-seconds"


def leave_note(run_dir: Path, seconds: float) -> None:
    """A note that cannot be written is not worth an error."""
    with suppress(OSError):
        (run_dir / _NAME).write_text(f"{seconds:.3f}\n")


def find_note(run_dir: Path) -> float | None:
    try:
        seconds = float((run_dir / _NAME).read_text())
    except (OSError, ValueError):
        return None
    return seconds if math.isfinite(seconds) else None
