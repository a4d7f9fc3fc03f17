"""One request to a daemon, and what came of it: an answer, an open stream, or an error that says what is known."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from daemon.client.errors import NoAnswerError, RefusedError, TimedOutError, UnreachableError
from daemon.client.wire import EVENT_STREAM_TYPE, LINES_TYPE, EventParser, ServerEvent, read_object, read_problem
from daemon.socket_path import DEFAULT_SOCKET

SILENCE = 45.0  # seconds without a byte after which a stream is taken for dead
LONGEST_RETRY_AFTER = 30.0  # seconds

_OK = range(200, 300)
_UNAVAILABLE = 503
_GATEWAY_ERRORS = frozenset({502, 504})


class SilentStreamError(Exception):
    """Nothing was sent for a long time. A dead connection looks like that, and so does an update that takes long."""


@dataclass(frozen=True)
class Answer:
    status: int
    reason: str
    content_type: str
    retry_after: float
    content: bytes


def server_url(text: str) -> URL:
    """Raises ValueError for what is not the address of an HTTP server, and for one that holds credentials."""
    url = URL(text)
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("give http://host:port or https://host")
    if url.user is not None or url.password is not None:
        raise ValueError("a URL must not hold credentials")
    if url.query_string or url.fragment:
        raise ValueError("a URL must end with its path")
    return url


class Connection:
    """Where a daemon listens, and how to speak to it. An async context manager; `timeout` is in seconds."""

    def __init__(
        self,
        socket: Path | None,
        url: str | None,
        token: str | None,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        *,
        dial: Callable[[], aiohttp.BaseConnector] | None = None,
        where: str = "",
    ) -> None:
        if (socket is not None) + (url is not None) + (dial is not None) > 1:
            raise ValueError("give a socket or a URL or a way to dial, not both")
        if token and not token.isprintable():
            raise ValueError("a token is one line")
        self._socket = None if url or dial else socket or DEFAULT_SOCKET
        self._dial = dial
        self._base = str(server_url(url) if url else "http://localhost").rstrip("/")
        self._headers = dict(headers or {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self.where = where or url or str(self._socket)

    async def __aenter__(self) -> Self:
        # a connection that is kept would not survive the daemon's restart, and the next request would find out
        self._session = aiohttp.ClientSession(connector=self._connector(), headers=self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    def _connector(self) -> aiohttp.BaseConnector:
        if self._dial:
            return self._dial()
        if self._socket:
            return aiohttp.UnixConnector(str(self._socket), force_close=True)
        return aiohttp.TCPConnector(force_close=True)

    async def ask(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, limit: float | None = None
    ) -> Answer:
        """Whatever the answer is. Raises UnreachableError, TimedOutError."""
        seconds = limit or self._timeout
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=self._timeout)
        async with self._exchange(method, path, timeout, seconds, json=body) as response:
            return await _answer(response)

    async def events(self, path: str, last_event_id: int) -> AsyncGenerator[ServerEvent, None]:
        """Until the stream ends. Raises as `ask_well` does, and SilentStreamError."""
        headers = {"Accept": EVENT_STREAM_TYPE} | ({"Last-Event-ID": str(last_event_id)} if last_event_id else {})
        parser = EventParser()
        async with aclosing(self._stream(path, EVENT_STREAM_TYPE, headers)) as chunks:
            async for chunk in chunks:
                for event in parser.feed(chunk):
                    yield event

    async def lines(self, path: str) -> AsyncGenerator[bytes, None]:
        """Those of a stream of JSON lines, until it ends. Raises as `events` does."""
        rest = b""
        async with aclosing(self._stream(path, LINES_TYPE, {"Accept": LINES_TYPE})) as chunks:
            async for chunk in chunks:
                *complete, rest = (rest + chunk).split(b"\n")
                for line in complete:
                    # an empty one only says that the stream goes on
                    if line:
                        yield line

    async def _stream(self, path: str, content_type: str, headers: dict[str, str]) -> AsyncGenerator[bytes, None]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=SILENCE)
        async with self._exchange("GET", path, timeout, SILENCE, headers=headers) as response:
            if response.status not in _OK or response.content_type != content_type:
                answer = await _answer(response)
                self.judge(answer)
                raise self.unreadable(answer.status, f"it is {answer.content_type} and not {content_type}")
            try:
                async for chunk in response.content.iter_any():
                    yield chunk
            except aiohttp.SocketTimeoutError:
                raise SilentStreamError from None

    async def ask_well(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, limit: float | None = None
    ) -> tuple[Answer, dict[str, Any]]:
        """A good answer and the JSON object in it. Raises UnreachableError, TimedOutError, RefusedError."""
        answer = await self.ask(method, path, body=body, limit=limit)
        self.judge(answer)
        try:
            return answer, read_object(answer.content)
        except ValueError as error:
            raise self.unreadable(answer.status, str(error)) from None

    def judge(self, answer: Answer) -> None:
        """Returns when the answer is good.

        Raises UnreachableError where a daemon says that it cannot answer now, or where a proxy says so in its place.
        Raises RefusedError for every other answer that is not good.
        """
        if answer.status in _OK:
            return
        problem = read_problem(answer.content_type, answer.content)
        said = f"{answer.status} {answer.reason}".strip()
        if answer.status == _UNAVAILABLE or (problem is None and answer.status in _GATEWAY_ERRORS):
            reason = problem.detail if problem else f"the answer was {said}"
            raise UnreachableError(where=self.where, reason=reason, retry_after=answer.retry_after)
        if problem is None:
            raise self.unreadable(answer.status, f"it was {said} without an explanation")
        raise RefusedError(
            sentence=problem.detail,
            refusal=problem.code,
            http_status=answer.status,
            running=problem.update,
            detail=problem.log,
        )

    def unreadable(self, status: int, reason: str) -> RefusedError:
        return RefusedError(
            sentence=f"cannot understand the answer of {self.where}: {reason}; does a refreshd listen there?",
            refusal="unreadable_answer",
            http_status=status,
        )

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        path: str,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's, with a limit for each phase
        seconds: float,
        **more: Any,  # noqa: ANN401 - options of aiohttp
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise RuntimeError("a client has to be entered before it can ask")
        try:
            async with self._session.request(
                method, f"{self._base}{path}", timeout=timeout, allow_redirects=False, **more
            ) as response:
                yield response
        except aiohttp.ClientConnectorError as error:
            raise UnreachableError(where=self.where, reason=_reason(error), sent=False) from None
        except aiohttp.ConnectionTimeoutError:
            raise self._silent(self._timeout, sent=False) from None
        except TimeoutError:
            raise self._silent(seconds, sent=True) from None
        except (aiohttp.ClientError, OSError):
            raise UnreachableError(where=self.where, reason="the connection broke") from None

    def _silent(self, seconds: float, *, sent: bool) -> NoAnswerError:
        return TimedOutError(what=f"an answer from {self.where}", seconds=seconds, sent=sent)


async def _answer(response: aiohttp.ClientResponse) -> Answer:
    return Answer(
        status=response.status,
        reason=response.reason or "",
        content_type=response.content_type,
        retry_after=_seconds(response.headers.get("Retry-After", "")),
        content=await response.read(),
    )


def _seconds(retry_after: str) -> float:
    """A date is not honoured: clocks of machines and hosts differ by more than a restart takes."""
    return min(float(retry_after), LONGEST_RETRY_AFTER) if retry_after.isascii() and retry_after.isdigit() else 0


def _reason(error: aiohttp.ClientConnectorError) -> str:
    match error.os_error:
        case FileNotFoundError():
            return "there is no such socket"
        case ConnectionRefusedError():
            return "nobody listens there"
        case PermissionError():
            return "this user may not use it"
        case cause:
            return str(cause.strerror or cause) or type(cause).__name__
