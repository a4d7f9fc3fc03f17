"""Server-sent events: one way to send them, for REST and for tRPC."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import NamedTuple

from aiohttp import web
from aiohttp_sse import EventSourceResponse

from daemon.log import get_logger

PING_EVERY = 15.0  # seconds; proxies close a stream that is silent for longer
SEND_TIMEOUT = 30.0  # seconds that a reader may leave unread what was sent
RETRY = 300  # milliseconds after which a reader comes back; a restart takes about as long
LEAVING = "leaving"  # the name of the event that tells readers to come back

MEDIA_TYPE = "text/event-stream"

log = get_logger()


class ServerEvent(NamedTuple):
    """Without a name it is a `message`."""

    data: str
    name: str | None = None
    id: str | None = None
    retry: int | None = None


async def stream(
    request: web.Request, events: AsyncIterator[ServerEvent], leaving: asyncio.Event
) -> web.StreamResponse:
    """Sends until the events end, the reader goes, or the daemon leaves; what is cut so is resumed by its readers."""
    response = EventSourceResponse(
        sep="\n", ping_interval=PING_EVERY, send_timeout=SEND_TIMEOUT, allow_all_methods=True
    )
    await response.prepare(request)
    if request.method == "HEAD":
        response.stop_streaming()
        return response
    async with response:
        sending = asyncio.create_task(_send(response, events))
        left = asyncio.create_task(leaving.wait())
        try:
            await asyncio.wait({left, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            cut = not sending.done()
            sending.cancel()
            await asyncio.gather(sending, left, return_exceptions=True)
        if cut:
            await _send(response, _told())
    if leaving.is_set():
        response.force_close()
    return response


async def _told() -> AsyncIterator[ServerEvent]:
    """Without an id: readers resume after the last event that had one."""
    yield ServerEvent(json.dumps({"retry_after_ms": RETRY}), LEAVING, retry=RETRY)


async def _send(response: EventSourceResponse, events: AsyncIterator[ServerEvent]) -> None:
    try:
        async for event in events:
            await response.send(event.data, id=event.id, event=event.name, retry=event.retry)
    except (ConnectionError, TimeoutError):
        log.debug("event stream was closed by its reader")
    except Exception:  # the headers have left: the stream is cut, and only the log can tell why
        log.exception("event stream met a defect")
