"""The tRPC procedures: camelCase in, camelCase out, the same engine behind them."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from daemon.access import Access, who
from daemon.engine import Engine
from daemon.models import IdempotencyKey, Update, UpdateRequest
from daemon.refs import parse_ref
from daemon.repeat import HOLDS
from daemon.states import State
from daemon.tokens import Token
from daemon.triggers.trpc import Procedure
from daemon.version import VersionReporter

_FINE = {State.RESTARTING, State.VERIFYING, State.SUCCEEDED, State.UNCHANGED}


class SelfUpdateInput(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel, defer_build=True)

    target_ref: str
    dry_run: bool = False
    force: bool = False
    idempotency_key: IdempotencyKey | None = Field(None)
    git_token: Token | None = Field(None, description="For the git remote, for this update alone; stored nowhere.")


class RollbackInput(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel, defer_build=True)

    id: str | None = None
    idempotency_key: IdempotencyKey | None = Field(None)


def table(*, engine: Engine, version: VersionReporter) -> Mapping[str, Procedure]:
    async def get_version(request: web.Request, _input: None) -> dict[str, Any]:
        report = await version.current()
        if request.rel_url.raw_path.endswith("/getVersion"):
            # no other call answers in the same response
            request[HOLDS] = report.holds
        return report.version.camel()

    async def self_update(request: web.Request, given: SelfUpdateInput) -> dict[str, Any]:
        """Answers when the machine is about to restart, or when the update has ended."""
        ref = parse_ref(given.target_ref)
        if given.dry_run:
            return (await engine.plan(ref, given.git_token)).camel()
        wanted = UpdateRequest(
            target_ref=ref.requested,
            trigger="trpc",
            idempotency_key=given.idempotency_key,
            force=given.force,
            by=who(request),
        )
        update = await engine.submit(wanted, ref, given.git_token)
        return result(await engine.wait(update.id))

    async def rollback(request: web.Request, given: RollbackInput) -> dict[str, Any]:
        """Answers as `selfUpdate` does; without an id, it goes back before the last update that succeeded."""
        update = await engine.rollback(given.id, trigger="trpc", idempotency_key=given.idempotency_key, by=who(request))
        return result(await engine.wait(update.id))

    return {
        "getVersion": Procedure(kind="query", access=Access.READ, call=get_version, input=None),
        "selfUpdate": Procedure(kind="mutation", access=Access.UPDATE, call=self_update, input=SelfUpdateInput),
        "rollback": Procedure(kind="mutation", access=Access.UPDATE, call=rollback, input=RollbackInput),
    }


def result(update: Update) -> dict[str, Any]:
    """The answer of `selfUpdate`. `success` says that the new code is in place; `getVersion` confirms that it runs."""
    return {
        "success": update.state in _FINE,
        "message": update.message,
        "updateId": update.id,
        "from": update.from_commit,
        "to": update.to_commit,
        "outcome": update.state,
        "notes": list(update.notes),
        "log": update.error.detail if update.error else "",
    }
