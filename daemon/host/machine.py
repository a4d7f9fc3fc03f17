"""A machine as its host sees it: how to ask its daemon, and whether there is still anybody to ask."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from daemon.client import Client, NoAnswerError

GONE_AFTER = 120.0  # seconds without an answer; an update that is undone may take most of it


class Machine(Protocol):
    @property
    def name(self) -> str: ...

    def client(self) -> Client: ...

    async def stopped(self) -> str | None:
        """Why there will be no answer for now; None while the machine runs. Takes ten seconds at most."""


class Reached:
    """Known by its address only: it counts as stopped when it has not answered for `gone_after` seconds."""

    def __init__(self, name: str, make_client: Callable[[], Client], gone_after: float = GONE_AFTER) -> None:
        self.name = name
        self.client = make_client
        self._gone_after = gone_after
        self._answered_at: float | None = None

    async def stopped(self) -> str | None:
        now = asyncio.get_running_loop().time()
        try:
            async with self.client() as client:
                await client.health()
        except NoAnswerError as error:
            self._answered_at = now if self._answered_at is None else self._answered_at
            return str(error) if now - self._answered_at >= self._gone_after else None
        self._answered_at = now
        return None
