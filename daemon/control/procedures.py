"""The control plane's tRPC procedures: machines, what they run, and what is done to them."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from itertools import count
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from daemon.auth.access import Access, who
from daemon.control.actions import Operator
from daemon.control.fleet import Fleet
from daemon.control.models import Activity, MachineChange, MachineView, RefreshResult
from daemon.triggers.trpc import Procedure, Subscription, Tracked


class MachineInput(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel, defer_build=True)

    id: str


class RefreshInput(MachineInput):
    target_ref: str = ""


class ChangesInput(BaseModel):
    """Without an id: the changes of all machines. What a reader has seen last does not matter: it is told anew."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel, defer_build=True)

    id: str | None = None
    last_event_id: str | None = None


class Procedures:
    def __init__(self, *, fleet: Fleet, operator: Operator) -> None:
        self._fleet = fleet
        self._operator = operator

    def table(self) -> Mapping[str, Procedure | Subscription]:
        return {
            "machine.list": Procedure("query", Access.READ, self.list, None, Sequence[MachineView]),
            "machine.get": Procedure("query", Access.READ, self.get, MachineInput, MachineView),
            "machine.restart": Procedure("mutation", Access.UPDATE, self.restart, MachineInput, RefreshResult),
            "machine.refreshCode": Procedure("mutation", Access.UPDATE, self.refresh_code, RefreshInput, RefreshResult),
            "machine.onChange": Subscription(Access.READ, self.on_change, ChangesInput, MachineChange),
        }

    async def list(self, _request: web.Request, _input: None) -> list[dict[str, Any]]:
        return [view.camel() for view in self._fleet.machines()]

    async def get(self, _request: web.Request, given: MachineInput) -> MachineView:
        return self._fleet.get(given.id)

    async def restart(self, request: web.Request, given: MachineInput) -> RefreshResult:
        """Answers when the machine's daemon does, or when it does not in time."""
        operation = await self._operator.begin(given.id, Activity.RESTART, by=_by(request))
        return await self._operator.wait(operation)

    async def refresh_code(self, request: web.Request, given: RefreshInput) -> RefreshResult:
        """Answers when it was confirmed what runs. That a machine does not support it is an answer."""
        return await self._operator.refresh_code(given.id, by=_by(request), target_ref=given.target_ref)

    async def on_change(self, _request: web.Request, given: ChangesInput) -> AsyncGenerator[Tracked, None]:
        """First how everything is, then what changes; `machine` is null for one that is not there any more."""
        if given.id is not None:
            self._fleet.get(given.id)
        numbers = count(1)
        with self._fleet.changes.subscribed() as reader:
            current = {view.id: view for view in self._fleet.machines()}
            for machine in current:
                if given.id in {None, machine}:
                    yield _change(next(numbers), machine, current)
            async for changed in reader.batches():
                current = {view.id: view for view in self._fleet.machines()}
                for machine in changed:
                    if given.id in {None, machine}:
                        yield _change(next(numbers), machine, current)


def _change(number: int, machine: str, current: Mapping[str, MachineView]) -> Tracked:
    return Tracked(str(number), MachineChange(id=machine, machine=current.get(machine)))


def _by(request: web.Request) -> str:
    return who(request) or "somebody"
