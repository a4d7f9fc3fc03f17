"""Work for the time of a wait is begun by whoever waits, ends with it, and is nobody's if nobody waits."""

import asyncio

from daemon.meanwhile import Meanwhile


async def test_it_is_begun_once_however_often_somebody_waits() -> None:
    begun: list[int] = []

    async def work() -> int:
        begun.append(1)
        return len(begun)

    meanwhile = Meanwhile(work)
    meanwhile.begin()
    meanwhile.begin()
    assert (await meanwhile.result(), begun) == (1, [1])
    await meanwhile.end()


async def test_where_nobody_waited_there_is_no_result() -> None:
    async def work() -> int:
        raise AssertionError("it was begun")

    meanwhile = Meanwhile(work)
    assert await meanwhile.result() is None
    await meanwhile.end()


async def test_nothing_of_it_runs_after_its_end() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append("ended")

    meanwhile = Meanwhile(work)
    meanwhile.begin()
    await asyncio.sleep(0)
    await meanwhile.end()
    assert ended == ["ended"]


async def test_what_was_disowned_has_no_result() -> None:
    async def work() -> int:
        return 1

    meanwhile = Meanwhile(work)
    meanwhile.begin()
    meanwhile.disown()
    assert await meanwhile.result() is None
    await meanwhile.end()
