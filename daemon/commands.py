"""What `refreshd serve` and `check` do in the machine, and how each command there ends.

Nothing is imported here that the first answer does not need; the rest of the daemon is, while it is being given.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

import daemon.log
from daemon import __version__
from daemon.errors import ConfigurationError
from daemon.server.listening import listeners
from daemon.server.serve import serve
from daemon.settings import Settings
from daemon.supervisor import ExitCode

if TYPE_CHECKING:
    from daemon.app import Daemon
    from daemon.own_code import OwnCode

log = daemon.log.get_logger()


def main_serve() -> NoReturn:
    run(_serve)


def main_check() -> NoReturn:
    """Imports everything, wires everything, starts nothing; the last line of output is the verdict."""
    run(_check)


def run(work: Callable[[Settings], Coroutine[Any, Any, int]]) -> NoReturn:
    """Ends the process at once: all is closed and on disk, and while an interpreter tidies up nobody answers."""
    code = _exit_code(work)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def assemble(settings: Settings, boot_id: str = "") -> "Daemon":
    """All modules are in memory when it returns: an update may change every file of the checkout after that."""
    own, app = await asyncio.to_thread(_look_and_import, settings)
    whole: Daemon = await app.build(settings, os.environ, boot_id=boot_id, own=own)
    return whole


def _look_and_import(settings: Settings) -> tuple["OwnCode | None", ModuleType]:
    # looked at first: what changes while it is imported must not count as what this process has
    own = None if settings.rescue else import_module("daemon.own_code").look(settings.repo, settings.code_dir)
    return own, import_module("daemon.app")


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


async def _serve(settings: Settings) -> int:
    return await serve(settings, listeners(settings, os.environ), partial(assemble, settings))


async def _check(settings: Settings) -> int:
    await assemble(settings)
    print(json.dumps({"ok": True, "version": __version__}))  # noqa: T201 - the verdict for the checker
    return 0
