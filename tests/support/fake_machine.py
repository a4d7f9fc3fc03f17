"""A small machine that speaks the daemon's REST and plays scripted updates: for the client's and the CLI's tests.

It listens for real, on a Unix socket or on TCP, goes away and comes back as told, and lies when told so.
"""

import asyncio
import contextlib
import json
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from daemon.health.shapes import DiskReport, ProcessReport, Resources, ServiceReport, Status, Verdict
from daemon.journal import fold
from daemon.models import Entry, Health, LastUpdate, OnDisk, Plan, Running, Update, Version, now
from daemon.states import Event, State, after

OLD = "a" * 40
NEW = "b" * 40
STARTED_AT = datetime.fromisoformat("2025-01-02T03:04:05+00:00")
ABOUT_SECONDS = 0.5  # what the machine's clock says that each entry took

_HANG = 3600.0
_API = "/api/v1"


# What an update does, step by step.


@dataclass(frozen=True)
class Move:
    """The next entry of the record; without an event it is a note."""

    event: Event | None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pause:
    """`over` ends it early."""

    seconds: float
    over: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Restart:
    """The process ends and another one starts: streams are cut, and for a while nobody is there.

    `gateway`: a proxy stays in front and answers 502 in the meantime. The liars keep what a restart changes.
    """

    seconds: float = 0.1
    gateway: bool = False
    keeps_boot_id: bool = False
    keeps_commit: bool = False


@dataclass(frozen=True)
class CutStreams:
    """The connections break, and the daemon lives on."""


@dataclass(frozen=True)
class Watched:
    """Goes on when somebody follows the update."""


Step = Move | Pause | Restart | CutStreams | Watched


def begins(commit: str = NEW) -> list[Step]:
    """As far as the state `checking`."""
    return [
        Move(Event.BEGIN, {"from_commit": OLD}),
        Move(Event.STAGED, {"to_commit": commit}),
        Move(Event.APPLIED, {"changes": {"added": 1, "changed": 2, "deleted": 0, "files": ["A x", "M y", "M z"]}}),
        Move(Event.INSTALLED),
    ]


def succeeds(restart: Restart | None = None, **facts: Any) -> list[Step]:
    return [
        *begins(),
        Move(Event.CHECKED),
        restart or Restart(),
        Move(Event.STARTED),
        Move(Event.VERIFIED, facts),
    ]


def finds_nothing_to_do() -> list[Step]:
    return [Move(Event.BEGIN, {"from_commit": OLD}), Move(Event.NOTHING_TO_DO, {"to_commit": OLD})]


def _error(code: str, message: str, detail: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "detail": detail}}


def fails() -> list[Step]:
    error = _error("remote_failed", "cannot fetch 'main' from origin: no route", "fatal: no route to host")
    return [Move(Event.BEGIN, {"from_commit": OLD}), Move(Event.FAIL, error)]


def rolls_back() -> list[Step]:
    error = _error("check_failed", "cannot run the new code: it does not import", "SyntaxError\n\x1b[31minvalid\x1b[0m")
    return [*begins(), Move(Event.UNDONE, error)]


