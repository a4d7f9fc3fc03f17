"""The last moments of a process: nothing new is accepted, and everything that was is still answered."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

from aiohttp import web

from daemon.log import get_logger

QUIET = 0.1  # seconds without a request, after which connections that have been used count as idle
FIRST_REQUEST = 1.0  # seconds for those that have not
_POLL = 0.005  # seconds, while it lasts

log = get_logger()


class Connection(Protocol):
    @property
    def used(self) -> bool:
        """Whether a request has come over it."""


class LameDuck:
    """Counts requests in flight by `count`, the outermost middleware; in the end, each answer closes its connection."""

    def __init__(self) -> None:
        self._leaving = False
        self._in_flight = 0
        self._last = 0.0

    @web.middleware
    async def count(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self._in_flight += 1
        try:
            response = await handler(request)
        finally:
            self._in_flight -= 1
            self._last = time.monotonic()
        if self._leaving:
            response.force_close()
        return response

    async def quiet(self, connections: Callable[[], Collection[Connection]], limit: float) -> float:
        """Returns when no connection is open, or none of them has been used for a moment; after `limit` anyway.

        A client may send its next request at any time until it has read that the connection closes, and one that has
        connected is about to send its first: both get a moment more. Gives the seconds that it took.
        """
        self._leaving = True
        began = self._last = time.monotonic()
        while not self._quiet(connections(), time.monotonic() - began):
            if time.monotonic() - began > limit:
                log.warning("requests are cut off", in_flight=self._in_flight, limit=limit)
                return limit
            await asyncio.sleep(_POLL)
        seconds = round(time.monotonic() - began, 3)
        log.info("requests are answered", seconds=seconds, idle=len(connections()))
        return seconds

    def _quiet(self, connections: Collection[Connection], seconds: float) -> bool:
        if not connections:
            return True
        if self._in_flight or time.monotonic() - self._last < QUIET:
            return False
        return seconds > FIRST_REQUEST or all(connection.used for connection in connections)
