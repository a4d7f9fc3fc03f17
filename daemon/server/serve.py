"""The life of one daemon process: listen, recover, verify, be ready, leave quietly."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.errors import VerifyError
from daemon.files import sweep
from daemon.head import Head
from daemon.log import get_logger
from daemon.metrics.leaving import leave_note
from daemon.server.access_log import AccessLog, flush
from daemon.server.front import Front
from daemon.server.lame_duck import LameDuck
from daemon.server.limits import LimitedRunner, Limits
from daemon.server.listening import Listeners
from daemon.settings import Settings
from daemon.starts import STABLE_AFTER
from daemon.supervisor import ExitCode
from daemon.tasks import ended

if TYPE_CHECKING:
    from daemon.app import Daemon

CUT_OFF = 1.0  # seconds for handlers that are ended, to end

log = get_logger()


async def serve(settings: Settings, listeners: Listeners, assemble: Callable[[str], Awaitable["Daemon"]]) -> ExitCode:
    """Returns when the process should end. Raises OSError when it cannot listen.

    `assemble` is called, with the id of this process, once the first questions are answered: it may take its time.
    """
    await asyncio.to_thread(_make_folders, settings.run_dir, settings.state_dir)
    duck = LameDuck()
    front = Front(Head(settings.repo), duck.count, patience=settings.queue_timeout)
    runner = LimitedRunner(
        front.app,
        limits=Limits(connections=settings.max_connections),
        access_log_class=AccessLog,
        shutdown_timeout=CUT_OFF,
    )
    await runner.setup()
    try:
        await listeners.serve(runner.server)
        code = await _live(await assemble(front.boot_id), front, listeners)
        front.refuse()
        await listeners.stop_accepting()
        for connection in runner.open_connections():
            connection.forget()  # each answer has to say now that its connection closes
        seconds = await duck.quiet(runner.open_connections, settings.restart_timeout)
        await asyncio.to_thread(leave_note, settings.run_dir, seconds)
        return code
    finally:
        front.refuse()
        listeners.close()
        await runner.cleanup()
        flush()


async def _live(daemon: "Daemon", front: Front, listeners: Listeners) -> ExitCode:
    supervisor = daemon.supervisor
    log.info("environment detected", **daemon.environment.snake())
    if await daemon.recovery.recover():
        log.warning("code on disk was put back, starting again from it")
        return ExitCode.RESTART
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, supervisor.leave)
    await front.open(daemon.app)
    if await daemon.recovery.verify(lambda: _ask_itself(daemon)):
        return ExitCode.RESTART
    daemon.ready.set()
    supervisor.ready()
    keeping = asyncio.create_task(listeners.keep())
    mending = asyncio.create_task(_mend(daemon))
    await asyncio.to_thread(_sweep, daemon.settings)
    log.info("daemon is ready", boot_id=daemon.version.boot_id, sha=daemon.version.running_sha)
    await _until_leaving(daemon)
    keeping.cancel()
    await ended(mending)
    await daemon.engine.stop()
    # an end that was meant is no failed start
    await daemon.starts.clear()
    return ExitCode.RESTART


async def _mend(daemon: "Daemon") -> None:
    await daemon.recovery.mended()
    log.warning("code on disk was put back, starting again from it")
    daemon.supervisor.leave()


async def _until_leaving(daemon: "Daemon") -> None:
    """Counts as stable after a while: until then the guard holds a death against the code."""
    # now and not then: an update that is under way by that time has yet to show what its code is worth
    last = await daemon.journal.latest()
    came_from = last.id if last and last.state.final else None
    try:
        async with asyncio.timeout(STABLE_AFTER):
            await daemon.supervisor.leaving.wait()
    except TimeoutError:
        await daemon.starts.stable_after(came_from)
        upkeep = asyncio.create_task(daemon.shelf.upkeep())
        await daemon.supervisor.leaving.wait()
        await ended(upkeep)


def _sweep(settings: Settings) -> None:
    """Wherever files are replaced; who was killed in the middle of it may have left one."""
    inner = (path for path in settings.state_dir.glob("*") if path.is_dir())
    for folder in (settings.state_dir, *inner, settings.repo, settings.code_path):
        for path in sweep(folder):
            log.warning("temporary file of a killed process removed", path=str(path))


def _make_folders(run_dir: Path, state_dir: Path) -> None:
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        # what reads still works, and each update that is asked for is told
        log.error("state folder cannot be used", path=str(state_dir), error=str(error))  # noqa: TRY400 - it says it all


async def _ask_itself(daemon: "Daemon") -> None:
    """A request through the socket, as a client makes it. Raises VerifyError."""
    settings = daemon.settings
    try:
        async with asyncio.timeout(settings.verify_timeout):
            status, answer = await _get_health(settings.socket_path)
    except (OSError, TimeoutError, ValueError, LookupError) as error:
        raise VerifyError(reason=f"the daemon does not answer itself ({type(error).__name__})") from None
    if status != b"200" or answer.get("boot_id") != daemon.version.boot_id:
        raise VerifyError(reason="another process answers on this daemon's socket")


async def _get_health(path: Path) -> tuple[bytes, dict[str, object]]:
    """Status and body. By hand: a client for HTTP takes longer to import than everything else here."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return head.split()[1], dict(json.loads(body))
    finally:
        writer.close()
