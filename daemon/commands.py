"""What `refreshd serve`, `check` and `sync` do in the machine. Each returns the exit code of the process."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NoReturn

import daemon.log
from daemon import __version__
from daemon.app import Daemon, build
from daemon.errors import ConfigurationError, RefreshdError
from daemon.models import Update, UpdateRequest
from daemon.refs import parse_ref
from daemon.serve import serve
from daemon.settings import Settings
from daemon.states import State
from daemon.supervisor import ExitCode

NEEDS_RESCUE = 3  # not 1: that is what an interpreter ends with that cannot even run this

log = daemon.log.get_logger()


def main_serve() -> NoReturn:
    _run(_serve)


def main_check() -> NoReturn:
    """Imports everything, wires everything, starts nothing; the last line of output is the verdict."""
    _run(_check)


def main_sync(target_ref: str | None) -> NoReturn:
    """One refresh in this process, before the daemon starts; the daemon verifies it as it verifies any other."""
    _run(partial(_sync, target_ref=target_ref or "HEAD"))


def main_recover(*, crashing: bool) -> NoReturn:
    """What the guard runs before a start: 0 when the checkout's daemon may be started, 3 when the rescue has to be.

    `crashing`: it was started again and again and did not become stable.
    """
    _run(partial(_recover, crashing=crashing))


def _run(work: Callable[[Settings], Coroutine[Any, Any, int]]) -> NoReturn:
    """Ends the process at once: all is closed and on disk, and while an interpreter tidies up nobody answers."""
    code = _exit_code(work)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _exit_code(work: Callable[[Settings], Coroutine[Any, Any, int]]) -> int:
    try:
        settings = Settings.from_environment(os.environ)
        daemon.log.configure(settings.log_format, settings.log_level)
        return asyncio.run(work(settings))
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the log is not configured yet
        return ExitCode.MISCONFIGURED
    except OSError as error:
        log.error("system call failed", error=str(error))  # noqa: TRY400 - the sentence says it all
        return ExitCode.SYSTEM_CALL_FAILED


async def _check(settings: Settings) -> int:
    await build(settings, os.environ)
    print(json.dumps({"ok": True, "version": __version__}))  # noqa: T201 - the verdict for the checker
    return 0


async def _recover(settings: Settings, *, crashing: bool) -> int:
    machine = await build(settings, os.environ)
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
        update = await machine.engine.rollback(last.id, trigger="guard")
    except RefreshdError as error:
        log.error("daemon does not start, and its last update cannot be rolled back", error=str(error))  # noqa: TRY400
        return NEEDS_RESCUE
    update = await machine.engine.wait(update.id)
    return 0 if update.state is State.RESTARTING else NEEDS_RESCUE


async def _nothing() -> None:
    return


async def _serve(settings: Settings) -> int:
    return await serve(await build(settings, os.environ))


async def _sync(settings: Settings, target_ref: str) -> int:
    machine = await build(settings, os.environ)
    # whatever the machine's last life left is ended first; there is nothing yet that could be asked
    await machine.recovery.recover()
    await machine.recovery.verify(_nothing)
    ref = parse_ref(target_ref)
    try:
        update = await machine.engine.submit(UpdateRequest(target_ref=ref.requested, trigger="boot"), ref)
    except RefreshdError as error:
        log.error("first sync is not possible", error=str(error))  # noqa: TRY400 - the sentence says it all
        return 1
    update = await machine.engine.wait(update.id)
    log.info("first sync ends", state=update.state, message=update.message, commit=update.to_commit)
    return 0 if update.state in {State.RESTARTING, State.UNCHANGED} else 1
