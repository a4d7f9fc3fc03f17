"""Guessing is slowed down, and costs no memory."""

import pytest

from daemon.auth.throttle import FREE, MOST_PEERS, SECONDS_EACH, Throttle
from daemon.errors import ThrottledError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def failing(address: str, times: int = FREE) -> tuple[Throttle, Clock]:
    clock = Clock()
    throttle = Throttle(clock)
    for _ in range(times):
        throttle.check(address)
        throttle.failed(address)
    return throttle, clock


def test_the_first_failures_are_free() -> None:
    failing("10.0.0.1")[0].check("10.0.0.2")


def test_the_next_one_has_to_wait_and_is_told_how_long() -> None:
    throttle, _ = failing("10.0.0.1")
    with pytest.raises(ThrottledError) as refused:
        throttle.check("10.0.0.1")
    assert refused.value.retry_after == SECONDS_EACH
    assert refused.value.headers == {"Retry-After": "3"}


def test_after_the_pause_there_is_one_attempt_and_then_another_pause() -> None:
    throttle, clock = failing("10.0.0.1")
    clock.now += SECONDS_EACH
    throttle.check("10.0.0.1")
    throttle.failed("10.0.0.1")
    with pytest.raises(ThrottledError):
        throttle.check("10.0.0.1")


def test_long_ago_is_forgotten() -> None:
    throttle, clock = failing("10.0.0.1")
    clock.now += FREE * SECONDS_EACH
    for _ in range(FREE):
        throttle.check("10.0.0.1")
        throttle.failed("10.0.0.1")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::2%eth1"),
        ("unix", "unix"),
    ],
)
def test_one_caller_with_many_addresses_is_one_peer(one: str, other: str) -> None:
    throttle, _ = failing(one)
    with pytest.raises(ThrottledError):
        throttle.check(other)


def test_another_network_is_another_peer() -> None:
    failing("2001:db8:1:2::1")[0].check("2001:db8:1:3::1")


def test_memory_is_bounded() -> None:
    throttle = Throttle(Clock())
    for number in range(MOST_PEERS + 10):
        throttle.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(throttle._empty_at) == MOST_PEERS
