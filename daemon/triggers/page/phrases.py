"""How values read on the page: the filters of its templates."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from daemon.health.shapes import ServiceReport
from daemon.models import Update

if TYPE_CHECKING:  # comes with jinja2, which is imported when the first page is asked for
    from markupsafe import Markup

_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_BAD = frozenset({"failed", "rolled_back", "inconsistent", "unhealthy", "check_failed"})
_TONES = {
    "healthy": "good",
    "succeeded": "good",
    "degraded": "warn",
    "starting": "busy",
    "unchanged": "",
} | dict.fromkeys(_BAD, "bad")


def short(commit: str | None) -> str:
    return commit[:12] if commit else "unknown"


def ref(target: str) -> str:
    if _COMMIT.fullmatch(target):
        return short(target)
    return target.removeprefix("refs/heads/").removeprefix("refs/tags/")


def words(state: str) -> str:
    return state.replace("_", " ")


def tone(state: str) -> str:
    """Every state of an update that has not ended is `busy`."""
    return _TONES.get(state, "busy")


def service_tone(service: ServiceReport) -> str:
    if service.state in {"up", "ready"}:
        return "good"
    return "bad" if service.state == "down" and service.wanted_up else ""


def seconds(count: float) -> str:
    return f"{max(0.0, count):.1f}\N{NO-BREAK SPACE}s"


def duration(update: Update) -> str:
    return seconds((update.finished_at - update.started_at).total_seconds()) if update.finished_at else ""


def way(update: Update) -> str:
    if update.to_commit is None:
        return ""
    if update.from_commit == update.to_commit:
        return short(update.to_commit)
    return f"{short(update.from_commit)} → {short(update.to_commit)}"


def counted(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def size(count: int) -> str:
    gib = count / 1024**3
    return f"{gib:.1f}\N{NO-BREAK SPACE}GiB" if gib >= 1 else f"{count / 1024**2:.0f}\N{NO-BREAK SPACE}MiB"


def time(moment: datetime) -> "Markup":
    """In UTC; a script makes it the reader's own."""
    from markupsafe import Markup  # noqa: PLC0415 - late, as above

    at = moment.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S}")


FILTERS = {
    filter_.__name__: filter_
    for filter_ in (short, ref, words, tone, service_tone, seconds, duration, way, counted, size, time)
}
