"""The status report. No I/O: clients read it too."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from daemon.models import Moment, Shape, Version


class Verdict(StrEnum):
    """`starting` has an end: a daemon that is not ready for long enough is unhealthy."""

    HEALTHY = "healthy"
    STARTING = "starting"
    DEGRADED = "degraded"  # it works, and something should be looked at
    UNHEALTHY = "unhealthy"
    CHECK_FAILED = "check_failed"  # whoever asked could not find out


class ChildProcess(Shape):
    pid: int
    name: str = Field(description="Of the program; never its arguments.")
    memory_bytes: int
    started_at: Moment


class ProcessReport(Shape):
    pid: int
    cpu_seconds: float
    memory_bytes: int
    threads: int
    open_files: int
    children: tuple[ChildProcess, ...]


class DiskReport(Shape):
    """The file system below a folder of the daemon's; `needed_bytes` is what has to be free for an update to begin."""

    path: str
    free_bytes: int
    needed_bytes: int


class Resources(Shape):
    """Memory is the container's where it has a limit, else the host's."""

    cpus: int
    load: tuple[float, float, float] = Field(description="Over 1, 5 and 15 minutes.")
    memory_total_bytes: int
    memory_available_bytes: int
    disks: tuple[DiskReport, ...]


class ServiceReport(Shape):
    """`unknown`: nothing supervises it, or this user may not know."""

    name: str
    state: Literal["ready", "up", "paused", "down", "unknown"]
    wanted_up: bool | None = None
    pid: int | None = None
    exit_code: int | None = Field(None, description="Of its last death.")
    seconds: int | None = Field(None, description="For how long it has been up or down.")


class Status(Shape):
    """`reasons` say why it is not simply healthy. Services are listed and not judged: they are not the daemon's."""

    status: Verdict
    reasons: tuple[str, ...]
    ready: bool
    rescue: bool
    version: Version
    process: ProcessReport
    machine: Resources
    services: tuple[ServiceReport, ...]
