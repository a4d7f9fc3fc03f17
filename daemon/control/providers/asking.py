"""Refreshing a machine through its daemon, whatever brought us there."""

from collections.abc import Awaitable

from daemon.client import (
    Client,
    FailedError,
    InconsistentError,
    NoAnswerError,
    RefusedError,
    Rollback,
    RolledBackError,
    Target,
    TimedOutError,
    Watcher,
)
from daemon.control.models import RefreshResult
from daemon.control.providers import Preview
from daemon.models import Update

LIMIT = 1800.0  # seconds, for an update
TIMEOUT = 10.0  # seconds, for an answer
PATIENCE = 120.0  # seconds, for a machine that is away
UNSUPPORTED = RefreshResult(
    success=False, outcome="unsupported", message="cannot refresh this machine: it runs the host's own code"
)


def client_of(preview: Preview, *, timeout: float = TIMEOUT) -> Client:
    return Client(url=preview.url, token=preview.token, headers=preview.headers, timeout=timeout, patience=PATIENCE)


async def refresh_by(
    preview: Preview,
    target_ref: str,
    *,
    key: str = "",
    watcher: Watcher | None = None,
    limit: float = LIMIT,
    git_token: str | None = None,
) -> RefreshResult:
    """The daemon's answer after its restart. Never raises for what a machine or a network can do."""
    async with client_of(preview) as client:
        order = Target(target_ref, git_token=git_token)
        return await result_of(client.refresh(order, idempotency_key=key or None, limit=limit, watcher=watcher))


async def roll_back_by(
    preview: Preview,
    update_id: str,
    *,
    key: str = "",
    watcher: Watcher | None = None,
    limit: float = LIMIT,
    git_token: str | None = None,
) -> RefreshResult:
    async with client_of(preview) as client:
        order = Rollback(update_id, git_token)
        return await result_of(client.refresh(order, idempotency_key=key or None, limit=limit, watcher=watcher))


async def result_of(conversation: Awaitable[Update]) -> RefreshResult:
    try:
        return _result(await conversation, success=True)
    except (FailedError, RolledBackError, InconsistentError) as error:
        return _result(error.update, success=False, message=str(error), log=error.detail, outcome=error.code)
    except RefusedError as error:
        unsupported = error.refusal == "unsupported"
        outcome = "unsupported" if unsupported else "refused"
        return RefreshResult(success=False, outcome=outcome, message=str(error), log=error.detail)
    except TimedOutError as error:
        return RefreshResult(success=False, outcome="timed_out", message=str(error), log=error.detail)
    except NoAnswerError as error:
        return RefreshResult(success=False, outcome="unreachable", message=str(error))


def _result(
    update: Update, *, success: bool, message: str = "", log: str = "", outcome: str | None = None
) -> RefreshResult:
    return RefreshResult(
        success=success,
        outcome=outcome or update.state,
        message=message or update.message or f"update {update.id} is {update.state}",
        from_commit=update.from_commit,
        to_commit=update.to_commit,
        update_id=update.id,
        log=log,
        changes=update.changes,
        steps=update.steps,
    )
