"""Daytona's HTTP API as far as its SDK needs it here, before one machine that is real.

A preview link leads through a proxy that wants its own token, drops it, and answers 502 while the machine is away.
"""

import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Self

import aiohttp
from aiohttp import web

API_KEY = "key-for-the-cloud"
PREVIEW_HEADER = "X-Daytona-Preview-Token"
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host"})


class DaytonaCloud:
    """`on_create` is told the variables of a new sandbox. `seen` are the calls, as `METHOD path`."""

    def __init__(self, machine_url: str, on_create: Callable[[dict[str, str]], None]) -> None:
        self._machine_url = machine_url
        self._on_create = on_create
        self.sandboxes: dict[str, dict[str, Any]] = {}
        self.preview_token = secrets.token_hex(8)
        self.seen: list[str] = []
        self.proxied: list[dict[str, str]] = []
        self.gateway_errors = 0

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._front])
        app.router.add_post("/api/sandbox", self._create)
        app.router.add_get("/api/sandbox", self._list)
        app.router.add_get("/api/sandbox/{id}", self._get)
        app.router.add_delete("/api/sandbox/{id}", self._delete)
        app.router.add_post("/api/sandbox/{id}/{verb:start|stop|archive}", self._change)
        app.router.add_get("/api/sandbox/{id}/ports/{port}/preview-url", self._preview)
        app.router.add_route("*", "/preview/{id}/{path:.*}", self._proxy)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._runner.cleanup()

    @property
    def api_url(self) -> str:
        return f"{self.url}/api"

    @web.middleware
    async def _front(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if not request.path.startswith("/api/"):
            return await handler(request)
        self.seen.append(f"{request.method} {request.path}")
        if request.headers.get("Authorization") != f"Bearer {API_KEY}":
            return web.json_response({"message": f"no: {request.headers.get('Authorization')}"}, status=401)
        return await handler(request)

    async def _create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self._on_create(asked["env"])
        identity = secrets.token_hex(8)
        self.sandboxes[identity] = {
            "id": identity,
            "organizationId": "org",
            "name": asked["name"],
            "snapshot": asked.get("snapshot"),
            "user": "daytona",
            "env": asked["env"],
            "labels": asked["labels"],
            "public": asked["public"],
            "networkBlockAll": False,
            "kvm": False,
            "target": "eu",
            "cpu": 2,
            "gpu": 0,
            "memory": 4,
            "disk": 10,
            "state": "started",
            "toolboxProxyUrl": f"{self.url}/toolbox",
        }
        return web.json_response(self.sandboxes[identity])

    async def _list(self, request: web.Request) -> web.Response:
        wanted = json.loads(request.query.get("labels", "{}")).items()
        found = [sandbox for sandbox in self.sandboxes.values() if wanted <= sandbox["labels"].items()]
        return web.json_response({"items": found, "nextCursor": None})

    def _sandbox(self, request: web.Request) -> dict[str, Any]:
        sandbox = self.sandboxes.get(request.match_info["id"])
        if sandbox is None:
            body = json.dumps({"message": "there is no such sandbox", "statusCode": 404})
            raise web.HTTPNotFound(text=body, content_type="application/json")
        return sandbox

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self._sandbox(request))

    async def _delete(self, request: web.Request) -> web.Response:
        sandbox = self._sandbox(request)
        del self.sandboxes[sandbox["id"]]
        return web.json_response({**sandbox, "state": "destroyed"})

    async def _change(self, request: web.Request) -> web.Response:
        sandbox = self._sandbox(request)
        sandbox["state"] = {"start": "started", "stop": "stopped", "archive": "archived"}[request.match_info["verb"]]
        return web.json_response(sandbox)

    async def _preview(self, request: web.Request) -> web.Response:
        sandbox = self._sandbox(request)
        url = f"{self.url}/preview/{sandbox['id']}"
        return web.json_response({"sandboxId": sandbox["id"], "url": url, "token": self.preview_token})

    async def _proxy(self, request: web.Request) -> web.StreamResponse:
        self.proxied.append(dict(request.headers))
        if request.headers.get(PREVIEW_HEADER) != self.preview_token:
            return web.Response(status=401, text="<h1>preview</h1>", content_type="text/html")
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _HOP_BY_HOP | {PREVIEW_HEADER.lower()}
        }
        target = f"{self._machine_url}/{request.match_info['path']}"
        try:
            async with self._session.request(
                request.method, target, params=request.query, headers=headers, data=await request.read()
            ) as answer:
                return await _passed_on(request, answer)
        except aiohttp.ClientConnectionError:
            self.gateway_errors += 1
            return web.Response(status=502, text="<h1>Bad Gateway</h1>", content_type="text/html")


async def _passed_on(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    try:
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
    except (aiohttp.ClientError, ConnectionError):
        if request.transport:
            request.transport.close()
    return response
