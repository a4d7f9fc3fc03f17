"""What a route is: where it is, who may, what it takes and gives. One table serves requests and describes itself."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import UnionType

from aiohttp import web
from pydantic import BaseModel

from daemon.auth.access import Access
from daemon.errors import RefreshdError

API = "/api/v1"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Authorize = Callable[[web.Request, Access], Awaitable[None]]
Content = type[BaseModel] | UnionType | str | None


@dataclass(frozen=True, kw_only=True)
class Route:
    """`answers`: what each good status carries: a shape, the media type of what is no JSON, or None for nothing.

    `errors` are those of its own; what every route may answer (who may, bodies, defects) is known without them.
    `parameters` says what the names in the path mean.
    """

    method: str = "GET"
    path: str
    access: Access
    handler: Handler
    summary: str
    answers: Mapping[int, Content]
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[type[RefreshdError], ...] = ()


def add_routes(app: web.Application, table: Iterable[Route], authorize: Authorize) -> None:
    """What answers GET answers HEAD too."""
    for route in table:
        handler = _guarded(route, authorize)
        app.router.add_route(route.method, route.path, handler)
        if route.method == "GET":
            app.router.add_route("HEAD", route.path, handler)


def _guarded(route: Route, authorize: Authorize) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        await authorize(request, route.access)
        return await route.handler(request)

    return handler
