"""One connection, which gives the same answer again to the same bytes for as long as nothing has changed.

A client that polls sends the same request over and over. The first one goes the whole way; its handler may say, under
`HOLDS`, how to tell whether the answer still holds. As long as it does, the same bytes on the same connection get the
same bytes back, without parsing, routing and asking for the caller's rights again.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from aiohttp import web

HOLDS = web.RequestKey("holds", object)
LONGEST_REQUEST = 4096  # bytes
OK = 200
_HEAD_END = b"\r\n\r\n"


class _Answer(NamedTuple):
    content: bytes
    holds: Callable[[], bool]
    request: web.BaseRequest
    response: web.Response


class RepeatingConnection(web.RequestHandler):
    """Whoever pipelines, sends a body or a request in pieces is served the usual way from then on."""

    __slots__ = ("_answer", "_asked", "_simple", "_under_way")

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type] # passed on as they are
        self._simple = True
        self._under_way = False
        self._asked = b""
        self._answer: _Answer | None = None

    def answered_again(self, data: bytes) -> bool:
        """To be asked first, with all that is received. Where it is false, the data goes the usual way."""
        if not self._simple:
            return False
        if self._under_way or not _is_one_request(data):
            self.forget()
            return False
        answer, transport = self._answer, self.transport
        if answer is None or transport is None or data != self._asked:
            self._asked, self._answer, self._under_way = data, None, True
            return False
        began = time.perf_counter()
        # a reader that does not keep up is slowed down by the usual way
        if transport.get_write_buffer_size() or not answer.holds():
            self._answer, self._under_way = None, True
            return False
        transport.write(answer.content)
        if self.access_logger:
            self.access_logger.log(answer.request, answer.response, time.perf_counter() - began)
        return True

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        finished = await super().finish_response(request, resp, start_time)
        self._under_way = False
        if self._simple and not finished[1]:
            self._answer = _repeatable(request, resp)
        return finished

    def close(self) -> None:
        self.forget()
        super().close()

    def force_close(self) -> None:
        self.forget()
        super().force_close()

    def forget(self) -> None:
        """From now on every request goes the whole way."""
        self._simple, self._answer = False, None


def _is_one_request(data: bytes) -> bool:
    """All of a request without a body, and nothing more."""
    return data.startswith(b"GET ") and len(data) < LONGEST_REQUEST and data.find(_HEAD_END) == len(data) - 4


def _repeatable(request: web.BaseRequest, response: web.StreamResponse) -> _Answer | None:
    holds = request.get(HOLDS)
    if not callable(holds) or not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return None
    if response.status != OK or request.version < (1, 1) or not response.keep_alive or "Set-Cookie" in response.headers:
        return None
    fields = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
    head = f"HTTP/1.1 {response.status} {response.reason}\r\n{fields}\r\n"
    return _Answer(head.encode("utf-8") + response.body, holds, request, response)
