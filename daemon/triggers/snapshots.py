"""REST for snapshots, below /api/v1/snapshots: look, compare, restore."""

from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from daemon.access import Access
from daemon.shelf import Shelf
from daemon.snapshots.paths import MOST_PATHS
from daemon.triggers.http import API, Route, read_body

BASE = f"{API}/snapshots"


class RestoreBody(BaseModel):
    """The body of `POST /api/v1/snapshots/{id}/restore`; an empty one restores everything."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    paths: Annotated[list[str], Field(min_length=1, max_length=MOST_PATHS)] | None = None


class SnapshotApi:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def all(self, _request: web.Request) -> web.Response:
        return web.json_response({"snapshots": [kept.snake() for kept in await self._shelf.all()]})

    async def show(self, request: web.Request) -> web.Response:
        return web.json_response((await self._shelf.show(request.match_info["id"])).snake())

    async def diff(self, request: web.Request) -> web.Response:
        found = await self._shelf.diff(request.match_info["a"], request.match_info["b"])
        return web.json_response(found.snake())

    async def restore(self, request: web.Request) -> web.Response:
        body = await read_body(request, RestoreBody)
        return web.json_response((await self._shelf.restore(request.match_info["id"], body.paths)).snake())


def routes(api: SnapshotApi) -> tuple[Route, ...]:
    return (
        Route("GET", BASE, Access.READ, api.all),
        Route("GET", f"{BASE}/{{id}}", Access.READ, api.show),
        Route("GET", f"{BASE}/{{a}}/diff/{{b}}", Access.READ, api.diff),
        Route("POST", f"{BASE}/{{id}}/restore", Access.UPDATE, api.restore),
    )
