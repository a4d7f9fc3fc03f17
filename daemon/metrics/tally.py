"""What this process has answered: it begins at nothing with each start, as Prometheus expects of counters."""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Middleware

COUNT = web.RequestKey("count", partial)  # to be called with status and seconds

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"
_refusals: ContextVar[list[str] | None] = ContextVar("refusals", default=None)


def note_refusal(code: str) -> None:
    """To be called where an error becomes an answer, or one part of an answer to several calls."""
    refusals = _refusals.get()
    if refusals is not None:
        refusals.append(code)


class Tally:
    """`requests` by method, route and class of status; `seconds` by route; `refused` by error code."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.refused: Counter[str] = Counter()

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self.requests[method if method in _METHODS else _OTHER, route, f"{status // 100}xx"] += 1
        self.seconds[route] += seconds


def counting(tally: Tally) -> Middleware:
    """Says under COUNT how the answer is counted; the access log does it, which also sees answers that are repeated."""

    @web.middleware
    async def count(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        request[COUNT] = partial(tally.answered, request.method, _route(request))
        refusals: list[str] = []
        _refusals.set(refusals)
        response = await handler(request)
        tally.refused.update(refusals)
        return response

    return count


def _route(request: web.Request) -> str:
    """The pattern and not the path, of which callers can make as many as they like."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else _OTHER
