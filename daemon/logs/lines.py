"""A line of a log: the time that s6-log wrote before it, the text, and the place from which to read on."""

import re
import time
from dataclasses import dataclass
from typing import NamedTuple, Self

_STAMP = re.compile(
    rb"@40000000(?P<seconds>[0-9a-f]{8})(?P<nano>[0-9a-f]{8}) ?|(?P<iso>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9}) {1,2}"
)
_TAI_AHEAD = 37  # seconds that TAI is ahead of UTC, since 2017
_CURSOR = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")


@dataclass(frozen=True)
class Cursor:
    """Behind a line: the file, which keeps its inode when it is rotated, and how many bytes of it were read."""

    inode: int
    offset: int

    def __str__(self) -> str:
        return f"{self.inode}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        found = _CURSOR.fullmatch(text)
        if not found:
            raise ValueError("it is no position in a log")
        return cls(int(found[1]), int(found[2]))


class Line(NamedTuple):
    """`at` is in the machine's local time, to the nanosecond; empty where the logger writes none."""

    at: str
    text: str
    cursor: Cursor


def parse(raw: bytes, cursor: Cursor) -> Line:
    r"""Bytes that are not UTF-8 become \\x escapes."""
    stamp = _STAMP.match(raw)
    text = raw[stamp.end() :] if stamp else raw
    return Line(_moment(stamp) if stamp else "", text.decode(errors="backslashreplace"), cursor)


def _moment(stamp: re.Match[bytes]) -> str:
    if stamp["iso"]:
        return stamp["iso"].decode()
    local = time.localtime(int(stamp["seconds"], 16) - _TAI_AHEAD)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', local)}.{int(stamp['nano'], 16):09}"
