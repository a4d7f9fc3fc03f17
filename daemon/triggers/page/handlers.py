"""The routes of the page. Each is let in by itself: who may not gets a page that says so, not a problem document."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from daemon.auth.access import Access, Caller, Gate, caller_of, who
from daemon.engine import Engine
from daemon.errors import RefreshdError, UnauthorizedError, UnsupportedMediaTypeError
from daemon.health.reporting import HealthReporter
from daemon.journal import Journal
from daemon.metrics.tally import note_refusal
from daemon.models import UpdateRequest
from daemon.refs import parse_ref
from daemon.triggers.page.templates import Templates
from daemon.triggers.page.views import UpdateView, suggested_target
from daemon.triggers.routes import Route
from daemon.web.assets import BASE, Assets

if TYPE_CHECKING:  # imported where a machine is updated by its host
    from daemon.triggers.page.by_host import ByHost

TRIGGER = "page"
PART = "X-Part"  # a script asks for the content alone
_LISTED = 10
_FORM = "application/x-www-form-urlencoded"
_MAY_NOT = "You may read, and not update."
_NOBODY_MAY = (
    "Nothing can be changed from here before there is a user or a token: "
    "in the machine, say refreshd user add NAME --role update."
)


@dataclass(frozen=True)
class Reader:
    """Who looks at the page."""

    who: str
    session: bool
    may_update: bool
    refusal: str


class Page:
    def __init__(
        self,
        *,
        gate: Gate,
        engine: Engine,
        journal: Journal,
        health: HealthReporter,
        templates: Templates,
        by_host: "ByHost | None",
    ) -> None:
        self._gate = gate
        self._engine = engine
        self._journal = journal
        self._health = health
        self._templates = templates
        self._by_host = by_host
        self._host = socket.gethostname()

    async def show(self, request: web.Request) -> web.Response:
        return await self._let_in(request, Access.READ, self._content)

    async def update(self, request: web.Request) -> web.Response:
        return await self._let_in(request, Access.UPDATE, self._update)

    async def rollback(self, request: web.Request) -> web.Response:
        return await self._let_in(request, Access.UPDATE, self._rollback)

    async def log_in(self, request: web.Request) -> web.Response:
        response = _see_page()
        try:
            await self._gate.log_in(request, response, (await _form(request)).get("token", "").strip())
        except UnauthorizedError as error:
            return await self._door(error, "This token is not valid.")
        except RefreshdError as error:
            return await self._door(error, str(error))
        return response

    async def log_out(self, request: web.Request) -> web.Response:
        response = _see_page()
        self._gate.log_out(request, response)
        return response

    async def _let_in(
        self, request: web.Request, access: Access, then: Callable[[web.Request], Awaitable[web.Response]]
    ) -> web.Response:
        try:
            await self._gate.authorize(request, access)
        except UnauthorizedError as error:
            return await self._door(error, "")
        except RefreshdError as error:
            return await self._door(error, str(error))
        return await then(request)

    async def _door(self, error: RefreshdError, refusal: str) -> web.Response:
        """The page for who may not come in; with a form where a token would help."""
        note_refusal(error.code)
        # the machine's name is for those who may read
        values = {"host": "", "refusal": refusal, "may_log_in": error.status in {401, 429}}
        text = await asyncio.to_thread(self._templates.render, "login.html", **values)
        # without the challenge of the API: a browser would ask for a password in a window of its own
        headers = {name: value for name, value in error.headers.items() if name == "Retry-After"}
        return _html(text, error.status, headers)

    async def _update(self, request: web.Request) -> web.Response:
        form = await _form(request)
        target = form.get("target", "").strip()
        try:
            ref = parse_ref(target)
            if self._by_host:
                await self._by_host.ask(ref)
            else:
                wanted = UpdateRequest(
                    target_ref=ref.requested, trigger=TRIGGER, force=form.get("force") == "yes", by=who(request)
                )
                await self._engine.submit(wanted, ref)
        except RefreshdError as error:
            return await self._content(request, error, target)
        return await self._done(request)

    async def _rollback(self, request: web.Request) -> web.Response:
        update_id = (await _form(request)).get("id", "")
        try:
            await self._engine.rollback(update_id, trigger=TRIGGER, by=who(request))
        except RefreshdError as error:
            return await self._content(request, error)
        return await self._done(request)

    async def _done(self, request: web.Request) -> web.Response:
        """A browser without scripts is sent to the page, so that loading it again does not ask again."""
        return await self._content(request) if PART in request.headers else _see_page()

    async def _content(
        self, request: web.Request, error: RefreshdError | None = None, target: str | None = None
    ) -> web.Response:
        if error:
            note_refusal(error.code)
        status, updates = await asyncio.gather(self._health.report(), self._journal.history(_LISTED))
        text = await asyncio.to_thread(
            self._templates.render,
            "content.html" if PART in request.headers else "page.html",
            host=self._host,
            status=status,
            updates=updates,
            view=UpdateView(updates[0] if updates else None),
            caller=_reader(request),
            refusal=str(error) if error else "",
            asked=await self._by_host.look() if self._by_host else None,
            target=suggested_target(status.version, updates) if target is None else target,
        )
        return _html(text, error.status if error else 200, {})


def routes(page: Page, assets: Assets) -> tuple[Route, ...]:
    def route(method: str, path: str, handler: Callable[[web.Request], Awaitable[web.Response]]) -> Route:
        return Route(
            method=method, path=path, access=Access.PUBLIC, handler=handler, summary="", answers={200: "text/html"}
        )

    return (
        route("GET", "/", page.show),
        route("POST", "/update", page.update),
        route("POST", "/rollback", page.rollback),
        route("POST", "/login", page.log_in),
        route("POST", "/logout", page.log_out),
        route("GET", f"{BASE}/{{digest}}/{{name}}", assets.serve),
    )


def _reader(request: web.Request) -> Reader:
    caller: Caller | None = caller_of(request)
    if caller is None:
        return Reader("", session=False, may_update=False, refusal=_NOBODY_MAY)
    known = caller.identity is not None
    return Reader(
        caller.who,
        session=known and "Authorization" not in request.headers,
        may_update=caller.may >= Access.UPDATE,
        refusal=_MAY_NOT if known else _NOBODY_MAY,
    )


async def _form(request: web.Request) -> dict[str, str]:
    """Raises UnsupportedMediaTypeError."""
    if request.content_type != _FORM:
        raise UnsupportedMediaTypeError(given=request.content_type)
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}


def _see_page() -> web.Response:
    return web.Response(status=303, headers={"Location": "/", "Cache-Control": "no-store"})


def _html(text: str, status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(
        text=text, status=status, content_type="text/html", headers={"Cache-Control": "no-store", **headers}
    )
