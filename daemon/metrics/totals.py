"""What updates have come to since the machine was made: from the journal, which survives the restarts.

The journal forgets its oldest records, and a counter must not fall: what has been counted is kept beside it.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from daemon.files import write_atomically
from daemon.journal import Journal
from daemon.log import get_logger
from daemon.models import Update
from daemon.states import State

BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)  # seconds
_SEPARATOR = "|"

log = get_logger()

Series = Counter[tuple[str, ...]]


class Totals:
    """Series by name and labels: `updates`, `errors`, `preserved`, and of `steps` count, sum and buckets."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self._path = path
        self._journal = journal
        self._counting = asyncio.Lock()
        self._through = 0
        self._series: Series = Counter()
        self._loaded = False

    async def current(self) -> Series:
        """Every update that has ended is in it once."""
        async with self._counting:
            if not self._loaded:
                self._through, self._series = await asyncio.to_thread(_load, self._path)
                self._loaded = True
            ended = await self._ended()
            for update in ended:
                count(self._series, update)
                self._through = _number(update)
            if ended:
                await asyncio.to_thread(_store, self._path, self._through, self._series)
            return self._series

    async def _ended(self) -> list[Update]:
        """Those after the last that was counted, oldest first, up to one that still runs."""
        latest = await self._journal.latest()
        if latest is None or _number(latest) <= self._through:
            return []
        new = await self._journal.history(_number(latest) - self._through)
        ended: list[Update] = []
        for update in sorted(new, key=_number):
            if not update.state.final:
                break
            if _number(update) > self._through:
                ended.append(update)
        return ended


def count(series: Series, update: Update) -> None:
    before = "known" if update.from_commit else "unknown"
    series["updates", update.state, update.source or "unknown", before, target_class(update)] += 1
    if update.error:
        series["errors", update.error.code] += 1
    if update.preserved:
        series["preserved",] += update.preserved.total
    for step in update.steps:
        if not step.state.final and step.seconds is not None:
            _observe(series, step.state, step.seconds)


def target_class(update: Update) -> str:
    """What kind of name was asked for: their number has no bound, that of kinds has."""
    target = update.request.target_ref
    if update.request.rollback_of:
        return "rollback"
    for prefix, kind in (("refs/heads/", "branch"), ("refs/tags/", "tag"), ("refs/", "ref")):
        if target.startswith(prefix):
            return kind
    return "commit" if len(target) in {40, 64} and not target.strip("0123456789abcdef") else "name"


def _observe(series: Series, step: State, seconds: float) -> None:
    series["steps_count", step] += 1
    series["steps_milliseconds", step] += round(seconds * 1000)
    for bound in BUCKETS:
        if seconds <= bound:
            series["steps_bucket", step, str(bound)] += 1


def _number(update: Update) -> int:
    return int(update.id.partition("-")[0])


def _load(path: Path) -> tuple[int, Series]:
    """From nothing where there is no file, or none that can be read: the journal tells what it still knows."""
    try:
        content = json.loads(path.read_bytes())
        series = Counter({tuple(key.split(_SEPARATOR)): int(value) for key, value in content["series"].items()})
        return int(content["through"]), series
    except FileNotFoundError:
        return 0, Counter()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        log.warning("totals are not readable, counting what the journal still has", path=str(path))
        return 0, Counter()


def _store(path: Path, through: int, series: Series) -> None:
    flat = {_SEPARATOR.join(key): value for key, value in series.items()}
    try:
        write_atomically(path, json.dumps({"through": through, "series": flat}).encode())
    except OSError as error:
        log.warning("totals cannot be kept", error=str(error))


def labels(series: Series, name: str) -> Iterable[tuple[tuple[str, ...], int]]:
    return ((key[1:], value) for key, value in sorted(series.items()) if key[0] == name)
