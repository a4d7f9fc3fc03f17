"""`version` and `history`: what the daemon knows."""

import sys
from argparse import Namespace

from daemon.cli import texts
from daemon.cli.asking import ask
from daemon.cli.exit_codes import ExitCode
from daemon.cli.output import Output
from daemon.cli.terminal import width_of
from daemon.client import Client


def version(arguments: Namespace) -> int:
    return ask(arguments, _version)


def history(arguments: Namespace) -> int:
    async def work(client: Client, output: Output) -> ExitCode:
        updates = await client.updates(arguments.lines)
        document = {"updates": [update.snake() for update in updates]}
        output.result(texts.of_history(updates, width_of(sys.stdout)), document)
        return ExitCode.DONE

    return ask(arguments, work)


async def _version(client: Client, output: Output) -> ExitCode:
    report = await client.version()
    output.result(texts.of_version(report), report.snake())
    return ExitCode.DONE
