"""The series as Prometheus reads them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.metrics.tally import Tally
from daemon.metrics.totals import BUCKETS, Series, labels
from daemon.models import Version

if TYPE_CHECKING:  # imported when metrics are asked for
    from prometheus_client import Metric


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that is told, as it is now. `lame_duck`: the seconds that the process before took to leave, where known."""

    totals: Series
    tally: Tally
    version: Version
    ready: bool
    lame_duck: float | None


def expose(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    """The text and its content type, in the format that the caller prefers. Blocks."""
    from prometheus_client import CollectorRegistry, ProcessCollector  # noqa: PLC0415 - late, as above
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - late, as above

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Collector(lambda: _families(snapshot)))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Collector:
    def __init__(self, collect: Callable[[], Iterator["Metric"]]) -> None:
        self.collect = collect

    def describe(self) -> list["Metric"]:
        """Nothing is known before it is asked for."""
        return []


def _families(snapshot: Snapshot) -> Iterator["Metric"]:
    yield from _of_updates(snapshot.totals)
    yield from _of_requests(snapshot.tally)
    yield from _of_now(snapshot)


def _of_updates(totals: Series) -> Iterator["Metric"]:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily  # noqa: PLC0415 - late, as above

    updates = CounterMetricFamily(
        "refreshd_updates",
        "Updates that have ended: how, from which source, whether the commit before was known, what was asked for.",
        labels=("result", "source", "from", "to"),
    )
    errors = CounterMetricFamily("refreshd_update_errors", "Why updates did not succeed.", labels=("code",))
    for family, name in ((updates, "updates"), (errors, "errors")):
        for values, number in labels(totals, name):
            family.add_metric(values, number)
    preserved = CounterMetricFamily("refreshd_preserved_edits", "Local edits that updates found and kept.")
    preserved.add_metric((), totals["preserved",])
    steps = HistogramMetricFamily("refreshd_update_step_seconds", "How long each step took.", labels=("step",))
    for (step,), number in labels(totals, "steps_count"):
        bounds = [(str(bound), totals["steps_bucket", step, str(bound)]) for bound in BUCKETS]
        steps.add_metric((step,), [*bounds, ("+Inf", number)], totals["steps_milliseconds", step] / 1000)
    yield from (updates, errors, preserved, steps)


def _of_requests(tally: Tally) -> Iterator["Metric"]:
    from prometheus_client.core import CounterMetricFamily  # noqa: PLC0415 - late, as above

    requests = CounterMetricFamily(
        "refreshd_requests", "Requests that this process has answered.", labels=("method", "route", "status")
    )
    for values, number in sorted(tally.requests.items()):
        requests.add_metric(values, number)
    seconds = CounterMetricFamily("refreshd_request_seconds", "Time spent on them, also on streams.", labels=("route",))
    for route, spent in sorted(tally.seconds.items()):
        seconds.add_metric((route,), spent)
    refused = CounterMetricFamily("refreshd_refused", "Requests that were refused, by error code.", labels=("reason",))
    for reason, number in sorted(tally.refused.items()):
        refused.add_metric((reason,), number)
    yield from (requests, seconds, refused)


def _of_now(snapshot: Snapshot) -> Iterator["Metric"]:
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - late, as above

    version = snapshot.version
    info = GaugeMetricFamily("refreshd_info", "1, with what this process is.", labels=("version", "environment"))
    info.add_metric((version.running.version, version.environment), 1)
    yield info
    running = version.last_update is not None and not version.last_update.state.final
    gauges = {
        "refreshd_ready": ("1 when this process has verified itself and does not leave.", snapshot.ready),
        "refreshd_update_running": ("1 while an update is under way.", running),
        "refreshd_update_available": ("1 when the control plane's commit is another.", version.update_available),
        "refreshd_lame_duck_seconds": ("How long the process before went on answering.", snapshot.lame_duck),
    }
    for name, (documentation, value) in gauges.items():
        # what is not known is not told
        if value is not None:
            yield GaugeMetricFamily(name, documentation, float(value))
