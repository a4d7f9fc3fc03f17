"""What Prometheus reads: machines as they were last seen, and what this control plane has done to them."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import get_args

from aiohttp import web
from aiohttp.hdrs import CONTENT_TYPE
from prometheus_client import CollectorRegistry, Histogram, Metric, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from daemon import __version__
from daemon.auth.access import Access
from daemon.control.fleet import Fleet
from daemon.control.models import Activity, MachineKind, MachineState, MachineView, Operation
from daemon.triggers.routes import Route

BUCKETS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800)  # seconds; a refresh has half an hour


class Metrics:
    def __init__(self, fleet: Fleet) -> None:
        self._registry = CollectorRegistry()
        self._seconds = Histogram(
            "refreshd_control_operation_seconds",
            "From the request to the confirmed end: what was done, to whose machines, what it came to.",
            ("activity", "provider", "outcome"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_Fleet(fleet))
        ProcessCollector(registry=self._registry)

    def ended(self, operation: Operation) -> None:
        """Of several control planes, the one that has ended it counts it. No label grows with what callers send."""
        if operation.finished_at is None or operation.result is None:
            return
        provider, _, _ = operation.machine.partition(".")
        seconds = (operation.finished_at - operation.asked_at).total_seconds()
        self._seconds.labels(operation.activity.value, provider, operation.result.outcome).observe(max(0.0, seconds))

    async def show(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        text = await asyncio.to_thread(encode, self._registry)
        return web.Response(body=text, headers={CONTENT_TYPE: content_type})


class _Fleet(Collector):
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before it is asked for."""
        return ()

    def collect(self) -> Iterator[Metric]:
        views = self._fleet.machines()
        info = GaugeMetricFamily("refreshd_control_info", "1, with what this process is.", labels=("version",))
        info.add_metric((__version__,), 1)
        yield info
        yield from _of_machines(views)
        up = GaugeMetricFamily(
            "refreshd_control_provider_up",
            "1 when it listed its machines when it was last asked.",
            labels=("provider",),
        )
        for provider in self._fleet.providers:
            up.add_metric((provider,), provider not in self._fleet.problems)
        yield up


def _of_machines(views: Iterable[MachineView]) -> Iterator[Metric]:
    """Also what there is none of, so that a sum falls to nothing and does not stay where it was."""
    views = tuple(views)
    states = GaugeMetricFamily(
        "refreshd_control_machines", "Machines, by what their provider says of them.", labels=("kind", "state")
    )
    found = Counter((view.kind, view.state) for view in views)
    for kind in get_args(MachineKind):
        for state in MachineState:
            states.add_metric((kind, state.value), found[kind, state])
    yield states
    running = GaugeMetricFamily(
        "refreshd_control_operations_running", "What is being done to machines, by whichever.", labels=("activity",)
    )
    doing = Counter(view.operation.activity for view in views if view.operation)
    for activity in Activity:
        running.add_metric((activity.value,), doing[activity])
    yield running
    for name, documentation, number in (
        ("reachable", "Machines whose daemon answered when it was last asked.", sum(v.reachable for v in views)),
        ("outdated", "Machines that run another commit than ours.", sum(bool(v.update_available) for v in views)),
    ):
        yield GaugeMetricFamily(f"refreshd_control_machines_{name}", documentation, number)


def routes(metrics: Metrics) -> tuple[Route, ...]:
    return (
        Route(
            path="/metrics",
            access=Access.READ,
            handler=metrics.show,
            summary="Tells what can be counted, in Prometheus' text format.",
            answers={200: "text/plain"},
        ),
    )
