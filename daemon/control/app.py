"""The control plane's composition root: settings in, application out."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from daemon import __version__
from daemon.auth.access import Gate, audited
from daemon.auth.hosts import Hosts
from daemon.auth.sessions import Sessions
from daemon.auth.tokens import Tokens, read_secret
from daemon.auth.users import Users
from daemon.control import metrics
from daemon.control.actions import Operator
from daemon.control.changes import Changes
from daemon.control.console.pages import Console
from daemon.control.console.templates import Templates
from daemon.control.database import Operations, Sightings
from daemon.control.database.engine import database_url, open_database
from daemon.control.fleet import Fleet
from daemon.control.procedures import Procedures
from daemon.control.providers import MachineProvider
from daemon.control.settings import ControlSettings
from daemon.control.tokens import MachineTokens, load_key
from daemon.errors import ConfigurationError
from daemon.server.front import MAX_BODY
from daemon.server.security_headers import secure
from daemon.triggers import openapi, problems, trpc, users
from daemon.triggers.routes import add_routes
from daemon.web.assets import Assets

ABOUT = (
    "Users and metrics of a control plane; its machines are behind tRPC, at /api/trpc. What answers GET answers HEAD."
)
STATIC = Path(__file__).parent / "console" / "static"


@dataclass(frozen=True, kw_only=True)
class Control:
    """Everything that one control plane is made of. `leaving` ends the streams that browsers hold open."""

    settings: ControlSettings
    fleet: Fleet
    operator: Operator
    leaving: asyncio.Event
    app: web.Application
    procedures: trpc.Procedures


async def build(settings: ControlSettings, stack: AsyncExitStack) -> Control:
    """Opens the database and looks at nothing yet; the stack closes what was opened. Raises ConfigurationError."""
    key = await asyncio.to_thread(load_key, settings.secret_path)
    engine = await open_database(database_url(settings.database))
    stack.push_async_callback(engine.dispose)
    operations = Operations(engine, lease_seconds=settings.lease)
    providers = await _providers(settings, MachineTokens(key))
    for provider in providers:
        stack.push_async_callback(provider.close)
    fleet = Fleet(
        providers,
        operations,
        Sightings(engine),
        Changes(),
        os_sha=settings.os_sha,
        interval=settings.poll_interval,
    )
    await fleet.open()
    counts = metrics.Metrics(fleet)
    operator = Operator(fleet, operations, lease_seconds=settings.lease, ended=counts.ended)
    stack.push_async_callback(operator.stop)
    leaving = asyncio.Event()
    accounts = Users(settings.state_dir / "users.json")
    gate = Gate(
        tokens=Tokens(settings.token, settings.token_file),
        users=accounts,
        sessions=Sessions(settings.state_dir / "session.key"),
        hosts=Hosts(settings.hosts),
    )
    app = web.Application(middlewares=[audited, problems.problems], client_max_size=MAX_BODY)
    app.on_response_prepare.append(secure)
    app.router.add_get("/healthz", _healthz)
    rest = (*users.routes(users.UserApi(accounts)), *metrics.routes(counts))
    add_routes(app, openapi.described(rest, title="refreshd control", about=ABOUT), gate.authorize)
    procedures = Procedures(fleet=fleet, operator=operator).table()
    trpc.add_routes(app, "/api/trpc", trpc.Router(procedures, gate.authorize, leaving))
    assets = Assets(STATIC)
    Console(
        fleet=fleet,
        operator=operator,
        operations=operations,
        gate=gate,
        assets=assets,
        templates=await Templates.read(assets, settings.os_sha),
        leaving=leaving,
    ).add_routes(app)
    return Control(settings=settings, fleet=fleet, operator=operator, leaving=leaving, app=app, procedures=procedures)


async def _healthz(_request: web.Request) -> web.Response:
    return web.json_response({"status": "alive", "version": __version__})


async def _providers(settings: ControlSettings, tokens: MachineTokens) -> Sequence[MachineProvider]:
    """Those that are configured; what one of them is made of is imported only then."""
    providers: list[MachineProvider] = []
    if settings.docker_image:
        providers.append(await asyncio.to_thread(_docker, settings, tokens))
    if settings.daytona_key_file:
        providers.append(await asyncio.to_thread(_daytona, settings, tokens, settings.daytona_key_file))
    if settings.inventory:
        from daemon.control.providers.inventory import InventoryProvider  # noqa: PLC0415 - as its siblings

        providers.append(InventoryProvider(settings.inventory, refresh_timeout=settings.refresh_timeout))
    return providers


def _docker(settings: ControlSettings, tokens: MachineTokens) -> MachineProvider:
    from daemon.control.providers.local_docker import LocalDockerProvider  # noqa: PLC0415 - only where it is used

    if settings.docker_repo is None:
        raise ConfigurationError(problems="CONTROL_DOCKER_REPO: it must be set where CONTROL_DOCKER_IMAGE is")
    return LocalDockerProvider(
        url=settings.docker_url,
        fleet=settings.fleet,
        image=settings.docker_image,
        repo=settings.docker_repo,
        tokens=tokens,
        os_sha=settings.os_sha,
        timeout=settings.provider_timeout,
        refresh_timeout=settings.refresh_timeout,
    )


def _daytona(settings: ControlSettings, tokens: MachineTokens, key_file: Path) -> MachineProvider:
    from daemon.control.providers.daytona import DaytonaProvider  # noqa: PLC0415 - only where it is used

    return DaytonaProvider(
        api_key=read_secret(key_file),
        api_url=settings.daytona_url,
        target=settings.daytona_target,
        fleet=settings.fleet,
        snapshot=settings.daytona_snapshot,
        git_token_file=settings.git_token_file,
        tokens=tokens,
        os_sha=settings.os_sha,
        timeout=settings.provider_timeout,
        refresh_timeout=settings.refresh_timeout,
    )
