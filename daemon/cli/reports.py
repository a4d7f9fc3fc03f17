"""`version`, `status` and `history`: what the daemon knows."""

import sys
from argparse import Namespace

from daemon.cli import texts
from daemon.cli.asking import ask
from daemon.cli.exit_codes import ExitCode
from daemon.cli.output import Output
from daemon.cli.terminal import width_of
from daemon.client import Client
from daemon.states import State


def version(arguments: Namespace) -> int:
    return ask(arguments, _version)


def status(arguments: Namespace) -> int:
    return ask(arguments, _status)


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


async def _status(client: Client, output: Output) -> ExitCode:
    """Healthy: ready for work, and not left half-way by an update whose undo failed."""
    health, ready, report = await client.health(), await client.ready(), await client.version()
    broken = report.last_update is not None and report.last_update.state is State.INCONSISTENT
    healthy = ready and not broken
    output.result(
        texts.of_status(healthy=healthy, ready=ready, health=health, version=report),
        {"healthy": healthy, "ready": ready, "health": health.snake(), "version": report.snake()},
    )
    return ExitCode.DONE if healthy else ExitCode.FAILED
