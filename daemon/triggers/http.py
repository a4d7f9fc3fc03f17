"""REST under /api/v1 and the probes: parse, submit, phrase the answer. One table says what is where and who may."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from daemon.access import Access
from daemon.engine import Engine
from daemon.environment import Environment
from daemon.errors import BadRequestError, InternalError, RefreshdError, UnsupportedMediaTypeError, in_words
from daemon.journal import Journal
from daemon.log import get_logger
from daemon.models import IdempotencyKey, Update, UpdateRequest
from daemon.refs import Ref, parse_branch, parse_commit, parse_ref
from daemon.supervisor import Supervisor
from daemon.version import VersionReporter

API = "/api/v1"
MAX_BODY = 64 * 1024  # bytes
LAST = "last"  # in place of an id: the last update that succeeded
PING_EVERY = 15.0  # seconds; proxies close a stream that is silent for longer
MAX_LISTED = 200

Body = TypeVar("Body", bound=BaseModel)
Authorize = Callable[[web.Request, Access], Awaitable[None]]

log = get_logger()


class UpdateBody(BaseModel):
    """The body of `POST /api/v1/update`: exactly one of the three names."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    target_ref: str | None = None
    branch: str | None = None
    commit: str | None = None
    wait: bool = False
    dry_run: bool = False
    force: bool = False
    idempotency_key: IdempotencyKey | None = Field(None)

    @model_validator(mode="after")
    def _exactly_one(self) -> "UpdateBody":
        if [self.target_ref, self.branch, self.commit].count(None) != 2:  # noqa: PLR2004 - two of the three
            raise ValueError("give exactly one of target_ref, branch and commit")
        return self

    def ref(self) -> Ref:
        """Raises InvalidRefError."""
        if self.branch is not None:
            return parse_branch(self.branch)
        return parse_commit(self.commit) if self.commit is not None else parse_ref(self.target_ref or "")


