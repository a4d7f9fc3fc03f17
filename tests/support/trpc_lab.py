"""A small world of procedures behind the real router: ones that answer, fail, wait for each other or misbehave."""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, RootModel

from daemon.auth.access import Access
from daemon.errors import RestartingError, UpdateRunningError
from daemon.triggers.trpc import Procedure, Procedures, Router, Subscription, Tracked, add_routes
from tests.support.gates import gate

BASE = "/api/trpc"
TOKEN = "T"
SHA = "555c1f40b5eba38c3f3a18e2c465a07210f5470d"
SECRET = "secret detail: /etc/shadow"


class SelfUpdate(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    targetRef: str  # noqa: N815 - the caller's spelling


class Anything(RootModel[Any]):
    pass


class Optional(BaseModel):
    limit: int = 10


class Counting(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    to: int = 3
    lastEventId: str = "0"  # noqa: N815 - the caller's spelling
    forever: bool = False


class Lab:
    """`ran` names the procedures that did what they do, mutations and the slow query."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.slow_entered = asyncio.Event()
        self.leaving = asyncio.Event()
        self.pause_after: int | None = None  # the number after which a count stands still, once
        self.paused = asyncio.Event()
        self.cut = asyncio.Event()
        self._meeting = asyncio.Barrier(2)

    def procedures(self) -> Procedures:
        return {
            "getVersion": Procedure("query", Access.READ, self._version),
            "selfUpdate": Procedure("mutation", Access.UPDATE, self._self_update, SelfUpdate),
            "lab.echo": Procedure("query", Access.READ, self._echo, Anything),
            "lab.list": Procedure("query", Access.READ, self._list, Optional),
            "lab.nothing": Procedure("query", Access.READ, self._nothing),
            "lab.public": Procedure("query", Access.PUBLIC, self._version),
            "lab.meet": Procedure("query", Access.READ, self._meet),
            "lab.slow": Procedure("query", Access.READ, self._slow),
            "lab.boom": Procedure("query", Access.READ, self._boom),
            "lab.nan": Procedure("query", Access.READ, self._nan),
            "lab.touch": Procedure("mutation", Access.UPDATE, self._touch),
            "lab.boomMut": Procedure("mutation", Access.UPDATE, self._boom),
            "lab.conflict": Procedure("mutation", Access.UPDATE, self._conflict),
            "lab.restarting": Procedure("mutation", Access.UPDATE, self._restarting),
            "lab.count": Subscription(Access.READ, self._count, Counting),
            "lab.subBoom": Subscription(Access.READ, self._sub_boom),
            "lab.subConflict": Subscription(Access.READ, self._sub_conflict),
        }

    async def _version(self, _request: web.Request, _input: None) -> dict[str, str]:
        return {"sha": SHA}

    async def _self_update(self, _request: web.Request, given: SelfUpdate) -> dict[str, Any]:
        self.ran.append("selfUpdate")
        return {"success": True, "targetRef": given.targetRef}

    async def _echo(self, _request: web.Request, given: Anything) -> object:
        return given.root

    async def _list(self, _request: web.Request, given: Optional) -> dict[str, int]:
        return {"limit": given.limit}

    async def _nothing(self, _request: web.Request, _input: None) -> None:
        return None

    async def _meet(self, _request: web.Request, _input: None) -> dict[str, str]:
        async with asyncio.timeout(5):
            await self._meeting.wait()
        return {"sha": SHA}

    async def _slow(self, _request: web.Request, _input: None) -> dict[str, str]:
        self.slow_entered.set()
        await asyncio.sleep(0.2)
        self.ran.append("lab.slow")
        return {"sha": SHA}

    async def _boom(self, _request: web.Request, _input: None) -> None:
        raise RuntimeError(SECRET)

    async def _nan(self, _request: web.Request, _input: None) -> dict[str, float]:
        return {"x": math.nan}

    async def _touch(self, _request: web.Request, _input: None) -> dict[str, bool]:
        self.ran.append("lab.touch")
        return {"success": True}

    async def _conflict(self, _request: web.Request, _input: None) -> None:
        raise UpdateRunningError(ref="v2", running="000001-aaaaaa", running_ref="v1", state="staging")

    async def _restarting(self, _request: web.Request, _input: None) -> None:
        raise RestartingError(retry_after=3)

    async def _count(self, _request: web.Request, given: Counting) -> AsyncGenerator[Tracked, None]:
        """From after the event that was seen last up to `to`."""
        for number in range(int(given.lastEventId) + 1, given.to + 1):
            yield Tracked(str(number), {"number": number})
            if number == self.pause_after:
                self.pause_after = None
                await self._until_cut()
        if given.forever:
            await asyncio.Event().wait()

    async def _until_cut(self) -> None:
        self.paused.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cut.set()

    async def _sub_boom(self, _request: web.Request, _input: None) -> AsyncGenerator[Tracked, None]:
        yield Tracked("1", {"number": 1})
        raise RuntimeError(SECRET)

    async def _sub_conflict(self, _request: web.Request, _input: None) -> AsyncGenerator[Tracked, None]:
        yield Tracked("1", {"number": 1})
        raise UpdateRunningError(ref="v2", running="000001-aaaaaa", running_ref="v1", state="staging")


@asynccontextmanager
async def served(lab: Lab) -> AsyncIterator[int]:
    """The lab on a port of loopback, guarded by the daemon's own rules and the token `TOKEN`.

    Run as the daemon is, and not by aiohttp's test server: that one cancels what runs for a caller who leaves.
    """
    app = web.Application()
    add_routes(app, BASE, Router(lab.procedures(), gate(token=TOKEN).authorize, lab.leaving))
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
