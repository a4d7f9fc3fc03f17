"""What a terminal can show: safe text, its width, colours and symbols."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, TextIO

DEFAULT_WIDTH = 80

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")


def printable(text: str) -> str:
    """One line that cannot move the cursor: output of children and names of files come from anywhere."""
    plain = _ESCAPE_SEQUENCE.sub("", text).expandtabs()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in plain)


def indented(text: str, by: str = "    ") -> list[str]:
    return [f"{by}{printable(line)}".rstrip() for line in text.splitlines()]


def clipped(text: str, width: int, ellipsis: str = "…") -> str:
    return text if len(text) <= width else text[: max(0, width - len(ellipsis))] + ellipsis


def width_of(stream: TextIO) -> int | None:
    """None where lines may be of any length: a file or a pipe."""
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or DEFAULT_WIDTH
    except OSError:
        return DEFAULT_WIDTH


def can_repaint(stream: TextIO, environ: Mapping[str, str]) -> bool:
    return stream.isatty() and environ.get("TERM", "") not in {"", "dumb"}


@dataclass(frozen=True)
class Style:
    """Colours where they are wanted, symbols where they can be encoded."""

    coloured: bool
    done: str
    failed: str
    frames: str
    ellipsis: str

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str]) -> Self:
        coloured = can_repaint(stream, environ) and not environ.get("NO_COLOR")
        if _encodes(stream, "✓✗⠋…"):
            return cls(coloured, done="✓", failed="✗", frames="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", ellipsis="…")
        return cls(coloured, done="+", failed="x", frames="|/-\\", ellipsis="...")

    def good(self, text: str) -> str:
        return self._in("32", text)

    def bad(self, text: str) -> str:
        return self._in("31", text)

    def busy(self, text: str) -> str:
        return self._in("36", text)

    def _in(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.coloured else text


def _encodes(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
