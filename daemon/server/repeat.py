"""Connections that give the same answer again to the same bytes of the same peer, for as long as nothing has changed.

Clients that poll send the same request over and over. The first one goes the whole way; its handler may say, under
`LASTING`, how to tell whether the answer still holds. As long as it does, the same bytes get the same bytes back,
without parsing, routing and asking for the caller's rights again. It is renewed before its time: one request goes the
whole way then, while the others are still answered at once. Else all of them would go it together.
"""

import asyncio
import time
from typing import NamedTuple, Protocol

from aiohttp import hdrs, web


class Lasting(Protocol):
    """What an answer was made of."""

    def holds(self) -> bool:
        """Whether the same would be answered now, as far as the caller is promised."""

    def fresh(self) -> bool:
        """Whether nobody needs to look yet if it has changed."""


LASTING = web.RequestKey("lasting", Lasting)
LONGEST_REQUEST = 4096  # bytes
MOST_ANSWERS = 64  # that are remembered, of different bytes or peers
OK = 200
_HEAD_END = b"\r\n\r\n"
_ANNOUNCE_MORE = (hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING, hdrs.EXPECT, hdrs.UPGRADE)

Asked = tuple[str, bytes]  # the peer's address, and all that it sent


class Answer(NamedTuple):
    content: bytes
    lasting: Lasting
    request: web.BaseRequest
    response: web.Response


class Answers:
    """Shared by connections. Equal bytes carry equal rights only where they come from one address."""

    def __init__(self) -> None:
        self._answers: dict[Asked, Answer] = {}
        self._renewing: set[Asked] = set()

    def find(self, asked: Asked) -> Answer | None:
        """None for whoever has to go the whole way, and to call `put` or `give_up` at its end."""
        answer = self._answers.get(asked)
        if answer is None:
            return None
        if not answer.lasting.holds():
            del self._answers[asked]
            return None
        if answer.lasting.fresh() or asked in self._renewing:
            return answer
        self._renewing.add(asked)
        return None

    def put(self, asked: Asked, answer: Answer) -> None:
        self.give_up(asked)
        # the one that was made first goes first
        self._answers.pop(asked, None)
        self._answers[asked] = answer
        if len(self._answers) > MOST_ANSWERS:
            del self._answers[next(iter(self._answers))]

    def give_up(self, asked: Asked) -> None:
        self._renewing.discard(asked)


class RepeatingConnection(web.RequestHandler):
    """Whoever pipelines, sends a body or a request in pieces is served the usual way from then on."""

    __slots__ = ("_answers", "_asked", "_peer", "_simple")

    def __init__(self, answers: Answers, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type] # passed on as they are
        self._answers = answers
        self._peer = ""
        self._simple = True
        self._asked: Asked | None = None  # by the request that is on the whole way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._peer = str(peer[0])
        else:
            # who is at the other end of a Unix socket is told by the socket and not by a name
            self._answers = Answers()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.forget()
        super().connection_lost(exc)

    def answered_again(self, data: bytes) -> bool:
        """To be asked first, with all that is received. Where it is false, the data goes the usual way."""
        if not self._simple:
            return False
        if self._asked or not _is_one_request(data):
            self.forget()
            return False
        began = time.perf_counter()
        transport = self.transport
        # a reader that does not keep up is slowed down by the usual way
        if transport is None or transport.get_write_buffer_size():
            self.forget()
            return False
        asked = (self._peer, data)
        if not (answer := self._answers.find(asked)):
            self._asked = asked
            return False
        transport.write(answer.content)
        if self.access_logger:
            self.access_logger.log(answer.request, answer.response, time.perf_counter() - began)
        return True

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        finished = await super().finish_response(request, resp, start_time)
        if self._asked and not finished[1] and (answer := _repeatable(request, resp)):
            self._answers.put(self._asked, answer)
        self._way_ends()
        return finished

    def close(self) -> None:
        self.forget()
        super().close()

    def force_close(self) -> None:
        self.forget()
        super().force_close()

    def forget(self) -> None:
        """From now on every request goes the whole way."""
        self._simple = False
        self._way_ends()

    def _way_ends(self) -> None:
        if self._asked:
            self._answers.give_up(self._asked)
            self._asked = None


def _is_one_request(data: bytes) -> bool:
    """All of a request without a body, and nothing more."""
    return data.startswith(b"GET ") and len(data) < LONGEST_REQUEST and data.find(_HEAD_END) == len(data) - 4


def _repeatable(request: web.BaseRequest, response: web.StreamResponse) -> Answer | None:
    lasting = request.get(LASTING)
    # what follows a head that announces more is part of this request, and never a request of its own
    if any(name in request.headers for name in _ANNOUNCE_MORE):
        return None
    if lasting is None or not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return None
    if response.status != OK or request.version < (1, 1) or not response.keep_alive or "Set-Cookie" in response.headers:
        return None
    fields = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
    head = f"HTTP/1.1 {response.status} {response.reason}\r\n{fields}\r\n"
    return Answer(head.encode("utf-8") + response.body, lasting, request, response)
