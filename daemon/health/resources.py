"""What the process and its machine use and have left, by psutil and the container's own limit. Everything blocks."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.disk import Need, room
from daemon.health.shapes import ChildProcess, DiskReport, ProcessReport, Resources

if TYPE_CHECKING:  # not needed for the first answer, and slow to import
    import psutil

CGROUP = Path("/sys/fs/cgroup")


def look_at_process() -> ProcessReport:
    import psutil  # noqa: PLC0415 - late, as above

    process = psutil.Process()
    with process.oneshot():
        times = process.cpu_times()
        return ProcessReport(
            pid=process.pid,
            cpu_seconds=round(times.user + times.system, 3),
            memory_bytes=process.memory_info().rss,
            threads=process.num_threads(),
            open_files=process.num_fds(),
            children=tuple(_reports(process.children(recursive=True))),
        )


def _reports(children: "Sequence[psutil.Process]") -> Iterator[ChildProcess]:
    import psutil  # noqa: PLC0415 - late, as above

    for child in children:
        # it may end while it is looked at
        with suppress(psutil.Error):
            yield ChildProcess(
                pid=child.pid,
                name=child.name(),
                memory_bytes=child.memory_info().rss,
                started_at=datetime.fromtimestamp(child.create_time(), UTC),
            )


def look_at_machine(needs: Sequence[Need], cgroup: Path = CGROUP) -> Resources:
    total, available = _memory(cgroup)
    one, five, fifteen = os.getloadavg()
    return Resources(
        cpus=len(os.sched_getaffinity(0)),
        load=(round(one, 2), round(five, 2), round(fifteen, 2)),
        memory_total_bytes=total,
        memory_available_bytes=available,
        disks=tuple(DiskReport(path=str(n.path), free_bytes=room(n.path).bytes, needed_bytes=n.bytes) for n in needs),
    )


def _memory(cgroup: Path) -> tuple[int, int]:
    """Total and available. What the kernel can drop at once, its cache of files, counts as available."""
    import psutil  # noqa: PLC0415 - late, as above

    host = psutil.virtual_memory()
    limit, used = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    if limit is None or used is None or limit > host.total:
        return host.total, host.available
    return limit, min(host.available, max(0, limit - used + _cache(cgroup)))


def _cache(cgroup: Path) -> int:
    with suppress(OSError, ValueError):
        lines = (line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        return next((int(value) for name, value in lines if name == "inactive_file"), 0)
    return 0


def _number(path: Path) -> int | None:
    """None where there is no limit (`max`) and no such file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
