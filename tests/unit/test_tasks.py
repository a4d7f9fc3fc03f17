"""Work that reaches its end, and cancellations that are not lost, whoever is cancelled while they wait."""

import asyncio
from typing import Any

import pytest

from daemon.errors import RestartingError
from daemon.tasks import ended, uncancelled


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_uncancelled_work_ends_before_the_cancellation_is_passed_on(times: int) -> None:
    at_its_end = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.1)
        at_its_end.set()

    waiting = asyncio.ensure_future(uncancelled(work()))
    for _ in range(times):
        await asyncio.sleep(0.01)
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert at_its_end.is_set()


async def for_ever() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.1)


async def failing(error: Exception) -> None:
    raise error


@pytest.fixture
async def reported() -> list[dict[str, Any]]:
    """What the loop was told of."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    return found


async def test_what_is_ended_does_not_run_any_more_and_an_error_it_met_is_nobodys_business(
    reported: list[dict[str, Any]],
) -> None:
    tasks = [asyncio.create_task(work) for work in (for_ever(), failing(OSError()), failing(RestartingError()))]
    await asyncio.sleep(0)
    await ended(*tasks)
    assert all(task.done() for task in tasks)
    await ended()
    assert reported == []


async def test_a_defect_is_reported_also_when_the_one_who_waits_is_cancelled(reported: list[dict[str, Any]]) -> None:
    defect = ValueError()
    ending = asyncio.create_task(ended(asyncio.create_task(for_ever()), asyncio.create_task(failing(defect))))
    await asyncio.sleep(0.01)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert [context["exception"] for context in reported] == [defect]


async def test_whoever_is_cancelled_while_a_task_ends_sees_its_end_and_is_cancelled() -> None:
    task = asyncio.create_task(for_ever())
    await asyncio.sleep(0)
    ending = asyncio.create_task(ended(task))
    await asyncio.sleep(0.01)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert task.cancelled()
