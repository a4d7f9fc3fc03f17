"""REST for the status report."""

from aiohttp import web

from daemon.auth.access import Access
from daemon.health import Status
from daemon.health.reporting import HealthReporter
from daemon.triggers.routes import API, Route


class StatusApi:
    def __init__(self, health: HealthReporter) -> None:
        self._health = health

    async def status(self, _request: web.Request) -> web.Response:
        """200 whatever the verdict is: the question was answered. Probes ask /readyz."""
        return web.json_response((await self._health.report()).snake())


def routes(api: StatusApi) -> tuple[Route, ...]:
    return (
        Route(
            path=f"{API}/status",
            access=Access.READ,
            handler=api.status,
            summary="Says how the daemon, its process, the machine and the services beside it are.",
            answers={200: Status},
        ),
    )
