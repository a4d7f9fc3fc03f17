"""What the machine's loggers keep: files of s6-log, read as one text over its rotations."""

from daemon.logs.following import Selection, read
from daemon.logs.lines import Cursor, Line
from daemon.logs.places import Places

__all__ = ["Cursor", "Line", "Places", "Selection", "read"]
