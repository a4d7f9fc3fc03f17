"""`request`: asks the host for an update, from inside the machine."""

import asyncio
import sys
from argparse import Namespace
from os import environ
from pathlib import Path

from daemon.cli.exit_codes import ExitCode
from daemon.cli.output import Output
from daemon.cli.terminal import indented, printable
from daemon.client.command_file import TURN, CommandFile, Ticket
from daemon.command_file import contract
from daemon.command_file.errors import CommandFolderError, CommandPendingError, NoResultError
from daemon.errors import RefreshdError

_CODES: tuple[tuple[type[RefreshdError], ExitCode], ...] = (
    (CommandFolderError, ExitCode.UNREACHABLE),
    (CommandPendingError, ExitCode.TIMED_OUT),
    (NoResultError, ExitCode.TIMED_OUT),
)


def run(arguments: Namespace) -> int:
    output = Output(as_json=arguments.json, quiet=arguments.quiet)
    try:
        return asyncio.run(_ask(arguments, output))
    except RefreshdError as error:
        output.failure(str(error), {"error": {"code": error.code, "message": str(error)}})
        return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.USAGE)


async def _ask(arguments: Namespace, output: Output) -> ExitCode:
    file = CommandFile(_folder(arguments.folder))
    ticket = await file.request(
        branch=arguments.branch,
        commit=arguments.commit,
        request_id=arguments.request_id,
        turn=min(TURN, arguments.timeout),
    )
    if not arguments.wait:
        output.result(f"asked the host for an update: request {ticket.request_id}", {"request_id": ticket.request_id})
        return ExitCode.DONE
    return await _answer(file, ticket, arguments, output)


async def _answer(file: CommandFile, ticket: Ticket, arguments: Namespace, output: Output) -> ExitCode:
    result = await file.wait(
        ticket, limit=arguments.timeout, on_progress=None if arguments.quiet else lambda told: _say(told.message)
    )
    document = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    if result.status == "success":
        output.result(printable(result.message), document)
        return ExitCode.DONE
    output.failure("\n".join([printable(result.message), *indented(result.detail or "")]), document)
    return ExitCode.INCONSISTENT if result.outcome == "inconsistent" else ExitCode.FAILED


def _say(message: str) -> None:
    sys.stderr.write(f"{printable(message)}\n")


def _folder(given: Path | None) -> Path:
    if given:
        return given
    named = environ.get("REFRESHD_COMMANDS")
    return Path(named) if named else Path.home().joinpath(contract.STATE, *contract.INSIDE)