class RollbackBody(BaseModel):
    """The body of `POST /api/v1/updates/{id}/rollback`; an empty one will do."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    wait: bool = False
    idempotency_key: IdempotencyKey | None = Field(None)


class RestApi:
    """The handlers; every body is three lines: read, ask, answer."""

    def __init__(
        self,
        *,
        engine: Engine,
        journal: Journal,
        version: VersionReporter,
        supervisor: Supervisor,
        ready: asyncio.Event,
        environment: Environment,
        rescue: bool,
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._version = version
        self._supervisor = supervisor
        self._ready = ready
        self._environment = environment
        self._alive = "rescue" if rescue else "alive"

    async def healthz(self, _request: web.Request) -> web.Response:
        return web.json_response((await self._version.health(self._alive)).snake())

    async def readyz(self, _request: web.Request) -> web.Response:
        """Ready from the moment that this process has asked itself, until it leaves."""
        ready = self._ready.is_set() and not self._supervisor.leaving.is_set()
        health = await self._version.health("ready" if ready else "starting")
        return web.json_response(health.snake(), status=200 if ready else 503)

    async def version(self, _request: web.Request) -> web.Response:
        return web.json_response((await self._version.report()).snake())

    async def environment(self, _request: web.Request) -> web.Response:
        """Where this process found itself when it started, and by what evidence."""
        return web.json_response(self._environment.snake())

    async def update(self, request: web.Request) -> web.Response:
        body = await read_body(request, UpdateBody)
        ref = body.ref()
        if body.dry_run:
            return web.json_response((await self._engine.plan(ref)).snake())
        wanted = UpdateRequest(
            target_ref=ref.requested, trigger="rest", idempotency_key=body.idempotency_key, force=body.force
        )
        return await self._accepted(await self._engine.submit(wanted, ref), wait=body.wait)

    async def rollback(self, request: web.Request) -> web.Response:
        body = await read_body(request, RollbackBody)
        update_id = request.match_info["id"]
        update = await self._engine.rollback(
            None if update_id == LAST else update_id, trigger="rest", idempotency_key=body.idempotency_key
        )
        return await self._accepted(update, wait=body.wait)

    async def _accepted(self, update: Update, *, wait: bool) -> web.Response:
        headers = {"Location": f"{API}/updates/{update.id}"}
        if wait:
            update = await self._engine.wait(update.id)
        return web.json_response(update.snake(), status=200 if wait else 202, headers=headers)

    async def updates(self, request: web.Request) -> web.Response:
        limit = _limit(request.query.get("limit"))
        updates = await self._journal.history(limit)
        return web.json_response({"updates": [update.snake() for update in updates]})

    async def get_update(self, request: web.Request) -> web.Response:
        return web.json_response((await self._journal.get(request.match_info["id"])).snake())

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Every entry of the journal as an event with its number as id; `end` comes last, and only at the end."""
        update_id = request.match_info["id"]
        after = _event_id(request.headers.get("Last-Event-ID") or request.query.get("last_event_id"))
        await self._journal.get(update_id)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        response.headers["X-Accel-Buffering"] = "no"
        await response.prepare(request)
        leaving = asyncio.create_task(self._supervisor.leaving.wait())
        sending = asyncio.create_task(self._send_events(response, update_id, after))
        try:
            await asyncio.wait({leaving, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not sending.done():
                sending.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        return response

    async def _send_events(self, response: web.StreamResponse, update_id: str, after: int) -> None:
        pinging = asyncio.create_task(_ping(response))
        try:
            await response.write(b"retry: 300\n\n")
            async for entry in self._journal.follow(update_id, after):
                await response.write(_event("entry", entry.snake(), entry.seq))
            await response.write(_event("end", (await self._journal.get(update_id)).snake()))
        except ConnectionError:
            log.debug("event stream was closed by its reader", update_id=update_id)
        finally:
            pinging.cancel()


class Route(NamedTuple):
    method: str
    path: str
    access: Access
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes(api: RestApi) -> tuple[Route, ...]:
    return (
        Route("GET", "/healthz", Access.PUBLIC, api.healthz),
        Route("GET", "/readyz", Access.PUBLIC, api.readyz),
        Route("GET", f"{API}/version", Access.READ, api.version),
        Route("GET", f"{API}/environment", Access.READ, api.environment),
        Route("POST", f"{API}/update", Access.UPDATE, api.update),
        Route("GET", f"{API}/updates", Access.READ, api.updates),
        Route("GET", f"{API}/updates/{{id}}", Access.READ, api.get_update),
        Route("POST", f"{API}/updates/{{id}}/rollback", Access.UPDATE, api.rollback),
        Route("GET", f"{API}/updates/{{id}}/events", Access.READ, api.events),
    )


def add_routes(app: web.Application, table: Iterable[Route], authorize: Authorize) -> None:
    for route in table:
        app.router.add_route(route.method, route.path, _guarded(route, authorize))


def _guarded(route: Route, authorize: Authorize) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        await authorize(request, route.access)
        return await route.handler(request)

    return handler


@web.middleware
async def problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every error leaves as a problem document (RFC 9457), aiohttp's own too; a defect tells nothing of itself."""
    try:
        return await handler(request)
    except RefreshdError as error:
        return problem(error)
    except web.HTTPException as error:
        if error.status < 400:  # noqa: PLR2004 - a redirect is no error
            raise
        return _http_problem(error)
    except Exception:  # the boundary: the log gets the traceback, the caller a fixed text
        log.exception("request met a defect", method=request.method, path=request.path)
        return problem(InternalError())


def problem(error: RefreshdError) -> web.Response:
    body = {
        "type": f"urn:refreshd:error:{error.code}",
        "title": error.code.replace("_", " "),
        "status": error.status,
        "detail": str(error),
        "code": error.code,
    }
    if error.detail:
        body["log"] = error.detail
    if running := getattr(error, "running", None):
        body["update"] = running
    response = _problem_response(body, error.status)
    if (seconds := getattr(error, "retry_after", None)) is not None:
        response.headers["Retry-After"] = str(seconds)
    if error.status == 401:  # noqa: PLR2004 - unauthorized
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _http_problem(error: web.HTTPException) -> web.Response:
    code = (error.reason or "error").lower().replace(" ", "_")
    detail = f"cannot answer: {error.reason}"
    body = {"type": "about:blank", "title": error.reason, "status": error.status, "detail": detail, "code": code}
    response = _problem_response(body, error.status)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def _problem_response(body: dict[str, object], status: int) -> web.Response:
    return web.json_response(body, status=status, content_type="application/problem+json")


async def read_body(request: web.Request, model: type[Body]) -> Body:
    """Raises BadRequestError in words that do not quote the input, and UnsupportedMediaTypeError.

    Only JSON is read: a form of another site can be sent without asking, JSON cannot.
    """
    if request.content_type != "application/json":
        raise UnsupportedMediaTypeError(given=request.content_type)
    try:
        return model.model_validate_json(await request.read() or b"{}")
    except ValidationError as error:
        raise BadRequestError(reason=in_words(error)) from None


def _event(name: str, data: object, seq: int | None = None) -> bytes:
    identity = f"id: {seq}\n" if seq is not None else ""
    return f"{identity}event: {name}\ndata: {json.dumps(data)}\n\n".encode()


async def _ping(response: web.StreamResponse) -> None:
    while True:
        await asyncio.sleep(PING_EVERY)
        await response.write(b": still here\n\n")


def _event_id(text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 10):  # noqa: PLR2004 - no journal is that long
        raise BadRequestError(reason="Last-Event-ID is the number of an event")
    return int(text)


def _limit(text: str | None) -> int:
    if text is None:
        return MAX_LISTED
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) <= MAX_LISTED):
        raise BadRequestError(reason=f"limit is a number from 1 to {MAX_LISTED}")
    return int(text)
