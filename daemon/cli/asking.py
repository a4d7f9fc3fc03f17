"""Asking a daemon: which one, with which token, and what comes of an error."""

import asyncio
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.auth.tokens import read_secret
from daemon.cli import failures
from daemon.cli.exit_codes import ExitCode
from daemon.cli.output import Output
from daemon.client import Client
from daemon.errors import ConfigurationError, RefreshdError
from daemon.socket_path import socket_path

if TYPE_CHECKING:
    from daemon.host.docker import Container

Work = Callable[[Client, Output], Awaitable[ExitCode]]


class UsageError(Exception):
    """What argparse could not see."""


def ask(arguments: Namespace, work: Work, *, patience: float = 30.0) -> ExitCode:
    """Runs `work` with a client; `patience` in seconds. The exit code says what came of it."""
    # `logs` is never quiet
    output = Output(as_json=arguments.json, quiet=getattr(arguments, "quiet", False))
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


def asks_here(arguments: Namespace) -> bool:
    """No other place is named: if this is a machine, it is about this one, whose files can be looked at."""
    return arguments.url is None and arguments.socket is None and arguments.machine is None


def client_for(arguments: Namespace, environment: Mapping[str, str], patience: float) -> Client:
    """By the container, the URL or the socket that is named, else by the socket that the settings name.

    Raises UsageError.
    """
    if arguments.machine is not None:
        return container_named(arguments.machine, patience).client()
    try:
        if arguments.url is None:
            return Client(arguments.socket or socket_path(environment), patience=patience)
        return Client(url=arguments.url, token=_token(arguments.token_file, environment), patience=patience)
    except ValueError as error:
        raise UsageError(f"cannot use {arguments.url!r}: {error}") from None
    except ConfigurationError as error:
        raise UsageError(error.problems) from None


def container_named(name: str, patience: float) -> "Container":
    """Raises UsageError."""
    try:
        from daemon.host.docker import Container  # noqa: PLC0415 - machines do without it
    except ModuleNotFoundError:
        raise UsageError("cannot use --machine without aiodocker: pip install 'refreshd[docker]'") from None
    try:
        return Container(name, patience=patience)
    except ValueError as error:
        raise UsageError(f"cannot use {name!r}: {error}") from None


def _token(file: Path | None, environment: Mapping[str, str]) -> str | None:
    """From a file or from the environment, never from the arguments, which every user of the machine can read.

    Raises ConfigurationError.
    """
    named = file or environment.get("REFRESHD_TOKEN_FILE")
    return read_secret(Path(named)) if named else environment.get("REFRESHD_TOKEN", "").strip() or None


async def git_token(arguments: Namespace) -> str | None:
    """For the machine's git remote, from a file as the other one. Raises UsageError."""
    file: Path | None = arguments.git_token_file
    try:
        return await asyncio.to_thread(read_secret, file) if file else None
    except ConfigurationError as error:
        raise UsageError(error.problems) from None


def connection_words(arguments: Namespace) -> list[str]:
    """The options that reach the same daemon again."""
    names = ("machine", "socket", "url", "token_file")
    given = [(f"--{name.replace('_', '-')}", getattr(arguments, name)) for name in names]
    return [word for option, value in given if value is not None for word in (option, str(value))]
