"""The life of one control plane: listen, look at the machines, take over what others left, leave."""

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack

from aiohttp import web

import daemon.log
from daemon.control.app import Control, build
from daemon.control.settings import ControlSettings
from daemon.errors import ConfigurationError
from daemon.server.limits import LimitedRunner, Limits
from daemon.supervisor import ExitCode
from daemon.tasks import ended

SHUTDOWN_SECONDS = 5.0

log = daemon.log.get_logger()


def main() -> int:
    """The exit code, with the same meaning as the machine's daemon's."""
    try:
        settings = ControlSettings.from_environment(os.environ)
        daemon.log.configure(settings.log_format, settings.log_level)
        asyncio.run(_serve(settings))
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the log may not be configured yet
        return ExitCode.MISCONFIGURED
    except OSError as error:
        log.error("system call failed", error=str(error))  # noqa: TRY400 - the sentence says it all
        return ExitCode.SYSTEM_CALL_FAILED
    return 0


async def _serve(settings: ControlSettings) -> None:
    async with AsyncExitStack() as stack:
        control = await build(settings, stack)
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, control.leaving.set)
        await serve(control)


async def serve(control: Control) -> None:
    """Until `leaving` is set. Raises OSError when it cannot listen."""
    address = control.settings.listen
    runner = LimitedRunner(control.app, limits=Limits(), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    tasks = [asyncio.create_task(control.fleet.run()), asyncio.create_task(_take_over(control))]
    try:
        await web.TCPSite(runner, address.host, address.port, reuse_address=True).start()
        log.info("control plane listens", address=str(address), providers=list(control.fleet.providers))
        await control.leaving.wait()
    finally:
        control.leaving.set()
        await ended(*tasks)
        await runner.cleanup()


async def _take_over(control: Control) -> None:
    """Again and again: another control plane may die at any time."""
    while True:
        try:
            await control.operator.take_over()
        except Exception:  # the database may be away for a moment
            log.exception("abandoned operations were not looked for")
        await asyncio.sleep(control.settings.lease / 2)
