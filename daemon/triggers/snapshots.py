"""REST for snapshots, below /api/v1/snapshots: look, compare, restore."""

from typing import Annotated

from aiohttp import web
from pydantic import Field

from daemon.auth.access import Access
from daemon.auth.tokens import Token
from daemon.errors import BadRequestError, BusyError, NotFoundError, RestartingError, RestoreNotAllowedError
from daemon.models import Restored, SnapshotDiff, SnapshotPage, SnapshotReport
from daemon.shelf import NOW, Shelf
from daemon.snapshots.paths import MOST_PATHS
from daemon.triggers.bodies import VOUCHING, Input, Page, read_body, read_query
from daemon.triggers.routes import API, Route

BASE = f"{API}/snapshots"


class RestoreBody(Input):
    """An empty one restores everything."""

    paths: Annotated[list[str], Field(min_length=1, max_length=MOST_PATHS)] | None = Field(
        None, description="Files or folders of the checkout, literally."
    )
    git_token: Token | None = Field(None, description=VOUCHING)


class SnapshotApi:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def all(self, request: web.Request) -> web.Response:
        page = read_query(request, Page)
        return web.json_response((await self._shelf.page(page.limit, page.cursor)).snake())

    async def show(self, request: web.Request) -> web.Response:
        return web.json_response((await self._shelf.show(request.match_info["id"])).snake())

    async def diff(self, request: web.Request) -> web.Response:
        found = await self._shelf.diff(request.match_info["a"], request.match_info["b"])
        return web.json_response(found.snake())

    async def restore(self, request: web.Request) -> web.Response:
        body = await read_body(request, RestoreBody)
        restored = await self._shelf.restore(request.match_info["id"], body.paths, body.git_token)
        return web.json_response(restored.snake())


def routes(api: SnapshotApi) -> tuple[Route, ...]:
    snapshot_id = {"id": "The id of a snapshot, or the beginning of one that names no other."}
    return (
        Route(
            path=BASE,
            access=Access.READ,
            handler=api.all,
            summary="Lists what updates found in the checkout, newest first.",
            query=Page,
            answers={200: SnapshotPage},
        ),
        Route(
            path=f"{BASE}/{{id}}",
            access=Access.READ,
            handler=api.show,
            summary="Says which local edits a snapshot holds.",
            parameters=snapshot_id,
            answers={200: SnapshotReport},
            errors=(NotFoundError, BadRequestError),
        ),
        Route(
            path=f"{BASE}/{{a}}/diff/{{b}}",
            access=Access.READ,
            handler=api.diff,
            summary="Says which files differ.",
            parameters={"a": snapshot_id["id"], "b": f"As `a`, or `{NOW}`: the checkout as it is."},
            answers={200: SnapshotDiff},
            errors=(NotFoundError, BadRequestError, BusyError, RestartingError),
        ),
        Route(
            method="POST",
            path=f"{BASE}/{{id}}/restore",
            access=Access.UPDATE,
            handler=api.restore,
            summary="Makes files what they were; what that replaces is in a snapshot of its own.",
            parameters=snapshot_id,
            body=RestoreBody,
            answers={200: Restored},
            errors=(NotFoundError, RestoreNotAllowedError, BusyError, RestartingError),
        ),
    )
