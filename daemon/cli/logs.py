"""`logs`: read from the files in the machine itself, daemon or no daemon; from elsewhere through the daemon."""

import asyncio
import json
import os
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path

import daemon.log
from daemon.cli import failures
from daemon.cli.asking import ask, connection_words
from daemon.cli.exit_codes import ExitCode
from daemon.cli.output import Output
from daemon.cli.terminal import printable
from daemon.client import Client
from daemon.errors import NotFoundError
from daemon.logs import Places, Selection, read
from daemon.models import LogLine
from daemon.s6 import ScanDirectory

DEFAULT_LOG_DIR = "/var/log/refreshd"
DEFAULT_RUN_DIR = "/run/refreshd"


def run(arguments: Namespace) -> int:
    folder = Path(os.environ.get("REFRESHD_LOG_DIR") or DEFAULT_LOG_DIR)
    if not connection_words(arguments) and os.access(folder / "current", os.R_OK):
        return _run_here(arguments, folder)
    return ask(arguments, partial(_ask, arguments))


def _run_here(arguments: Namespace, folder: Path) -> ExitCode:
    daemon.log.configure("pretty", "warning")
    try:
        asyncio.run(_read(arguments, folder))
    except NotFoundError as error:
        Output(as_json=False, quiet=False).failure(failures.in_words(error), failures.document(error))
        return ExitCode.REFUSED
    return ExitCode.DONE


async def _read(arguments: Namespace, folder: Path) -> None:
    run_dir = Path(os.environ.get("REFRESHD_RUN_DIR") or DEFAULT_RUN_DIR)
    found = await Places(folder, ScanDirectory(run_dir)).find(arguments.service)
    selection = Selection(lines=arguments.lines, grep=arguments.grep, follow=arguments.follow)
    async with aclosing(read(found, selection)) as batches:
        async for lines in batches:
            for line in lines:
                _show(arguments, line.at, line.text)
            sys.stdout.flush()


async def _ask(arguments: Namespace, client: Client, output: Output) -> ExitCode:
    async with aclosing(client.logs(_query(arguments), on_away=output.complaint)) as lines:
        await _show_all(arguments, lines)
    return ExitCode.DONE


async def _show_all(arguments: Namespace, lines: AsyncIterator[LogLine]) -> None:
    async for line in lines:
        _show(arguments, line.at, line.text)
        sys.stdout.flush()


def _query(arguments: Namespace) -> Mapping[str, str]:
    given = {"grep": arguments.grep, "service": arguments.service, "follow": str(arguments.follow).lower()}
    return given if arguments.lines is None else given | {"lines": str(arguments.lines)}


def _show(arguments: Namespace, at: str, text: str) -> None:
    """On a terminal a line cannot move the cursor; into a pipe it goes as it is."""
    if arguments.json:
        sys.stdout.write(json.dumps({"at": at, "text": text}) + "\n")
        return
    shown = printable(text) if sys.stdout.isatty() else text
    sys.stdout.write(f"{at}  {shown}\n" if arguments.timestamps and at else f"{shown}\n")
