"""What `refreshd sync` and `recover` do in the machine, before the daemon serves."""

import os
from functools import partial
from typing import NoReturn

from daemon.app import Daemon
from daemon.commands import assemble, run
from daemon.errors import RefreshdError
from daemon.log import get_logger
from daemon.machinery import GUARD
from daemon.models import Update, UpdateRequest
from daemon.refs import parse_ref
from daemon.server.listening import listeners
from daemon.server.listening.excuse import excused_after
from daemon.settings import Settings
from daemon.states import State

NEEDS_RESCUE = 3  # not 1: that is what an interpreter ends with that cannot even run this

log = get_logger()


def main_sync(target_ref: str | None) -> NoReturn:
    """One refresh in this process, before the daemon starts; the daemon verifies it as it verifies any other."""
    run(partial(_sync, target_ref=target_ref or "HEAD"))


def main_recover(*, crashing: bool) -> NoReturn:
    """What the guard runs before a start: 0 when the checkout's daemon may be started, 3 when the rescue has to be.

    `crashing`: it was started again and again and did not become stable.
    """
    run(partial(_recover, crashing=crashing))


async def _recover(settings: Settings, *, crashing: bool) -> int:
    async with excused_after(settings.queue_timeout, listeners(settings, os.environ).adopt):
        return await _put_right(await assemble(settings), crashing=crashing)


async def _put_right(machine: Daemon, *, crashing: bool) -> int:
    put_back = await machine.recovery.recover(give_up=True)
    if await machine.recovery.stuck():
        return NEEDS_RESCUE
    if not crashing:
        return 0
    await machine.starts.clear()
    return 0 if put_back else await _roll_back_crashing(machine)


async def _is_to_blame(machine: Daemon, update: Update) -> bool:
    if update.state is not State.SUCCEEDED or update.request.rollback_of:
        return False
    return not await machine.starts.was_stable_after(update.id)


async def _roll_back_crashing(machine: Daemon) -> int:
    """Code that was verified and then died again and again: back to what ran before it, once."""
    last = await machine.journal.latest()
    if last is None or not await _is_to_blame(machine, last):
        log.error("daemon does not start, and there is no update to blame for it")
        return NEEDS_RESCUE
    try:
        update = await machine.engine.rollback(last.id, trigger=GUARD)
    except RefreshdError as error:
        log.error("daemon does not start, and its last update cannot be rolled back", error=str(error))  # noqa: TRY400
        return NEEDS_RESCUE
    update = await machine.engine.finish(update.id)
    return 0 if update.state is State.RESTARTING else NEEDS_RESCUE


async def _nothing() -> None:
    return


async def _sync(settings: Settings, target_ref: str) -> int:
    machine = await assemble(settings)
    # whatever the machine's last life left is ended first; there is nothing yet that could be asked
    await machine.recovery.recover()
    await machine.recovery.verify(_nothing)
    ref = parse_ref(target_ref)
    try:
        update = await machine.engine.submit(UpdateRequest(target_ref=ref.requested, trigger="boot"), ref)
    except RefreshdError as error:
        log.error("first sync is not possible", error=str(error))  # noqa: TRY400 - the sentence says it all
        return 1
    update = await machine.engine.finish(update.id)
    log.info("first sync ends", state=update.state, message=update.message, commit=update.to_commit)
    return 0 if update.state in {State.RESTARTING, State.UNCHANGED} else 1
