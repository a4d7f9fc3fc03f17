"""Server-sent events: one way to send them, for REST and for tRPC."""

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any

from aiohttp import web
from aiohttp_sse import EventSourceResponse

from daemon.log import get_logger
from daemon.tasks import ended
from daemon.triggers.server_event import RETRY, ServerEvent

PING_EVERY = 15.0  # seconds; proxies close a stream that is silent for longer
SEND_TIMEOUT = 30.0  # seconds that a reader may leave unread what was sent
LEAVING = "leaving"  # the name of the event that tells readers to come back

MEDIA_TYPE = "text/event-stream"

log = get_logger()


async def stream(
    request: web.Request,
    events: AsyncGenerator[ServerEvent, None],
    leaving: asyncio.Event,
    *,
    headers: Mapping[str, str] | None = None,
    ping: ServerEvent | None = None,
) -> web.StreamResponse:
    """Sends until the events end, the reader goes, or the daemon leaves; what is cut so is resumed by its readers.

    A comment keeps the connection warm; `ping` is for readers who want to be told that it is.
    """
    response = EventSourceResponse(
        headers=headers, sep="\n", ping_interval=PING_EVERY, send_timeout=SEND_TIMEOUT, allow_all_methods=True
    )
    await response.prepare(request)
    async with response:
        if request.method != "HEAD":
            pings = [_ping(response, ping)] if ping else []
            # a reader who has left is noticed by the next ping: then `wait` returns
            ended = await _first_ended(_send(response, events), leaving.wait(), response.wait(), *pings)
            if leaving.is_set() and not ended:
                await _send(response, _told())
    if leaving.is_set():
        response.force_close()
    return response


async def _told() -> AsyncGenerator[ServerEvent, None]:
    """Without an id: readers resume after the last event that had one."""
    yield ServerEvent(json.dumps({"retry_after_ms": RETRY}), LEAVING, retry=RETRY)


async def _first_ended(*coroutines: Coroutine[Any, Any, object]) -> bool:
    """Returns when one of them has ended, and then none of them runs any more. True where it was the first of them."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0] in done
    finally:
        await ended(*tasks)


async def _send(response: EventSourceResponse, events: AsyncGenerator[ServerEvent, None]) -> None:
    try:
        async with aclosing(events):
            async for event in events:
                await _send_one(response, event)
    except (ConnectionError, TimeoutError):
        log.debug("event stream was closed by its reader")
    except Exception:  # the headers have left: the stream is cut, and only the log can tell why
        log.exception("event stream met a defect")


async def _ping(response: EventSourceResponse, event: ServerEvent) -> None:
    while True:
        await asyncio.sleep(PING_EVERY)
        await _send_one(response, event)


async def _send_one(response: EventSourceResponse, event: ServerEvent) -> None:
    await response.send(event.data, id=event.id, event=event.name, retry=event.retry)
