"""From facts to a verdict. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from daemon.health.shapes import DiskReport, Verdict
from daemon.states import State

MOST_STARTS = 3  # in vain, after which it is no start any more; the guard's number
MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the daemon knows of itself. `starts` were in vain; times are in seconds."""

    ready: bool
    leaving: bool
    rescue: bool
    running_for: float
    start_limit: float
    starts: int
    last_state: State | None
    disks: tuple[DiskReport, ...]


Judgement = tuple[Verdict, tuple[str, ...]]
Probed = Literal["up", "down", "unknown"]


def judge(facts: Facts) -> Judgement:
    """The worst that holds, with everything that speaks for it."""
    found = list(_findings(facts))
    if not found:
        return Verdict.HEALTHY, ()
    order = (Verdict.UNHEALTHY, Verdict.STARTING, Verdict.DEGRADED)
    worst = min((verdict for verdict, _ in found), key=order.index)
    return worst, tuple(reason for _, reason in found)


def _findings(facts: Facts) -> Iterable[tuple[Verdict, str]]:
    if facts.last_state is State.INCONSISTENT:
        yield Verdict.UNHEALTHY, "the last update could not be undone: the checkout is not what the records say"
    if facts.leaving:
        yield Verdict.STARTING, "it restarts"
    elif not facts.ready:
        yield _not_ready(facts)
    if facts.rescue:
        yield Verdict.DEGRADED, "the image's own copy serves, because the checkout's daemon does not start"
    for disk in facts.disks:
        if disk.free_bytes < disk.needed_bytes:
            free, needed = disk.free_bytes // MIB, disk.needed_bytes // MIB
            yield Verdict.DEGRADED, f"{disk.path} has {free} MiB left, and an update needs {needed}"


def _not_ready(facts: Facts) -> tuple[Verdict, str]:
    if facts.starts > MOST_STARTS:
        return Verdict.UNHEALTHY, f"it was started {facts.starts} times in vain"
    if facts.running_for > facts.start_limit:
        return Verdict.UNHEALTHY, f"it is not ready after {facts.running_for:.0f} s"
    return Verdict.STARTING, "it has not verified itself yet"


def judge_from_outside(
    *, process: Probed, up_for: float, start_limit: float, answer: Judgement | None, silence: str
) -> Judgement:
    """Of a supervised process and of the socket: both, one of them, or none. `silence`: why there is no answer."""
    match process, answer:
        case "down", (verdict, reasons):
            detached = "it answers, but s6 does not supervise it"
            return (Verdict.DEGRADED if verdict is Verdict.HEALTHY else verdict), (*reasons, detached)
        case _, (verdict, reasons):
            return verdict, reasons
        case "up", None if up_for <= start_limit:
            return Verdict.STARTING, (f"its process runs for {up_for:.0f} s", silence)
        case "up", None:
            return Verdict.DEGRADED, ("its process runs and does not answer", silence)
        case _:
            return Verdict.UNHEALTHY, (silence,)
