"""Gathers the facts and the report around the verdict."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from daemon.disk import Need
from daemon.health.judging import Facts, judge
from daemon.health.resources import look_at_machine, look_at_process
from daemon.health.shapes import ServiceReport, Status
from daemon.s6 import ScanDirectory, ServiceStatus
from daemon.starts import Starts
from daemon.supervisor import Supervisor
from daemon.version import VersionReporter

# s6-overlay's own, which are no services of anybody
_INTERNAL = ("s6rc-", "s6-linux-init-")


@dataclass(frozen=True, kw_only=True)
class HealthReporter:
    """Answers for one process. `start_limit` is for how many seconds it may be starting."""

    version: VersionReporter
    supervisor: Supervisor
    starts: Starts
    scan: ScanDirectory
    ready: asyncio.Event
    needs: Sequence[Need]
    rescue: bool
    start_limit: float
    born: float

    async def report(self) -> Status:
        version, process, machine, services, starts = await asyncio.gather(
            self.version.report(),
            asyncio.to_thread(look_at_process),
            asyncio.to_thread(look_at_machine, self.needs),
            self._services(),
            self.starts.count(),
        )
        facts = Facts(
            ready=self.ready.is_set(),
            leaving=self.supervisor.leaving.is_set(),
            rescue=self.rescue,
            running_for=time.monotonic() - self.born,
            start_limit=self.start_limit,
            starts=starts,
            last_state=version.last_update.state if version.last_update else None,
            disks=machine.disks,
        )
        verdict, reasons = judge(facts)
        return Status(
            status=verdict,
            reasons=reasons,
            ready=facts.ready and not facts.leaving,
            rescue=self.rescue,
            version=version,
            process=process,
            machine=machine,
            services=services,
        )

    async def _services(self) -> tuple[ServiceReport, ...]:
        names = [name for name in await self.scan.names() if not name.startswith(_INTERNAL)]
        found = await asyncio.gather(*map(self.scan.status, names))
        return tuple(map(service_report, names, found))


def service_report(name: str, status: ServiceStatus | None) -> ServiceReport:
    if status is None:
        return ServiceReport(name=name, state="unknown")
    running = "ready" if status.ready else "up"
    return ServiceReport(
        name=name,
        state="paused" if status.paused else running if status.up else "down",
        wanted_up=status.wanted_up,
        pid=status.pid,
        exit_code=status.exit_code,
        seconds=status.since,
    )
