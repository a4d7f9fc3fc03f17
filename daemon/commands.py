"""What `refreshd serve`, `check` and `sync` do in the machine. Each returns the exit code of the process."""

import asyncio
import json
import os
import sys
from collections.abc import Callable

import daemon.log
from daemon import __version__
from daemon.app import build
from daemon.errors import ConfigurationError, RefreshdError
from daemon.models import UpdateRequest
from daemon.refs import parse_ref
from daemon.serve import serve
from daemon.settings import Settings
from daemon.states import State
from daemon.supervisor import ExitCode

log = daemon.log.get_logger()


def main_serve() -> int:
    return _configured(lambda settings: asyncio.run(_serve(settings)))


def main_check() -> int:
    """Imports everything, wires everything, starts nothing; the last line of output is the verdict."""

    async def check(settings: Settings) -> int:
        await build(settings, os.environ)
        print(json.dumps({"ok": True, "version": __version__}))  # noqa: T201 - the verdict for the checker
        return 0

    return _configured(lambda settings: asyncio.run(check(settings)))


def main_sync(target_ref: str | None) -> int:
    """One refresh in this process, before the daemon starts; the daemon verifies it as it verifies any other."""
    return _configured(lambda settings: asyncio.run(_sync(settings, target_ref or "HEAD")))


def _configured(work: Callable[[Settings], int]) -> int:
    try:
        settings = Settings.from_environment(os.environ)
        daemon.log.configure(settings.log_format, settings.log_level)
        return work(settings)
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the log is not configured yet
        return ExitCode.MISCONFIGURED
    except OSError as error:
        log.error("system call failed", error=str(error))  # noqa: TRY400 - the sentence says it all
        return ExitCode.SYSTEM_CALL_FAILED


async def _nothing() -> None:
    return


async def _serve(settings: Settings) -> int:
    return await serve(await build(settings, os.environ))


async def _sync(settings: Settings, target_ref: str) -> int:
    machine = await build(settings, os.environ)
    # whatever the machine's last life left is ended first; there is nothing yet that could be asked
    await machine.engine.recover()
    await machine.engine.verify(_nothing)
    ref = parse_ref(target_ref)
    try:
        update = await machine.engine.submit(UpdateRequest(target_ref=ref.requested, trigger="boot"), ref)
    except RefreshdError as error:
        log.error("first sync is not possible", error=str(error))  # noqa: TRY400 - the sentence says it all
        return 1
    update = await machine.engine.wait(update.id)
    log.info("first sync ends", state=update.state, message=update.message, commit=update.to_commit)
    return 0 if update.state in {State.RESTARTING, State.UNCHANGED} else 1
