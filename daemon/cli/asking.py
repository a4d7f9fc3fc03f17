"""Asking a daemon: which one, with which token, and what comes of an error."""

import asyncio
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping
from os import environ
from pathlib import Path

from daemon.cli import failures
from daemon.cli.exit_codes import ExitCode
from daemon.cli.output import Output
from daemon.client import DEFAULT_SOCKET, Client
from daemon.errors import ConfigurationError, RefreshdError
from daemon.tokens import read_secret

Work = Callable[[Client, Output], Awaitable[ExitCode]]


class UsageError(Exception):
    """What argparse could not see."""


def ask(arguments: Namespace, work: Work, *, patience: float = 30.0) -> ExitCode:
    """Runs `work` with a client; `patience` in seconds. The exit code says what came of it."""
    output = Output(as_json=arguments.json, quiet=arguments.quiet)
    try:
        return asyncio.run(_ask(client_for(arguments, environ, patience), work, output))
    except UsageError as error:
        output.complaint(str(error))
        return ExitCode.USAGE
    except RefreshdError as error:
        output.failure(failures.in_words(error), failures.document(error))
        return failures.exit_code(error)


async def _ask(client: Client, work: Work, output: Output) -> ExitCode:
    async with client:
        return await work(client, output)


def client_for(arguments: Namespace, environment: Mapping[str, str], patience: float) -> Client:
    """By URL when one is given, else by the socket that is named, else by the one that the settings name.

    Raises UsageError.
    """
    try:
        if arguments.url is None:
            return Client(arguments.socket or _socket(environment), patience=patience)
        return Client(url=arguments.url, token=_token(arguments.token_file, environment), patience=patience)
    except ValueError as error:
        raise UsageError(f"cannot use {arguments.url!r}: {error}") from None
    except ConfigurationError as error:
        raise UsageError(error.problems) from None


def _socket(environment: Mapping[str, str]) -> Path:
    if named := environment.get("REFRESHD_SOCKET"):
        return Path(named)
    folder = environment.get("REFRESHD_RUN_DIR")
    return Path(folder) / DEFAULT_SOCKET.name if folder else DEFAULT_SOCKET


def _token(file: Path | None, environment: Mapping[str, str]) -> str | None:
    """From a file or from the environment, never from the arguments, which every user of the machine can read.

    Raises ConfigurationError.
    """
    named = file or environment.get("REFRESHD_TOKEN_FILE")
    return read_secret(Path(named)) if named else environment.get("REFRESHD_TOKEN", "").strip() or None


def connection_words(arguments: Namespace) -> list[str]:
    """The options that reach the same daemon again."""
    given = (("--socket", arguments.socket), ("--url", arguments.url), ("--token-file", arguments.token_file))
    return [word for option, value in given if value is not None for word in (option, str(value))]
