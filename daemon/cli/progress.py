"""An update as it happens: one line for each state, alive on a terminal and plain everywhere else."""

import asyncio
import itertools
import time
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Self, TextIO

from daemon.cli.terminal import DEFAULT_WIDTH, Style, can_repaint, clipped, width_of
from daemon.cli.texts import seconds
from daemon.client import Watcher
from daemon.models import Entry, Update
from daemon.states import State
from daemon.tasks import ended

REPAINT_EVERY = 0.1  # seconds

_BAD = frozenset({State.FAILED, State.ROLLED_BACK, State.INCONSISTENT})
_ERASE_LINE = "\r\x1b[2K"
_WAITING = "waiting for the daemon"


class Progress(Watcher):
    """Shows nothing, and remembers which update it is about."""

    update_id = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leaves the cursor at the begin of a line."""

    def accepted(self, update: Update) -> None:
        self.update_id = update.id


def progress_on(stream: TextIO, environ: Mapping[str, str]) -> Progress:
    style = Style.of(stream, environ)
    return LiveProgress(stream, style) if can_repaint(stream, environ) else PlainProgress(stream, style)


class PlainProgress(Progress):
    """For logs: each state as it begins, with the time since the request by the machine's clock."""

    def __init__(self, stream: TextIO, style: Style) -> None:
        self._stream = stream
        self._style = style
        self._asked_at: datetime | None = None
        self._state: State | None = None

    def entry(self, entry: Entry) -> None:
        self._asked_at = self._asked_at or entry.at
        if entry.state is not self._state:
            self._state = entry.state
            self._say(seconds((entry.at - self._asked_at).total_seconds()), _words(entry.state))

    def away(self, reason: str) -> None:  # noqa: ARG002 - the reason is said if the daemon stays away
        self._say("", f"{_WAITING}{self._style.ellipsis}")

    def _say(self, when: str, what: str) -> None:
        self._stream.write(f"{when:>9}  {what}\n")
        self._stream.flush()


class LiveProgress(Progress):
    """For people: the state that lasts is painted again and again, with an indicator that moves."""

    def __init__(self, stream: TextIO, style: Style) -> None:
        self._stream = stream
        self._style = style
        self._frames = itertools.cycle(style.frames)
        self._first: Entry | None = None
        self._current: Entry | None = None
        self._seen_at = 0.0
        self._waiting = False
        self._painting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._painting = asyncio.create_task(self._paint_forever())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._painting:
            await ended(self._painting)
        if self._current:
            # what is left on the screen must not look as if it still moved
            self._replace_line(" ", self._running_text())
            self._stream.write("\n")
            self._stream.flush()

    def entry(self, entry: Entry) -> None:
        self._waiting = False
        self._first = self._first or entry
        if self._current and self._current.state is entry.state:
            return
        if self._current:
            self._settle(self._current, entry)
        self._current, self._seen_at = entry, time.monotonic()
        if entry.state.final:
            self._mark(_text(entry.state, (entry.at - self._first.at).total_seconds()), good=entry.state not in _BAD)
            self._current = None
        else:
            self._paint()

    def away(self, reason: str) -> None:  # noqa: ARG002 - the reason is said if the daemon stays away
        self._waiting = True
        self._paint()

    def _settle(self, ended: Entry, following: Entry) -> None:
        # the machine's own clock: it saw both ends, also of a state that began before we came
        lasted = (following.at - ended.at).total_seconds()
        self._mark(_text(ended.state, lasted), good=following.state not in _BAD)

    def _mark(self, text: str, *, good: bool) -> None:
        style = self._style
        self._replace_line(style.good(style.done) if good else style.bad(style.failed), text)
        self._stream.write("\n")
        self._stream.flush()

    async def _paint_forever(self) -> None:
        while True:
            await asyncio.sleep(REPAINT_EVERY)
            self._paint()

    def _paint(self) -> None:
        if self._current or self._waiting:
            self._replace_line(self._style.busy(next(self._frames)), self._running_text())

    def _running_text(self) -> str:
        waiting = f"{_WAITING}{self._style.ellipsis}" if self._waiting else ""
        if self._current is None:
            return waiting
        text = _text(self._current.state, time.monotonic() - self._seen_at)
        return f"{text}  {waiting}".rstrip()

    def _replace_line(self, mark: str, text: str) -> None:
        """A line that is as wide as the terminal would wrap, and could not be replaced again."""
        room = (width_of(self._stream) or DEFAULT_WIDTH) - 3
        self._stream.write(f"{_ERASE_LINE}{mark} {clipped(text, room, self._style.ellipsis)}")
        self._stream.flush()


def _text(state: State, lasted: float) -> str:
    return f"{_words(state):<12} {seconds(lasted):>8}"


def _words(state: State) -> str:
    return state.replace("_", " ")
