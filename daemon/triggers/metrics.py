"""`/metrics` for Prometheus."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from aiohttp.hdrs import CONTENT_TYPE

from daemon.auth.access import Access
from daemon.metrics.exposition import Snapshot, expose
from daemon.metrics.leaving import find_note
from daemon.metrics.tally import Tally
from daemon.metrics.totals import Totals
from daemon.supervisor import Supervisor
from daemon.triggers.routes import Route
from daemon.version import VersionReporter


@dataclass(frozen=True, kw_only=True)
class MetricsApi:
    totals: Totals
    tally: Tally
    version: VersionReporter
    supervisor: Supervisor
    ready: asyncio.Event
    run_dir: Path

    async def metrics(self, request: web.Request) -> web.Response:
        snapshot = Snapshot(
            totals=await self.totals.current(),
            tally=self.tally,
            version=await self.version.report(),
            ready=self.ready.is_set() and not self.supervisor.leaving.is_set(),
            lame_duck=await asyncio.to_thread(find_note, self.run_dir),
        )
        text, content_type = await asyncio.to_thread(expose, snapshot, request.headers.get("Accept", ""))
        return web.Response(body=text, headers={CONTENT_TYPE: content_type})


def routes(api: MetricsApi) -> tuple[Route, ...]:
    return (
        Route(
            path="/metrics",
            access=Access.READ,
            handler=api.metrics,
            summary="Tells what can be counted, in Prometheus' text format.",
            answers={200: "text/plain"},
        ),
    )
