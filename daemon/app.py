"""The composition root: settings in, application out. The only module that knows everybody."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from daemon.auth.access import Gate, audited
from daemon.auth.hosts import Hosts
from daemon.auth.sessions import Sessions
from daemon.auth.tokens import Tokens, read_secret
from daemon.auth.users import Users
from daemon.bad_targets import BadTargets
from daemon.check import Checker
from daemon.disk import FLOOR, RUN_FLOOR, Disk, Need
from daemon.durable import flush
from daemon.engine import Engine
from daemon.environment import Environment, detect
from daemon.head import Head
from daemon.health.reporting import HealthReporter
from daemon.installers import Installer
from daemon.installers.pnpm import PnpmInstaller
from daemon.installers.uv import UvInstaller
from daemon.journal import Journal
from daemon.keeper import Keeper
from daemon.lock import MachineLock
from daemon.logs import Places
from daemon.machinery import Machinery
from daemon.metrics.tally import Tally, counting
from daemon.metrics.totals import Totals
from daemon.models import Update
from daemon.own_code import OwnCode
from daemon.permission import Permission
from daemon.pipeline import Pipeline
from daemon.recovery import Recovery
from daemon.s6 import ScanDirectory
from daemon.server.front import MAX_BODY
from daemon.server.security_headers import secure
from daemon.settings import Settings
from daemon.shelf import Shelf
from daemon.snapshots import Snapshots
from daemon.snapshots.kept import Kept
from daemon.sources import Source
from daemon.sources.git import GitSource, RefPolicy
from daemon.sources.mount import MountSource
from daemon.sources.snapshot import SnapshotSource
from daemon.starts import Starts
from daemon.supervisor import Supervisor
from daemon.triggers import http, logs, metrics, openapi, page, problems, procedures, routes, status, trpc
from daemon.triggers import snapshots as snapshot_routes
from daemon.triggers import users as user_routes
from daemon.undo import Undo
from daemon.version import VersionReporter
from daemon.web.assets import Assets

if TYPE_CHECKING:
    from daemon.triggers.page.by_host import ByHost


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """Everything that one process is made of."""

    settings: Settings
    environment: Environment
    journal: Journal
    engine: Engine
    recovery: Recovery
    shelf: Shelf
    starts: Starts
    version: VersionReporter
    supervisor: Supervisor
    ready: asyncio.Event
    gate: Gate
    app: web.Application
    procedures: trpc.Procedures


async def build(
    settings: Settings, environ: Mapping[str, str], *, boot_id: str = "", own: OwnCode | None = None
) -> Daemon:
    """Wires the collaborators; opens and starts nothing. What HEAD names now is what this process counts as running."""
    environment = await asyncio.to_thread(detect, settings)
    supervisor = Supervisor(settings.notification_fd)
    journal = Journal(settings.state_dir / "updates")
    snapshots = Snapshots(folder=settings.state_dir / "snapshots", repo=settings.repo, timeout=settings.apply_timeout)
    head = Head(settings.repo)
    version = VersionReporter(
        repo=settings.repo,
        head=head,
        environment=environment.name,
        os_sha=settings.os_sha or None,
        last_update=journal.latest,
        changes=lambda: journal.changes,
        # the image's own copy is of no commit of the checkout
        running_sha=None if settings.rescue else await head.read(),
        boot_id=boot_id,
    )
    machinery = Machinery(
        journal=journal,
        source=_source(settings, environment),
        rollback_source=partial(
            _rollback_source, repo=settings.repo, snapshots=snapshots, timeout=settings.apply_timeout
        ),
        installers=_installers(settings),
        checker=_checker(settings, environ, own),
        bad_targets=BadTargets(settings.state_dir / "bad-targets.json"),
        starts=Starts(settings.state_dir),
        lock=MachineLock(settings.state_dir / "update.lock"),
        snapshots=snapshots,
        undo=Undo(
            folder=settings.state_dir / "undo", repo=settings.repo, snapshots=snapshots, timeout=settings.undo_timeout
        ),
        head=head,
        keeper=Keeper(settings.repo),
        running_sha=version.running_sha,
        restart=supervisor.leave,
        flush=partial(flush, settings.repo, settings.apply_timeout),
        disk=Disk((Need(settings.state_dir, FLOOR), Need(settings.repo, FLOOR), Need(settings.run_dir, RUN_FLOOR))),
        unsupported=f"in the environment {environment.name!r} the daemon runs the host's own code",
    )
    pipeline = Pipeline(machinery)
    engine = Engine(machinery, pipeline)
    shelf = Shelf(
        snapshots=snapshots,
        kept=Kept(snapshots, keep=settings.snapshots_keep, max_bytes=settings.snapshots_max_mb * 1024 * 1024),
        engine=engine,
        journal=journal,
        head=head,
        permission=Permission(machinery.source, journal),
    )
    ready = asyncio.Event()
    users = Users(settings.state_dir / "users.json")
    gate = Gate(
        tokens=Tokens(settings.token, settings.token_file),
        users=users,
        sessions=Sessions(settings.state_dir / "session.key"),
        hosts=Hosts(settings.hosts),
    )
    tally = Tally()
    app = web.Application(middlewares=[counting(tally), audited, problems.problems], client_max_size=MAX_BODY)
    app.on_response_prepare.append(secure)
    rest = http.RestApi(
        environment=environment,
        engine=engine,
        journal=journal,
        version=version,
        supervisor=supervisor,
        ready=ready,
        rescue=settings.rescue,
    )
    scan = ScanDirectory(settings.run_dir)
    health = HealthReporter(
        version=version,
        supervisor=supervisor,
        starts=machinery.starts,
        scan=scan,
        ready=ready,
        needs=machinery.disk.floors,
        rescue=settings.rescue,
        # the guard ends new code after as long
        start_limit=settings.check_timeout + settings.verify_timeout,
        born=time.monotonic(),
    )
    counts = metrics.MetricsApi(
        totals=Totals(settings.state_dir / "metrics.json", journal),
        tally=tally,
        version=version,
        supervisor=supervisor,
        ready=ready,
        run_dir=settings.run_dir,
    )
    table = (
        *http.routes(rest),
        *snapshot_routes.routes(snapshot_routes.SnapshotApi(shelf)),
        *logs.routes(logs.LogApi(Places(settings.log_dir, scan), supervisor)),
        *status.routes(status.StatusApi(health)),
        *metrics.routes(counts),
        *user_routes.routes(user_routes.UserApi(users)),
    )
    routes.add_routes(app, openapi.described(table), gate.authorize)
    assets = Assets(page.STATIC)
    site = page.Page(
        gate=gate,
        engine=engine,
        journal=journal,
        health=health,
        templates=await asyncio.to_thread(page.Templates, assets),
        by_host=_by_host(settings.commands),
    )
    routes.add_routes(app, page.routes(site, assets), gate.authorize)
    called = procedures.table(procedures.ProcedureApi(engine=engine, journal=journal, shelf=shelf, version=version))
    trpc.add_routes(app, "/api/trpc", trpc.Router(called, gate.authorize, supervisor.leaving))
    return Daemon(
        settings=settings,
        environment=environment,
        journal=journal,
        engine=engine,
        recovery=Recovery(machinery, pipeline),
        shelf=shelf,
        starts=machinery.starts,
        version=version,
        supervisor=supervisor,
        ready=ready,
        gate=gate,
        app=app,
        procedures=called,
    )


def _by_host(commands: Path | None) -> "ByHost | None":
    if commands is None:
        return None
    from daemon.triggers.page.by_host import ByHost  # noqa: PLC0415 - few machines are updated by their host

    return ByHost(commands)


def _checker(settings: Settings, environ: Mapping[str, str], own: OwnCode | None) -> Checker:
    return Checker(
        code_path=settings.code_path,
        launcher=settings.launcher,
        environment=settings.without_secrets(environ),
        timeout=settings.check_timeout,
        patience=settings.stage_timeout + settings.apply_timeout + settings.install_timeout + settings.check_timeout,
        own=own,
    )


def _source(settings: Settings, environment: Environment) -> Source | None:
    match environment.name:
        case "local-docker":
            return MountSource(
                repo=settings.repo,
                mount=settings.mount,
                state_dir=settings.state_dir,
                stage_timeout=settings.stage_timeout,
                apply_timeout=settings.apply_timeout,
            )
        case "daytona":
            return GitSource(
                repo=settings.repo,
                url=settings.git_url,
                token=partial(_git_token, settings),
                run_dir=settings.run_dir,
                stage_timeout=settings.stage_timeout,
                apply_timeout=settings.apply_timeout,
                policy=RefPolicy(settings.refs, settings.allowed_signers),
            )
        case "local":
            return None


def _rollback_source(update: Update, *, repo: Path, snapshots: Snapshots, timeout: float) -> Source:
    return SnapshotSource(repo=repo, snapshots=snapshots, update=update, timeout=timeout)


async def _git_token(settings: Settings) -> str | None:
    """Read anew for each update: such tokens live an hour."""
    if settings.git_token_file:
        return await asyncio.to_thread(read_secret, settings.git_token_file)
    return settings.git_token.get_secret_value() if settings.git_token else None


def _installers(settings: Settings) -> tuple[Installer, ...]:
    return (
        PnpmInstaller(
            repo=settings.repo,
            state_dir=settings.state_dir,
            stage_timeout=settings.stage_timeout,
            install_timeout=settings.install_timeout,
        ),
        UvInstaller(
            repo=settings.repo,
            code_dir=settings.code_dir,
            state_dir=settings.state_dir,
            stage_timeout=settings.stage_timeout,
            install_timeout=settings.install_timeout,
        ),
    )
