"""REST under /api/v1 and the probes: parse, submit, phrase the answer. One table says what is where and who may."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator

from aiohttp import web

from daemon.auth.access import Access, who
from daemon.engine import Engine
from daemon.environment import Environment
from daemon.errors import (
    BadTargetError,
    InvalidRefError,
    NotFoundError,
    NothingToRollBackError,
    RefNotAllowedError,
    RestartingError,
    UnsupportedError,
    UpdateRunningError,
)
from daemon.journal import Journal
from daemon.models import Health, Plan, Update, UpdatePage, UpdateRequest, Version
from daemon.supervisor import Supervisor
from daemon.triggers import streams
from daemon.triggers.bodies import Page, Resume, RollbackBody, UpdateBody, read, read_body, read_query
from daemon.triggers.repeatable import may_be_repeated
from daemon.triggers.routes import API, Route
from daemon.triggers.server_event import RETRY, ServerEvent
from daemon.version import VersionReporter

LAST = "last"  # in place of an id: the last update that succeeded


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

    async def version(self, request: web.Request) -> web.Response:
        """With an ETag of everything but the moment at which the working tree was looked at."""
        report = await self._version.current()
        may_be_repeated(request, report)
        headers = {"ETag": _etag(report.version), "Cache-Control": "no-cache"}
        if headers["ETag"] in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        return web.json_response(report.version.snake(), headers=headers)

    async def environment(self, _request: web.Request) -> web.Response:
        """Where this process found itself when it started, and by what evidence."""
        return web.json_response(self._environment.snake())

    async def update(self, request: web.Request) -> web.Response:
        body = await read_body(request, UpdateBody)
        ref = body.ref()
        if body.dry_run:
            return web.json_response((await self._engine.plan(ref, body.git_token)).snake())
        wanted = UpdateRequest(
            target_ref=ref.requested,
            trigger=body.trigger,
            idempotency_key=body.idempotency_key,
            force=body.force,
            by=who(request),
        )
        return await self._accepted(await self._engine.submit(wanted, ref, body.git_token), wait=body.wait)

    async def rollback(self, request: web.Request) -> web.Response:
        body = await read_body(request, RollbackBody)
        update_id = request.match_info["id"]
        update = await self._engine.rollback(
            None if update_id == LAST else update_id,
            trigger="rest",
            idempotency_key=body.idempotency_key,
            by=who(request),
            git_token=body.git_token,
        )
        return await self._accepted(update, wait=body.wait)

    async def _accepted(self, update: Update, *, wait: bool) -> web.Response:
        headers = {"Location": f"{API}/updates/{update.id}"}
        if wait:
            update = await self._engine.wait(update.id)
        return web.json_response(update.snake(), status=200 if wait else 202, headers=headers)

    async def updates(self, request: web.Request) -> web.Response:
        page = read_query(request, Page)
        return web.json_response((await self._journal.page(page.limit, page.cursor)).snake())

    async def get_update(self, request: web.Request) -> web.Response:
        return web.json_response((await self._journal.get(request.match_info["id"])).snake())

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Every entry of the journal as an event with its number as id; `end` comes last, and only at the end."""
        update_id = request.match_info["id"]
        after = _resumed_after(request)
        await self._journal.get(update_id)
        return await streams.stream(request, self._entries(update_id, after), self._supervisor.leaving)

    async def _entries(self, update_id: str, after: int) -> AsyncGenerator[ServerEvent, None]:
        async for entry in self._journal.follow(update_id, after):
            yield ServerEvent(json.dumps(entry.snake()), "entry", str(entry.seq), RETRY)
        yield ServerEvent(json.dumps((await self._journal.get(update_id)).snake()), "end")


def routes(api: RestApi) -> tuple[Route, ...]:
    update_id = {"id": "The id of an update."}
    starting = (UpdateRunningError, RestartingError, UnsupportedError)
    return (
        Route(
            path="/healthz",
            access=Access.PUBLIC,
            handler=api.healthz,
            summary="Says that the process answers.",
            answers={200: Health},
        ),
        Route(
            path="/readyz",
            access=Access.PUBLIC,
            handler=api.readyz,
            summary="Says whether to give it work: once it has verified itself, until it leaves.",
            answers={200: Health, 503: Health},
        ),
        Route(
            path=f"{API}/version",
            access=Access.READ,
            handler=api.version,
            summary="Says which code is on disk and which code runs.",
            answers={200: Version, 304: None},
            headers={"If-None-Match": "The ETag of an earlier answer; 304 while nothing has changed."},
        ),
        Route(
            path=f"{API}/environment",
            access=Access.READ,
            handler=api.environment,
            summary="Says where the daemon found itself, and by what evidence.",
            answers={200: Environment},
        ),
        Route(
            method="POST",
            path=f"{API}/update",
            access=Access.UPDATE,
            handler=api.update,
            summary="Asks for an update.",
            body=UpdateBody,
            answers={202: Update, 200: Update | Plan},
            errors=(InvalidRefError, RefNotAllowedError, *starting, BadTargetError),
        ),
        Route(
            path=f"{API}/updates",
            access=Access.READ,
            handler=api.updates,
            summary="Lists updates, newest first.",
            query=Page,
            answers={200: UpdatePage},
        ),
        Route(
            path=f"{API}/updates/{{id}}",
            access=Access.READ,
            handler=api.get_update,
            summary="Tells one update.",
            parameters=update_id,
            answers={200: Update},
            errors=(NotFoundError,),
        ),
        Route(
            method="POST",
            path=f"{API}/updates/{{id}}/rollback",
            access=Access.UPDATE,
            handler=api.rollback,
            summary="Asks for the state before an update; an update itself.",
            parameters={"id": f"The id of an update, or `{LAST}`: the last that succeeded."},
            body=RollbackBody,
            answers={202: Update, 200: Update},
            errors=(NotFoundError, NothingToRollBackError, *starting),
        ),
        Route(
            path=f"{API}/updates/{{id}}/events",
            access=Access.READ,
            handler=api.events,
            summary="Streams the lines of an update's journal as they come; resumes also after the restart.",
            parameters=update_id,
            query=Resume,
            headers={"Last-Event-ID": "The number of the last event that was read."},
            answers={200: streams.MEDIA_TYPE},
            errors=(NotFoundError,),
        ),
    )


def _etag(report: Version) -> str:
    lasting = report.model_dump_json(exclude={"on_disk": {"dirty_at"}})
    return f'W/"{hashlib.blake2b(lasting.encode(), digest_size=12).hexdigest()}"'


def _resumed_after(request: web.Request) -> int:
    given = request.headers.get("Last-Event-ID")
    return (read(Resume, {"last_event_id": given}) if given else read_query(request, Resume)).last_event_id
