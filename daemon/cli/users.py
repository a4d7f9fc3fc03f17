"""`user`: who may ask over TCP. Through the daemon, or, where none listens, in the machine's own files."""

import asyncio
import contextlib
from argparse import Namespace
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from os import environ
from pathlib import Path
from typing import Protocol, TypeVar

from daemon.auth.users import Users, check_name
from daemon.cli import texts
from daemon.cli.asking import ask, connection_words
from daemon.cli.exit_codes import ExitCode
from daemon.cli.output import Output
from daemon.client import Client, RefusedError, UnreachableError
from daemon.errors import RefreshdError
from daemon.models import Issued, Role, User

DEFAULT_STATE_DIR = "/var/lib/refreshd"

T = TypeVar("T")


class _Accounts(Protocol):
    """The daemon's API, or the file behind it: the same rules."""

    async def all(self) -> tuple[User, ...]: ...

    async def add(self, name: str, role: Role) -> Issued: ...

    async def renew(self, name: str) -> Issued: ...

    async def alter(self, name: str, *, enabled: bool | None = None, role: Role | None = None) -> User: ...

    async def remove(self, name: str) -> User: ...


def list_all(arguments: Namespace) -> int:
    async def work(client: Client, output: Output) -> ExitCode:
        users = await _done(arguments, client, lambda accounts: accounts.all())
        output.result(_table(users), {"users": [user.snake() for user in users]})
        return ExitCode.DONE

    return ask(arguments, work)


def add(arguments: Namespace) -> int:
    return _issue(arguments, "added", lambda accounts: accounts.add(arguments.name, Role(arguments.role)))


def passwd(arguments: Namespace) -> int:
    return _issue(arguments, "has a new token", lambda accounts: accounts.renew(arguments.name))


def enable(arguments: Namespace) -> int:
    return _alter(arguments, "is enabled", lambda accounts: accounts.alter(arguments.name, enabled=True))


def disable(arguments: Namespace) -> int:
    return _alter(arguments, "is disabled", lambda accounts: accounts.alter(arguments.name, enabled=False))


def role(arguments: Namespace) -> int:
    wanted = Role(arguments.role)
    return _alter(arguments, f"has the role {wanted}", lambda accounts: accounts.alter(arguments.name, role=wanted))


def remove(arguments: Namespace) -> int:
    return _alter(arguments, "is removed", lambda accounts: accounts.remove(arguments.name))


def _issue(arguments: Namespace, what: str, act: Callable[[_Accounts], Awaitable[Issued]]) -> int:
    async def work(client: Client, output: Output) -> ExitCode:
        issued = await _done(arguments, client, act)
        said = f"user {issued.user.name} {what} (role {issued.user.role}); the token, shown this once:"
        output.result(f"{said}\n{issued.token}", issued.snake())
        return ExitCode.DONE

    return ask(arguments, work)


def _alter(arguments: Namespace, what: str, act: Callable[[_Accounts], Awaitable[User]]) -> int:
    async def work(client: Client, output: Output) -> ExitCode:
        user = await _done(arguments, client, act)
        output.result(f"user {user.name} {what}", user.snake())
        return ExitCode.DONE

    return ask(arguments, work)


async def _done(arguments: Namespace, client: Client, act: Callable[[_Accounts], Awaitable[T]]) -> T:
    try:
        if "name" in arguments:
            # it would be a part of the URL
            with _refused():
                check_name(arguments.name)
        return await act(client.users)
    except UnreachableError as error:
        if error.sent or connection_words(arguments):
            raise
        accounts = await asyncio.to_thread(_in_the_files, environ)
        if accounts is None:
            raise
        with _refused():
            return await act(accounts)


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """The rules say no as a daemon would: the same words, the same document, the same exit code."""
    try:
        yield
    except RefreshdError as error:
        raise RefusedError(
            sentence=str(error), refusal=error.code, http_status=error.status, detail=error.detail
        ) from error


def _in_the_files(environment: Mapping[str, str]) -> "_FileAccounts | None":
    """None where this is no machine."""
    folder = Path(environment.get("REFRESHD_STATE_DIR") or DEFAULT_STATE_DIR)
    return _FileAccounts(Users(folder / "users.json")) if folder.is_dir() else None


class _FileAccounts:
    def __init__(self, users: Users) -> None:
        self._users = users

    async def all(self) -> tuple[User, ...]:
        return await asyncio.to_thread(self._users.all)

    async def add(self, name: str, role: Role) -> Issued:
        return await asyncio.to_thread(self._users.add, name, role)

    async def renew(self, name: str) -> Issued:
        return await asyncio.to_thread(self._users.renew, name)

    async def alter(self, name: str, *, enabled: bool | None = None, role: Role | None = None) -> User:
        return await asyncio.to_thread(self._users.alter, name, enabled=enabled, role=role)

    async def remove(self, name: str) -> User:
        return await asyncio.to_thread(self._users.remove, name)


def _table(users: Iterable[User]) -> str:
    rows = [
        (user.name, user.role, "enabled" if user.enabled else "disabled", f"token of {texts.moment(user.token_set_at)}")
        for user in users
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) or "no users yet"
