"""From facts to a verdict: each fact alone, and which one counts where there are several."""

from dataclasses import replace

import pytest

from daemon.health.judging import Facts, Judgement, Probed, judge, judge_from_outside
from daemon.health.shapes import DiskReport, Verdict
from daemon.states import State

MIB = 1024 * 1024
SOUND = Facts(
    ready=True,
    leaving=False,
    rescue=False,
    running_for=1000,
    start_limit=90,
    starts=0,
    last_state=State.SUCCEEDED,
    disks=(DiskReport(path="/state", free_bytes=100 * MIB, needed_bytes=32 * MIB),),
)
FULL = (DiskReport(path="/state", free_bytes=3 * MIB, needed_bytes=32 * MIB),)
YOUNG = replace(SOUND, ready=False, running_for=5)


def test_a_daemon_without_a_flaw_is_healthy() -> None:
    assert judge(SOUND) == (Verdict.HEALTHY, ())


@pytest.mark.parametrize("state", [None, State.FAILED, State.ROLLED_BACK, State.UNCHANGED, State.STAGING])
def test_an_update_that_ended_where_it_began_is_no_flaw(state: State | None) -> None:
    assert judge(replace(SOUND, last_state=state))[0] is Verdict.HEALTHY


@pytest.mark.parametrize(
    ("facts", "verdict", "reason"),
    [
        (YOUNG, Verdict.STARTING, "has not verified itself yet"),
        (replace(YOUNG, running_for=90), Verdict.STARTING, "has not verified itself yet"),
        (replace(YOUNG, running_for=91), Verdict.UNHEALTHY, "not ready after 91 s"),
        (replace(YOUNG, starts=4), Verdict.UNHEALTHY, "started 4 times in vain"),
        (replace(SOUND, leaving=True), Verdict.STARTING, "restarts"),
        (replace(SOUND, rescue=True), Verdict.DEGRADED, "the image's own copy serves"),
        (replace(SOUND, disks=FULL), Verdict.DEGRADED, "/state has 3 MiB left, and an update needs 32"),
        (replace(SOUND, last_state=State.INCONSISTENT), Verdict.UNHEALTHY, "could not be undone"),
    ],
)
def test_each_flaw_has_its_verdict_and_its_reason(facts: Facts, verdict: Verdict, reason: str) -> None:
    found, reasons = judge(facts)
    assert (found, len(reasons)) == (verdict, 1)
    assert reason in reasons[0]


def test_the_worst_counts_and_all_reasons_are_told() -> None:
    verdict, reasons = judge(replace(YOUNG, rescue=True, disks=FULL, last_state=State.INCONSISTENT))
    assert (verdict, len(reasons)) == (Verdict.UNHEALTHY, 4)


HEALTHY: Judgement = (Verdict.HEALTHY, ())
ILL: Judgement = (Verdict.UNHEALTHY, ("ill",))


@pytest.mark.parametrize(
    ("process", "answer", "up_for", "verdict"),
    [
        ("up", HEALTHY, 0, Verdict.HEALTHY),
        ("unknown", HEALTHY, 0, Verdict.HEALTHY),
        ("up", ILL, 0, Verdict.UNHEALTHY),
        ("down", HEALTHY, 0, Verdict.DEGRADED),
        ("down", ILL, 0, Verdict.UNHEALTHY),
        ("up", None, 10, Verdict.STARTING),
        ("up", None, 91, Verdict.DEGRADED),
        ("down", None, 0, Verdict.UNHEALTHY),
        ("unknown", None, 0, Verdict.UNHEALTHY),
    ],
)
def test_process_and_socket_together_say_how_it_is(
    process: Probed, answer: Judgement | None, up_for: float, verdict: Verdict
) -> None:
    found = judge_from_outside(process=process, up_for=up_for, start_limit=90, answer=answer, silence="silent")
    assert found[0] is verdict
    assert ("silent" in found[1]) is (answer is None)
