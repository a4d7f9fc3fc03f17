"""`install` and `uninstall`: the listener as a service of this user, which is started again after every end."""

import asyncio
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any

from daemon import log
from daemon.cli import listen
from daemon.cli.asking import UsageError
from daemon.cli.exit_codes import ExitCode
from daemon.cli.output import Output
from daemon.cli.terminal import indented
from daemon.errors import CommandFailedError, CommandTimeoutError, NoSpaceError, ToolMissingError
from daemon.files import write_atomically
from daemon.host.managers import Manager, Step, default_manager, manager
from daemon.host.service import Program
from daemon.process import Command, run

STEP_TIMEOUT = 60.0  # seconds

_ADVICE = "have the service manager answer this user, or have something else run what `refreshd install --print` shows"

# by these the listener finds engine, folder and token; secrets themselves are not written into files of others
_PASSED = (
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "REFRESHD_TOKEN_FILE",
)


def install(arguments: Namespace) -> int:
    output = Output(as_json=arguments.json, quiet=arguments.quiet)
    try:
        found = _manager(arguments)
    except UsageError as error:
        output.complaint(str(error))
        return ExitCode.USAGE
    if arguments.print:
        sys.stdout.write(found.text)
        return ExitCode.DONE
    return _tried(output, _install(found, output))


def uninstall(arguments: Namespace) -> int:
    output = Output(as_json=arguments.json, quiet=arguments.quiet)
    found = _found(arguments, Program(()))
    return _tried(output, _uninstall(found, output))


def _tried(output: Output, work: Coroutine[Any, Any, None]) -> int:
    log.configure("auto", "warning")
    try:
        asyncio.run(work)
    except (CommandFailedError, CommandTimeoutError, ToolMissingError, NoSpaceError) as error:
        advice = [] if isinstance(error, NoSpaceError) else [_ADVICE]
        text = "\n".join([str(error), *indented(error.detail), *advice])
        output.failure(text, {"error": {"code": error.code, "message": str(error), "detail": error.detail}})
        return ExitCode.FAILED
    return ExitCode.DONE


async def _install(found: Manager, output: Output) -> None:
    await asyncio.to_thread(_write, found)
    await _run(found.stops, may_fail=True)
    await _run(found.starts)
    text = f"installed {found.file}; it runs" + (f"\n{found.hint}" if found.hint else "")
    output.result(text, {"file": str(found.file), "installed": True})


async def _uninstall(found: Manager, output: Output) -> None:
    await _run(found.stops, may_fail=True)
    await asyncio.to_thread(found.file.unlink, missing_ok=True)
    await _run(found.after_removal, may_fail=True)
    output.result(f"removed {found.file}", {"file": str(found.file), "installed": False})


async def _run(steps: Iterable[Step], *, may_fail: bool = False) -> None:
    for step in steps:
        codes = range(256) if may_fail else (0,)
        await run(Command(argv=step, cwd=Path("/"), timeout=STEP_TIMEOUT, ok_codes=codes))


def _write(found: Manager) -> None:
    found.file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(found.file, found.text.encode(), mode=0o644)


def _manager(arguments: Namespace) -> Manager:
    """Raises UsageError for what the listener would refuse, too: a service that ends at once helps nobody."""
    listen.listeners(arguments)
    if os.environ.get("REFRESHD_TOKEN") and arguments.url:
        raise UsageError("cannot keep the token of REFRESHD_TOKEN in a service's file; give --token-file")
    return _found(arguments, Program((*_executable(), "listen", *_listen_words(arguments)), _environ(os.environ)))


def _found(arguments: Namespace, program: Program) -> Manager:
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return manager(arguments.manager or default_manager(), program, home, config, os.getuid())


def _executable() -> tuple[str, ...]:
    """This very installation."""
    beside = Path(sys.executable).with_name("refreshd")
    return (str(beside),) if shutil.which(beside) else (sys.executable, "-m", "daemon")


def _environ(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: environ[name] for name in _PASSED if environ.get(name)}


def _listen_words(arguments: Namespace) -> list[str]:
    """The options of `listen`, with paths that mean the same from everywhere."""
    words = [word for named in arguments.machine for word in ("--machine", _absolute_state(named))]
    for option, value in (
        ("--socket", arguments.socket),
        ("--token-file", arguments.token_file),
        ("--state", arguments.state),
    ):
        words += [option, str(value.absolute())] if value else []
    words += ["--url", arguments.url] if arguments.url else []
    return [*words, "--default-branch", arguments.default_branch, "--timeout", f"{arguments.timeout:g}"]


def _absolute_state(named: str) -> str:
    name, separator, folder = named.partition("=")
    return f"{name}={Path(folder).absolute()}" if separator else name