def ends_inconsistent() -> list[Step]:
    error = _error("check_failed", "cannot run the new code", "")
    message = "cannot run the new code; and the way back failed: cannot put the old one back"
    return [*begins(), Move(Event.UNDO_FAILED, error | {"message": message})]


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class FakeMachine:
    """Use `async with`, or `hosted` from code that is not asynchronous. Fields may be changed at any time."""

    def __init__(self, socket_path: Path | None = None, *, token: str | None = None) -> None:
        self.socket_path = socket_path
        self.token = token
        self.boot_id = "boot-1"
        self.running_sha = OLD
        self.ready = True
        self.script: Sequence[Step] = succeeds()
        self.seen: list[Seen] = []
        self.entries: dict[str, list[Entry]] = {}
        self.owner: str | None = None  # what `last_update` names, when it is not the newest
        self.plan: Plan | None = None
        # faults
        self.gateway_down = False
        self.mute = False
        self.lost_answers = 0  # so many updates are accepted and the connection breaks before the answer
        self.unavailable = 0  # so many requests for an update get 503
        self.forgets_event_ids = False
        self.extra: dict[str, Any] = {}  # fields of a newer daemon, in every answer
        self.replace: Callable[[web.Request], web.Response | None] = lambda _request: None
        self._keys: dict[str, str] = {}
        self._port = 0
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: set[asyncio.Transport] = set()
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def where(self) -> list[str]:
        """The options of the command line that lead here."""
        return ["--socket", str(self.socket_path)] if self.socket_path else ["--url", self.url]

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._front])
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get(f"{_API}/version", self._version)
        app.router.add_get(f"{_API}/status", self._status)
        app.router.add_post(f"{_API}/update", self._update)
        app.router.add_get(f"{_API}/updates", self._updates)
        app.router.add_get(f"{_API}/updates/{{id}}", self._get_update)
        app.router.add_get(f"{_API}/updates/{{id}}/events", self._events)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.cut_streams()
        if self._runner:
            await self._runner.cleanup()

    async def listen(self) -> None:
        assert self._runner
        self._site = web.SockSite(self._runner, self._bound())
        await self._site.start()

    async def stop_listening(self) -> None:
        assert self._site
        await self._site.stop()

    def cut_streams(self) -> None:
        for transport in list(self._streams):
            transport.abort()

    def _bound(self) -> socket.socket:
        if self.socket_path:
            self.socket_path.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self.socket_path))
            return listener
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        return listener

    # Updates

    def record(self, update_id: str) -> Update:
        return fold(update_id, self.entries[update_id])

    def asked(self) -> list[Seen]:
        """The requests for an update."""
        return [seen for seen in self.seen if seen.method == "POST"]

    async def begin(self, target: str = "main", key: str | None = None) -> str:
        """Starts playing the script; the id of the new update."""
        update_id = f"{len(self.entries) + 1:06}-{secrets.token_hex(3)}"
        request = {"target_ref": target, "trigger": "rest", "idempotency_key": key}
        self.entries[update_id] = [Entry(seq=1, at=STARTED_AT, state=State.REQUESTED, facts={"request": request})]
        if key:
            self._keys[key] = update_id
        task = asyncio.create_task(self._play(update_id, self.script))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return update_id

    async def _play(self, update_id: str, script: Sequence[Step]) -> None:
        for step in script:
            match step:
                case Move():
                    await self._append(update_id, step)
                case Pause():
                    await self._pause(step)
                case CutStreams():
                    self.cut_streams()
                case Watched():
                    await self._watched()
                case Restart():
                    await self._restart(step)

    async def _pause(self, pause: Pause) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause.seconds):
                while not pause.over.is_set():  # noqa: ASYNC110 - set by a thread that has no part in this loop
                    await asyncio.sleep(0.02)

    async def _watched(self) -> None:
        async with asyncio.timeout(_HANG):
            while not self._streams:  # noqa: ASYNC110 - a set has no event to wait for
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)  # what has happened by now is on its way

    async def _append(self, update_id: str, move: Move) -> None:
        entries = self.entries[update_id]
        last = entries[-1]
        state = after(last.state, move.event) if move.event else last.state
        at = last.at + timedelta(seconds=ABOUT_SECONDS)
        async with self._changed:
            entries.append(Entry(seq=last.seq + 1, at=at, state=state, event=move.event, facts=move.facts))
            self._changed.notify_all()

    async def _restart(self, restart: Restart) -> None:
        await asyncio.sleep(0.05)  # the answer leaves first
        self.gateway_down = restart.gateway
        if not restart.gateway:
            await self.stop_listening()
        self.cut_streams()
        await asyncio.sleep(restart.seconds)
        self.boot_id = self.boot_id if restart.keeps_boot_id else f"boot-{secrets.token_hex(4)}"
        self.running_sha = self.running_sha if restart.keeps_commit else NEW
        if not restart.gateway:
            await self.listen()
        self.gateway_down = False

    # Requests

    @web.middleware
    async def _front(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        content = await request.read()
        body = json.loads(content) if content else {}
        self.seen.append(Seen(request.method, request.path, dict(request.headers), body))
        if self.mute:
            await asyncio.sleep(_HANG)
        if self.gateway_down:
            return web.Response(status=502, text="<h1>Bad Gateway</h1>", content_type="text/html")
        if replaced := self.replace(request):
            return replaced
        if self.token and request.path != "/healthz" and request.headers.get("Authorization") != f"Bearer {self.token}":
            return problem(401, "unauthorized", "cannot answer without a valid token")
        return await handler(request)

    def _json(self, body: dict[str, Any], status: int = 200) -> web.Response:
        return web.json_response(body | self.extra, status=status)

    async def _healthz(self, _request: web.Request) -> web.Response:
        health = Health(status="alive", version="0.1.0", sha=self.running_sha, boot_id=self.boot_id)
        return self._json(health.snake())

    async def _readyz(self, _request: web.Request) -> web.Response:
        return self._json({"status": "ready" if self.ready else "starting"}, 200 if self.ready else 503)

    async def _status(self, _request: web.Request) -> web.Response:
        version = self._version_now()
        broken = version.last_update is not None and version.last_update.state is State.INCONSISTENT
        sound = Verdict.HEALTHY if self.ready else Verdict.STARTING
        status = Status(
            status=Verdict.UNHEALTHY if broken else sound,
            reasons=("the last update could not be undone",) if broken else (),
            ready=self.ready,
            rescue=False,
            version=version,
            process=ProcessReport(
                pid=1, cpu_seconds=0.5, memory_bytes=50 * 1024**2, threads=2, open_files=9, children=()
            ),
            machine=Resources(
                cpus=2,
                load=(0.1, 0.2, 0.3),
                memory_total_bytes=4 * 1024**3,
                memory_available_bytes=3 * 1024**3,
                disks=(DiskReport(path="/var/lib/refreshd", free_bytes=2 * 1024**3, needed_bytes=1),),
            ),
            services=(ServiceReport(name="web", state="down", wanted_up=True, exit_code=1, seconds=7),),
        )
        return self._json(status.snake())

    async def _version(self, _request: web.Request) -> web.Response:
        return self._json(self._version_now().snake())

    def _version_now(self) -> Version:
        return Version(
            sha=self.running_sha,
            running=Running(sha=self.running_sha, version="0.1.0"),
            on_disk=OnDisk(sha=self.running_sha, dirty=True, dirty_at=now()),
            dirty=True,
            environment="daytona",
            boot_id=self.boot_id,
            started_at=STARTED_AT,
            os_sha=NEW,
            update_available=self.running_sha != NEW,
            last_update=self._last_update(),
        )

    def _last_update(self) -> LastUpdate | None:
        if not self.entries:
            return None
        last = self.record(list(self.entries)[-1])
        return LastUpdate(
            id=self.owner or last.id,
            state=last.state,
            target_ref=last.request.target_ref,
            from_commit=last.from_commit,
            to_commit=last.to_commit,
            finished_at=last.finished_at,
        )

    async def _update(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if self.unavailable:
            self.unavailable -= 1
            return problem(503, "restarting", "cannot start an update now", retry_after=1)
        target = next(body[kind] for kind in ("target_ref", "branch", "commit") if kind in body)
        if target.startswith("bad"):
            return problem(400, "invalid_ref", f"cannot accept {target!r} as a ref")
        if body.get("dry_run"):
            assert self.plan
            return self._json(self.plan.snake())
        key = body.get("idempotency_key")
        update_id = self._keys.get(key)
        if update_id is None and (running := self._running()):
            return problem(409, "update_running", f"cannot start an update: {running} runs", update=running)
        update_id = update_id or await self.begin(target, key)
        if self.lost_answers:
            self.lost_answers -= 1
            assert request.transport
            request.transport.abort()
        if body.get("wait"):
            await self._until(update_id, lambda state: state.final or state is State.RESTARTING)
        return self._json(self.record(update_id).snake(), 200 if body.get("wait") else 202)

    def _running(self) -> str | None:
        return next((name for name, entries in self.entries.items() if not entries[-1].state.final), None)

    async def _until(self, update_id: str, reached: Callable[[State], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: reached(self.entries[update_id][-1].state))

    async def _updates(self, request: web.Request) -> web.Response:
        """A page has at most two, so that clients have to ask for the next one."""
        newest = [self.record(update_id).snake() for update_id in reversed(self.entries)]
        start = int(request.query.get("cursor", "0"))
        end = start + min(int(request.query.get("limit", "200")), 2)
        return self._json({"updates": newest[start:end], "next_cursor": str(end) if end < len(newest) else None})

    async def _get_update(self, request: web.Request) -> web.Response:
        update_id = request.match_info["id"]
        if update_id not in self.entries:
            return problem(404, "not_found", f"cannot find update {update_id}")
        return self._json(self.record(update_id).snake())

    async def _events(self, request: web.Request) -> web.StreamResponse:
        update_id = request.match_info["id"]
        if update_id not in self.entries:
            return problem(404, "not_found", f"cannot find update {update_id}")
        seen = 0 if self.forgets_event_ids else int(request.headers.get("Last-Event-ID", "0"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        transport = request.transport
        if not isinstance(transport, asyncio.Transport):
            return response
        self._streams.add(transport)
        try:
            await self._send(response, update_id, seen)
        except (ConnectionError, asyncio.CancelledError):
            transport.abort()
        finally:
            self._streams.discard(transport)
        return response

    async def _send(self, response: web.StreamResponse, update_id: str, seen: int) -> None:
        await response.write(b"retry: 300\n\n: hello\n\n")
        entries = self.entries[update_id]
        async for entry in self._entries_after(entries, seen):
            data = json.dumps(entry.snake() | self.extra)
            await response.write(f"id: {entry.seq}\nevent: entry\ndata: {data}\n\n".encode())
        await response.write(f"event: end\ndata: {json.dumps(self.record(update_id).snake())}\n\n".encode())

    async def _entries_after(self, entries: list[Entry], seen: int) -> AsyncIterator[Entry]:
        while True:
            for entry in entries[seen:]:
                seen = entry.seq
                yield entry
            if entries[-1].state.final:
                return
            async with self._changed:
                await self._changed.wait_for(partial(_longer, entries, seen))


def _longer(entries: Sequence[Entry], seen: int) -> bool:
    return len(entries) > seen


def problem(status: int, code: str, detail: str, *, retry_after: int | None = None, **more: Any) -> web.Response:
    """RFC 9457 as the daemon phrases it."""
    body = {"type": f"urn:refreshd:error:{code}", "title": code, "status": status, "detail": detail, "code": code}
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.json_response(body | more, status=status, content_type="application/problem+json", headers=headers)


@contextlib.contextmanager
def hosted(machine: FakeMachine) -> Iterator[FakeMachine]:
    """The machine in a thread with a loop of its own, for commands that run one themselves."""
    started = threading.Event()
    ended = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def live() -> None:
        async with machine:
            loops.append(asyncio.get_running_loop())
            started.set()
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    try:
        assert started.wait(timeout=10)
        yield machine
    finally:
        for loop in loops:
            loop.call_soon_threadsafe(ended.set)
        thread.join()
