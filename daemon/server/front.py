"""The first answers: what a new process says while the rest of the daemon is still being imported.

The probes are answered at once. Every other request waits for the whole application, which then answers everything.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import NoReturn

from aiohttp import web
from aiohttp.typedefs import Middleware

from daemon import __version__
from daemon.errors import RestartingError
from daemon.head import Head

MAX_BODY = 64 * 1024  # bytes
_PROBES = {"/healthz": 200, "/readyz": 503}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Front:
    """One for each process, and `boot_id` proves which process answers. `app` is what the listeners serve.

    `around` is the outermost middleware. A request waits for the whole application for `patience` seconds.
    """

    def __init__(self, head: Head, around: Middleware, *, patience: float) -> None:
        self.boot_id = os.urandom(16).hex()
        self._head = head
        self._whole: web.Application | None = None
        self._decided = asyncio.Event()
        self._patience = patience
        # without any here aiohttp would skip those of the whole application
        self.app = web.Application(middlewares=[around], client_max_size=MAX_BODY)
        self.app.router.register_resource(_Everything(self))
        self.app.on_shutdown.append(self._shut_down)
        self.app.on_cleanup.append(self._clean_up)

    async def open(self, whole: web.Application) -> None:
        """From now on the whole application answers."""
        whole.freeze()
        await whole.startup()
        self._whole = whole
        self._decided.set()

    def refuse(self) -> None:
        """For a process that ends before it was opened: whoever waits is told to come again."""
        self._decided.set()

    async def whole(self) -> web.Application | None:
        """None where there will be none, or not soon."""
        try:
            async with asyncio.timeout(self._patience):
                await self._decided.wait()
        except TimeoutError:
            return None
        return self._whole

    def is_early(self, request: web.Request) -> bool:
        """Whether this is a question that is answered now, with what is known."""
        return not self._decided.is_set() and request.method in {"GET", "HEAD"} and request.path in _PROBES

    async def probe(self, request: web.Request) -> web.Response:
        sha = await self._head.read()
        health = {"status": "starting", "version": __version__, "sha": sha, "boot_id": self.boot_id}
        return web.json_response(health, status=_PROBES[request.path])

    async def _shut_down(self, _: web.Application) -> None:
        if self._whole:
            await self._whole.shutdown()

    async def _clean_up(self, _: web.Application) -> None:
        if self._whole:
            await self._whole.cleanup()


class _Everything(web.AbstractResource):
    """The whole site as one resource, because a router takes no routes any more once it serves."""

    def __init__(self, front: Front) -> None:
        super().__init__()
        self._front = front
        self._probe = web.ResourceRoute("GET", front.probe, self)
        self._refusal = web.ResourceRoute("*", _refuse, self)

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo, set[str]]:
        if self._front.is_early(request):
            return web.UrlMappingMatchInfo({}, self._probe), set()
        whole = await self._front.whole()
        if whole is None:
            return web.UrlMappingMatchInfo({}, self._refusal), set()
        match = await whole.router.resolve(request)
        match.add_app(whole)
        return match, set()

    @property
    def canonical(self) -> str:
        return "/"

    def raw_match(self, path: str) -> bool:
        return path == self.canonical

    def url_for(self, **_: str) -> NoReturn:
        raise RuntimeError("a whole site has no address of its own")

    def add_prefix(self, prefix: str) -> NoReturn:
        raise RuntimeError(f"a whole site cannot be moved to {prefix}")

    def get_info(self) -> dict[str, str]:  # type: ignore[override] # aiohttp does not export the type
        return {"path": self.canonical}

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        return iter((self._probe, self._refusal))

    def __len__(self) -> int:
        return 2


async def _refuse(_: web.Request) -> web.Response:
    error = RestartingError()
    body = {"title": error.code, "status": error.status, "code": error.code, "detail": str(error)}
    headers = {"Retry-After": str(error.retry_after)}
    return web.json_response(body, status=error.status, headers=headers, content_type="application/problem+json")
