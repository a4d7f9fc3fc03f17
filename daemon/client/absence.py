"""A daemon that is away: how long it is waited for, and how often it is asked meanwhile."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from daemon.client.errors import NoAnswerError, TimedOutError

FIRST_PAUSE = 0.05  # seconds, doubled up to the longest
LONGEST_PAUSE = 1.0

T = TypeVar("T")


class Absence:
    """The pauses between attempts, and when to make no more of them."""

    def __init__(self, bound: float, on_away: Callable[[str], None] | None) -> None:
        self._bound = bound
        self._on_away = on_away
        self._since: float | None = None
        self._pause = FIRST_PAUSE

    def over(self) -> None:
        self._since = None
        self._pause = FIRST_PAUSE

    async def endure(self, error: NoAnswerError) -> None:
        """Returns when it is time to ask again. Raises TimedOutError at the bound."""
        now = asyncio.get_running_loop().time()
        if self._since is None:
            self._since = now
            if self._on_away:
                self._on_away(str(error))
        pause = max(self._pause * random.uniform(0.7, 1.3), error.retry_after)  # noqa: S311 - to spread a fleet's requests
        if now + pause > self._since + self._bound:
            raise TimedOutError(what="the daemon to come back", seconds=self._bound, detail=str(error)) from error
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        await asyncio.sleep(pause)


async def patiently(ask: Callable[[], Awaitable[T]], bound: float, on_away: Callable[[str], None] | None = None) -> T:
    """Asks again while no answer comes. Raises TimedOutError when the daemon stays away for `bound` seconds."""
    absence = Absence(bound, on_away)
    while True:
        try:
            return await ask()
        except NoAnswerError as error:
            await absence.endure(error)
