"""The pages: look, render; or read a form, begin, and show how it goes. Errors are pages and toasts too."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from daemon.auth.access import Access, Gate, may, who
from daemon.client import NoAnswerError, RefusedError
from daemon.control.actions import Operator
from daemon.control.console import views
from daemon.control.console.live import list_events, machine_events
from daemon.control.console.templates import Templates
from daemon.control.database import Operations
from daemon.control.errors import ActionUnsupportedError, MachineNotFoundError, MachineSpecError
from daemon.control.fleet import Fleet, machine_id
from daemon.control.models import Activity, Fact, MachineView, ShellCommand, check_name
from daemon.control.providers import MachineSpec
from daemon.control.providers.asking import client_of
from daemon.errors import BadRequestError, InternalError, RefreshdError, UnauthorizedError
from daemon.log import get_logger
from daemon.models import Update
from daemon.triggers import streams
from daemon.triggers.server_event import ServerEvent
from daemon.web.assets import BASE as STATIC
from daemon.web.assets import Assets

LISTED_UPDATES = 20
LOG_LINES = 200

log = get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Console:
    def __init__(
        self,
        *,
        fleet: Fleet,
        operator: Operator,
        operations: Operations,
        gate: Gate,
        assets: Assets,
        templates: Templates,
        leaving: asyncio.Event,
    ) -> None:
        self._fleet = fleet
        self._operator = operator
        self._operations = operations
        self._gate = gate
        self._assets = assets
        self._templates = templates
        self._leaving = leaving

    def add_routes(self, app: web.Application) -> None:
        read, update = Access.READ, Access.UPDATE
        table = (
            ("GET", "/", read, self.machines),
            ("GET", "/login", Access.PUBLIC, self.login),
            ("POST", "/login", Access.PUBLIC, self.log_in),
            ("POST", "/logout", Access.PUBLIC, self.log_out),
            ("GET", "/machines/list", read, self.list),
            ("GET", "/machines/events", read, self.list_live),
            ("POST", "/machines", update, self.create),
            ("GET", "/machines/{id}", read, self.machine),
            ("GET", "/machines/{id}/events", read, self.machine_live),
            ("GET", "/machines/{id}/history", read, self.history),
            ("GET", "/machines/{id}/logs", read, self.logs),
            ("POST", "/machines/{id}/{activity}", update, self.act),
        )
        for method, path, access, handler in table:
            app.router.add_route(method, path, self._guarded(access, handler))
        app.router.add_get(STATIC + "/{digest}/{name}", self._assets.serve)

    # Pages

    async def machines(self, request: web.Request) -> web.Response:
        creators = [name for name, provider in self._fleet.providers.items() if Activity.START in provider.activities]
        return self._page(request, "machines.html", creators=creators, **self._listed())

    async def list(self, request: web.Request) -> web.Response:
        return self._page(request, "_list.html", **self._listed())

    async def machine(self, request: web.Request) -> web.Response:
        view = self._view(request)
        provider, found = self._fleet.provided(view.id)
        facts: Sequence[Fact] = ()
        commands: Sequence[ShellCommand] = ()
        problem = ""
        try:
            facts, commands = await provider.display_info(found), await provider.commands(found)
        except RefreshdError as error:
            problem = str(error)
        page = views.MachinePage(view=view, facts=facts, commands=commands, provider_problem=problem)
        history = await self._history(view)
        return self._page(request, "machine.html", page=page, history=history, machine=view.id)

    async def history(self, request: web.Request) -> web.Response:
        view = self._view(request)
        return self._page(request, "_history.html", history=await self._history(view), machine=view.id)

    async def logs(self, request: web.Request) -> web.Response:
        lines, problem = [], ""
        try:
            preview = await self._fleet.preview(self._view(request).id)
            if preview is None:
                return self._page(request, "_logs.html", lines=(), problem="The machine does not run.")
            async with client_of(preview) as client:
                query = {"lines": str(LOG_LINES), "follow": "false"}
                lines = [line.text async for line in client.logs(query)]
        except RefreshdError as error:
            problem = str(error)
        return self._page(request, "_logs.html", lines=lines, problem=problem)

    # Forms

    async def act(self, request: web.Request) -> web.Response:
        form = await request.post()
        view = self._view(request)
        activity = _activity(request.match_info["activity"])
        target = str(form.get("target_ref", "")).strip()
        await self._operator.begin(view.id, activity, by=who(request) or "somebody", target_ref=target)
        if not _by_htmx(request):
            raise web.HTTPSeeOther(f"/machines/{view.id}")
        return self._page(request, "_status.html", page=views.MachinePage(view=self._fleet.get(view.id)))

    async def create(self, request: web.Request) -> web.Response:
        form = await request.post()
        provider = self._fleet.providers.get(str(form.get("provider", "")))
        if provider is None:
            raise MachineSpecError(reason="there is no such type")
        if Activity.START not in provider.activities:
            raise ActionUnsupportedError(action="create", machine="a machine", kind=provider.name)
        found = await provider.create(MachineSpec(name=_name(str(form.get("name", "")))))
        await self._fleet.look()
        raise web.HTTPSeeOther(f"/machines/{machine_id(provider, found)}")

    async def login(self, request: web.Request) -> web.Response:
        return self._page(request, "login.html", next=_local(request.query.get("next", "/")), problem="")

    async def log_in(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        target = _local(str(form.get("next", "/")))
        response = web.Response(status=303, headers={"Location": target})
        try:
            await self._gate.log_in(request, response, str(form.get("token", "")).strip())
        except RefreshdError as error:
            problem = "This token opens nothing." if isinstance(error, UnauthorizedError) else str(error)
            page = self._page(request, "login.html", next=target, problem=problem)
            page.set_status(error.status)
            return page
        return response

    async def log_out(self, request: web.Request) -> web.StreamResponse:
        response = web.Response(status=303, headers={"Location": "/login"})
        self._gate.log_out(request, response)
        return response

    # Live

    async def list_live(self, request: web.Request) -> web.StreamResponse:
        resumed = "Last-Event-ID" in request.headers
        return await streams.stream(request, list_events(self._fleet, self._row, resumed=resumed), self._leaving)

    async def machine_live(self, request: web.Request) -> web.StreamResponse:
        view = self._view(request)
        allowed = may(request) >= Access.UPDATE

        def status(view: MachineView) -> str:
            return self._templates.render("_status.html", page=views.MachinePage(view=view), may_update=allowed)

        events: AsyncGenerator[ServerEvent, None] = machine_events(self._fleet, view.id, status, self._toast)
        return await streams.stream(request, events, self._leaving)

    # How

    def _guarded(self, access: Access, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                await self._gate.authorize(request, access)
                return await handler(request)
            except UnauthorizedError:
                return _to_login(request)
            except RefreshdError as error:
                return self._problem(request, error)
            except web.HTTPException:
                raise
            except Exception:  # the boundary: the log gets the traceback, the reader a fixed text
                log.exception("page met a defect", path=request.path)
                return self._problem(request, InternalError())

        return guarded

    def _problem(self, request: web.Request, error: RefreshdError) -> web.Response:
        if _by_htmx(request):
            response = self._page(request, "_toast.html", text=str(error), tone="bad")
            response.headers.update({"HX-Retarget": "#toasts", "HX-Reswap": "beforeend"})
        else:
            title = "Not found" if error.status == web.HTTPNotFound.status_code else "That did not work"
            response = self._page(request, "problem.html", title=title, problem=str(error))
        response.set_status(error.status)
        return response

    def _page(self, request: web.Request, template: str, **values: Any) -> web.Response:  # noqa: ANN401 - as render
        allowed = may(request) >= Access.UPDATE
        html = self._templates.render(template, who=who(request), may_update=allowed, **values)
        return web.Response(text=html, content_type="text/html", headers={"Cache-Control": "no-store"})

    def _view(self, request: web.Request) -> MachineView:
        return self._fleet.get(request.match_info["id"])

    def _listed(self) -> dict[str, Any]:
        machines = self._fleet.machines()
        rows = [views.row(view) for view in machines]
        return {"rows": rows, "summary": views.summary(machines), "problems": self._fleet.problems}

    def _row(self, view: MachineView) -> str:
        return self._templates.render("_row.html", row=views.row(view))

    def _toast(self, text: str, tone: str) -> str:
        return self._templates.render("_toast.html", text=text, tone=tone)

    async def _history(self, view: MachineView) -> views.History:
        """What the machine itself remembers: it also knows what others asked it for."""
        if Activity.REFRESH not in view.supports:
            return views.History(problem="Its code is the host's own, so nothing is refreshed here.")
        try:
            updates = await self._updates(view)
        except (RefusedError, NoAnswerError, MachineNotFoundError) as error:
            return views.History(problem=f"The machine remembers its updates, and it does not answer: {error}")
        if updates is None:
            return views.History(problem="The machine remembers its updates; start it to see them.")
        askers = {operation.id: operation.asked_by for operation in await self._operations.history(view.id, 200)}
        return views.History(items=[views.history_item(update, askers) for update in updates])

    async def _updates(self, view: MachineView) -> tuple[Update, ...] | None:
        preview = await self._fleet.preview(view.id) if view.reachable else None
        if preview is None:
            return None
        async with client_of(preview) as client:
            return await client.updates(LISTED_UPDATES)


def _activity(text: str) -> Activity:
    try:
        return Activity(text)
    except ValueError:
        raise BadRequestError(reason="there is no such activity") from None


def _name(text: str) -> str:
    try:
        return check_name(text)
    except ValueError as error:
        raise MachineSpecError(reason=str(error)) from None


def _by_htmx(request: web.Request) -> bool:
    return request.headers.get("HX-Request") == "true"


def _local(target: str) -> str:
    """Where to go after the login: a path of ours, and never another site."""
    good = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if good else "/"


def _to_login(request: web.Request) -> web.Response:
    if _by_htmx(request):
        return web.Response(status=401, headers={"HX-Redirect": "/login"})
    where = urlencode({"next": request.path_qs}) if request.method == "GET" else ""
    return web.Response(status=303, headers={"Location": f"/login?{where}"})
