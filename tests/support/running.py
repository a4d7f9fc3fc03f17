"""The real application on real sockets, in this process: for the tests of what it answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from daemon.app import Daemon, build
from daemon.server.access_log import AccessLog
from daemon.server.limits import LimitedRunner, Limits
from daemon.server.listening.binding import bind_unix
from daemon.settings import Settings
from tests.support.world import git

TOKEN = "a-token-of-the-test"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str
    json: Any


@dataclass
class Served:
    """One daemon that listens on both; `get` and `post` go to the Unix socket unless `tcp` is asked for."""

    daemon: Daemon
    repo: Path
    tcp_url: str
    socket: Path

    async def get(self, path: str, *, tcp: bool = False, **headers: str) -> Answer:
        return await self.request("GET", path, tcp=tcp, headers=headers)

    async def post(self, path: str, body: object, *, tcp: bool = False, **headers: str) -> Answer:
        return await self.request("POST", path, tcp=tcp, json=body, headers=headers)

    async def request(self, method: str, path: str, *, tcp: bool = False, **more: Any) -> Answer:
        connector = None if tcp else aiohttp.UnixConnector(path=str(self.socket))
        more["headers"] = {name.replace("_", "-"): value for name, value in (more.get("headers") or {}).items()}
        base = self.tcp_url if tcp else "http://localhost"
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, base + path, **more) as response,
        ):
            text = await response.text()
            is_json = "json" in response.content_type
            return Answer(
                response.status, response.headers, text, await response.json(content_type=None) if is_json else None
            )


def new_checkout(folder: Path) -> Path:
    """A checkout with one commit, and a bare remote of it as `origin`."""
    repo = folder / "checkout"
    repo.mkdir()
    git(repo, "init", "--quiet", "--initial-branch=main")
    for name, value in (("user.name", "t"), ("user.email", "t@example.invalid")):
        git(repo, "config", name, value)
    (repo / "file").write_text("one")
    git(repo, "add", "file")
    git(repo, "commit", "--quiet", "--message", "one")
    git(folder, "clone", "--quiet", "--bare", str(repo), str(folder / "remote.git"))
    git(repo, "remote", "add", "origin", str(folder / "remote.git"))
    return repo


@contextlib.asynccontextmanager
async def served(folder: Path, *, limits: Limits | None = None, **environ: str) -> AsyncIterator[Served]:
    """Not verified and not supervised: the application alone, as `serve` sets it up."""
    repo = new_checkout(folder)
    settings_environ = {
        "ITERATE_REPO": str(repo),
        "ITERATE_REPO_LOCAL_DOCKER_MOUNT": str(folder / "no-mount"),
        "REFRESHD_STATE_DIR": str(folder / "state"),
        "REFRESHD_RUN_DIR": str(folder / "run"),
        **environ,
    }
    daemon = await build(Settings.from_environment(settings_environ), settings_environ)
    runner = LimitedRunner(daemon.app, limits=limits or Limits(), access_log_class=AccessLog, shutdown_timeout=1)
    await runner.setup()
    socket = folder / "run" / "refreshd.sock"
    try:
        await web.SockSite(runner, await asyncio.to_thread(bind_unix, socket)).start()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = runner.addresses[-1]
        yield Served(daemon, repo, f"http://127.0.0.1:{address[1]}", socket)
    finally:
        await daemon.engine.stop()
        await runner.cleanup()
