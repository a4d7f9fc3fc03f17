"""What a client may take of us: connections, and seconds for a head, for a body, for reading an answer and for nothing.

aiohttp bounds sizes and idle connections. Who sends a byte now and then is never idle, and would hold a connection,
its memory and its descriptor for ever. And who is answered without aiohttp would be idle in its eyes.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from daemon.log import get_logger
from daemon.server.repeat import Answers, RepeatingConnection

log = get_logger()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Times are in seconds. `connections` are those of TCP: the Unix socket is always a way in."""

    head: float = 10.0
    body: float = 30.0
    stalled: float = 60.0
    idle: float = 75.0
    connections: int = 512


class LimitedRunner(web.AppRunner):
    """Serves an application within limits; all else is aiohttp's runner."""

    def __init__(self, app: web.Application, *, limits: Limits, **options: Any) -> None:  # noqa: ANN401 - aiohttp's
        options["keepalive_timeout"] = _NEVER
        super().__init__(app, **options)
        self._factory = _Factory(limits, options)

    async def setup(self) -> None:
        await super().setup()
        server = super().server
        if server is not None:
            self._factory.take(server)

    def open_connections(self) -> list["LimitedConnection"]:
        return [one for one in self._factory.connections if one.transport]

    @property
    def server(self) -> "_Factory":  # type: ignore[override] # sites only call it, to make a connection's protocol
        return self._factory


class _Factory:
    """Makes the protocol of each connection; stands for aiohttp's server in everything else."""

    def __init__(self, limits: Limits, options: dict[str, Any]) -> None:
        self.limits = limits
        self.tcp_connections = 0
        self.answers = Answers()
        self._options = options
        self._server: web.Server

    def take(self, server: web.Server) -> None:
        self._server = server
        handle = server.request_handler

        async def observed(request: web.BaseRequest) -> web.StreamResponse:
            connection = request.protocol
            if not isinstance(connection, LimitedConnection):
                return await handle(request)
            connection.request_begins(request)
            try:
                return await handle(request)
            finally:
                connection.request_ends()

        server.request_handler = observed

    def __call__(self) -> "LimitedConnection":
        return LimitedConnection(self, self._server, self._options)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the server has
        return getattr(self._server, name)


class LimitedConnection(RepeatingConnection):
    """One timer at a time: for the head from the first byte on, then for the body; another one while nobody reads.

    A third one runs from the first answer on, for connections that are idle; it is set seldom and reads a clock.
    """

    def __init__(self, factory: _Factory, server: web.Server, options: dict[str, Any]) -> None:
        accepted = {name: value for name, value in options.items() if name not in _OF_THE_RUNNER}
        super().__init__(factory.answers, server, loop=asyncio.get_running_loop(), **accepted)
        self._factory = factory
        self._counted = False
        self._in_request = False
        self._timer: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._answered_at = 0.0

    @property
    def used(self) -> bool:
        """Whether a request has come."""
        return self._in_request or bool(self._answered_at)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._await_head()
        if isinstance(transport.get_extra_info("sockname"), str):
            return
        self._counted = True
        self._factory.tcp_connections += 1
        if self._factory.tcp_connections > self._factory.limits.connections:
            self._end("too many connections")

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._counted:
            self._counted = False
            self._factory.tcp_connections -= 1
        self._cancel_timer()
        for timer in (self._stall, self._idle):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.answered_again(data):
            self._cancel_timer()
            self._answered()
            return
        # a head that comes in pieces has its time from the first of them on
        if not self._in_request and self._timer is None:
            self._await_head()
        super().data_received(data)

    def request_begins(self, request: web.BaseRequest) -> None:
        self._cancel_timer()
        self._in_request = True
        if not request.content.is_eof():
            self._timer = self._loop.call_later(self._factory.limits.body, self._judge_body, request)

    def request_ends(self) -> None:
        self._cancel_timer()
        self._in_request = False
        self._answered()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self._loop.call_later(self._factory.limits.stalled, self._end, "nobody reads the answer")

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall:
            self._stall.cancel()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP gets a fixed problem document: aiohttp's text would quote the input and its own insides."""
        log.info("request is not HTTP", peer=request.remote or "unix", error=type(exc).__name__, said=bool(message))
        response = web.json_response(_NOT_HTTP | {"status": status}, status=status, content_type=_PROBLEM)
        response.force_close()
        return response

    def _await_head(self) -> None:
        self._timer = self._loop.call_later(self._factory.limits.head, self._end, "no request came in time")

    def _judge_body(self, request: web.BaseRequest) -> None:
        if not request.content.is_eof():
            self._end("the body did not come in time")

    def _answered(self) -> None:
        self._answered_at = self._loop.time()
        # a request may end after its connection, which a timer would keep in memory
        if self._idle is None and self.transport:
            self._idle = self._loop.call_later(self._factory.limits.idle, self._judge_idle)

    def _judge_idle(self) -> None:
        """A request that is being read has limits of its own."""
        self._idle = None
        left = self._answered_at + self._factory.limits.idle - self._loop.time()
        if self._in_request or self._timer:
            left = self._factory.limits.idle
        if left > 0:
            self._idle = self._loop.call_later(left, self._judge_idle)
        else:
            self.force_close()

    def _end(self, reason: str) -> None:
        if self.transport is not None:
            log.info("connection ended", reason=reason)
            self.transport.abort()

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


# written here, because this is imported before anything that makes such documents
_PROBLEM = "application/problem+json"
_NOT_HTTP = {
    "type": "about:blank",
    "title": "Bad Request",
    "detail": "cannot read the request: it is not valid HTTP",
    "code": "bad_request",
}
_NEVER = 10.0 * 365 * 24 * 3600  # seconds
_OF_THE_RUNNER = frozenset({"handle_signals", "shutdown_timeout", "handler_cancellation"})
