"""REST for the log: lines of JSON, as they are written."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Annotated

from aiohttp import web
from pydantic import AfterValidator, BeforeValidator, Field

from daemon.auth.access import Access
from daemon.errors import NotFoundError
from daemon.log import get_logger
from daemon.logs import Cursor, Line, Places, Selection, read
from daemon.s6 import OURS
from daemon.supervisor import Supervisor
from daemon.tasks import ended
from daemon.triggers.bodies import NUMBER, Input, read_query
from daemon.triggers.routes import API, Route
from daemon.triggers.streams import PING_EVERY

MOST_LINES = 1_000_000
MEDIA_TYPE = "application/x-ndjson"

log = get_logger()


def _flag(text: object) -> object:
    return {"true": True, "false": False}.get(text, text) if isinstance(text, str) else text


def _cursor(text: str) -> str:
    """Raises ValueError."""
    return str(Cursor.parse(text))


class LogQuery(Input):
    """`lines` counts what `grep` leaves."""

    lines: Annotated[int, Field(ge=0, le=MOST_LINES), NUMBER] | None = Field(None, description="The last N, or all.")
    grep: str = Field("", max_length=1000, description="Plain text that a line must hold.")
    follow: Annotated[bool, BeforeValidator(_flag)] = Field(
        default=False, description="Go on with what is written from now on."
    )
    service: str = Field(OURS, max_length=200, description="The daemon, or another service of the machine.")
    after: Annotated[str, AfterValidator(_cursor)] | None = Field(
        None, description="Only what follows the line with this cursor."
    )

    def selection(self) -> Selection:
        after = Cursor.parse(self.after) if self.after else None
        return Selection(lines=self.lines, grep=self.grep, follow=self.follow, after=after)


class LogApi:
    def __init__(self, places: Places, supervisor: Supervisor) -> None:
        self._places = places
        self._supervisor = supervisor

    async def lines(self, request: web.Request) -> web.StreamResponse:
        """Ends when the log does, or with the process; an empty line says now and then that it goes on."""
        query = read_query(request, LogQuery)
        folder = await self._places.find(query.service)
        async with aclosing(read(folder, query.selection())) as batches:
            # the first before the answer begins: a log that is not there is an error, not an empty answer
            first: list[Line] = await anext(batches, [])
            response = web.StreamResponse(headers={"Content-Type": MEDIA_TYPE, "Cache-Control": "no-cache"})
            await response.prepare(request)
            if request.method != "HEAD":
                await self._send(response, first, batches)
        return response

    async def _send(
        self, response: web.StreamResponse, first: list[Line], batches: AsyncGenerator[list[Line], None]
    ) -> None:
        """Until the lines end, the reader goes, or the daemon leaves."""
        work = (_write(response, first, batches), _ping(response), self._supervisor.leaving.wait())
        tasks = [asyncio.create_task(_quietly(each)) for each in work]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ended(*tasks)


def routes(api: LogApi) -> tuple[Route, ...]:
    return (
        Route(
            path=f"{API}/logs",
            access=Access.READ,
            handler=api.lines,
            summary="Streams what the daemon, or another service, has logged: lines of JSON with at, text, cursor.",
            query=LogQuery,
            answers={200: MEDIA_TYPE},
            errors=(NotFoundError,),
        ),
    )


async def _quietly(work: Awaitable[object]) -> None:
    try:
        await work
    except ConnectionError:
        log.debug("log stream was closed by its reader")


async def _write(response: web.StreamResponse, first: list[Line], batches: AsyncGenerator[list[Line], None]) -> None:
    await response.write(_encoded(first))
    async for lines in batches:
        await response.write(_encoded(lines))


async def _ping(response: web.StreamResponse) -> None:
    while True:
        await asyncio.sleep(PING_EVERY)
        await response.write(b"\n")


def _encoded(lines: list[Line]) -> bytes:
    return b"".join(
        json.dumps({"at": line.at, "text": line.text, "cursor": str(line.cursor)}).encode() + b"\n" for line in lines
    )
