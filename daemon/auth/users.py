"""Who may ask over TCP: accounts in one file of the state folder, the same rules for whoever changes them.

A token is 256 random bits, shown once and stored as its SHA-256: there is nothing in it to guess, so that a slow hash
would only slow the daemon down. Changes are safe beside a running daemon, which notices them.
"""

import asyncio
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from daemon.errors import ConfigurationError, LastUserError, NotFoundError, TakenError, UserNameError
from daemon.files import refusals_named, write_atomically
from daemon.lock import held
from daemon.models import Issued, Role, Shape, User, now
from daemon.stamps import Stamp, stamp

TOKEN_PREFIX = "rfd_"  # noqa: S105 - the mark by which scanners of leaked secrets know such a token
MOST_USERS = 1000
_MAX_FILE = 1 << 20  # bytes
_NAME = re.compile(r"[a-z][a-z0-9._-]{0,31}")


class Account(User):
    """A user as stored. Never an answer."""

    token_sha256: str

    @property
    def stamp(self) -> str:
        """Changes with the token; tells nothing of it."""
        return self.token_sha256[:16]

    def public(self) -> User:
        return User.model_validate(self.model_dump(exclude={"token_sha256"}))


class _File(Shape):
    version: int = 1
    users: tuple[Account, ...] = ()


Accounts = dict[str, Account]
T = TypeVar("T")


class Users:
    """The accounts of one file. All methods but `current` block while they read or write it.

    All raise ConfigurationError for a file that is there and cannot be understood: callers fail closed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._accounts: Accounts = {}

    async def current(self) -> Accounts:
        """By name. For every request: the file is read when it is another one than before, as after every change."""
        seen = self._look()
        if seen != self._seen:
            self._accounts = await asyncio.to_thread(self._read)
            self._seen = seen
        return self._accounts

    def stamp(self) -> Stamp:
        """Another one after every change."""
        return stamp(self._path)

    def all(self) -> tuple[User, ...]:
        return tuple(account.public() for _, account in sorted(self._read().items()))

    def add(self, name: str, role: Role) -> Issued:
        """Raises UserNameError, TakenError."""
        check_name(name)

        def change(accounts: Accounts) -> Issued:
            if name in accounts or len(accounts) >= MOST_USERS:
                raise TakenError(name=name)
            moment = now()
            account, issued = _issue(User(name=name, role=role, created_at=moment, token_set_at=moment))
            accounts[name] = account
            return issued

        return self._change(change)

    def renew(self, name: str) -> Issued:
        """A new token; the old one and the sessions that it opened end. Raises UserNameError, NotFoundError."""
        check_name(name)

        def change(accounts: Accounts) -> Issued:
            user = _find(accounts, name).public()
            accounts[name], issued = _issue(user.model_copy(update={"token_set_at": now()}))
            return issued

        return self._change(change)

    def alter(self, name: str, *, enabled: bool | None = None, role: Role | None = None) -> User:
        """Raises UserNameError, NotFoundError, LastUserError."""
        check_name(name)
        asked = {"enabled": enabled, "role": role}
        given = {field: value for field, value in asked.items() if value is not None}

        def change(accounts: Accounts) -> User:
            altered = _find(accounts, name).model_copy(update=given)
            if not _may_update(altered):
                _refuse_last(accounts, name, "disable" if enabled is False else "demote")
            accounts[name] = altered
            return altered.public()

        return self._change(change)

    def remove(self, name: str) -> User:
        """Raises UserNameError, NotFoundError, LastUserError."""
        check_name(name)

        def change(accounts: Accounts) -> User:
            account = _find(accounts, name)
            _refuse_last(accounts, name, "remove")
            del accounts[name]
            return account.public()

        return self._change(change)

    def _change(self, change: Callable[[Accounts], T]) -> T:
        """Raises SystemCallError and NoSpaceError with the old accounts untouched."""
        lock = self._path.with_suffix(".lock")
        with refusals_named(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with held(lock):
                _give_to_owner(lock)
                accounts = self._read()
                result = change(accounts)
                content = _File(users=tuple(accounts.values())).snake()
                write_atomically(self._path, json.dumps(content, indent=1).encode() + b"\n")
                _give_to_owner(self._path)
        return result

    def _look(self) -> tuple[int, ...] | None:
        """Quicker than a thread would be."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(type(error).__name__) from None
        return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)

    def _read(self) -> Accounts:
        try:
            with self._path.open("rb") as file:
                content = file.read(_MAX_FILE + 1)
            users = _File.model_validate_json(content, extra="ignore").users
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            raise self._unusable(type(error).__name__) from None
        return {account.name: account for account in users}

    def _unusable(self, why: str) -> ConfigurationError:
        return ConfigurationError(problems=f"the users in {self._path} cannot be read ({why})")


def check_name(name: str) -> None:
    """Raises UserNameError for what could be mistaken for something else in a log, a path or a shell."""
    if not _NAME.fullmatch(name):
        raise UserNameError(name=name[:50])


def whose(token: str, accounts: Accounts) -> Account | None:
    """The enabled user whose token this is. Every account is compared, so that the time tells nothing."""
    digest = _digest(token)
    found = [account for account in accounts.values() if hmac.compare_digest(account.token_sha256, digest)]
    return found[0] if found and found[0].enabled else None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _issue(user: User) -> tuple[Account, Issued]:
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    return Account(**user.model_dump(), token_sha256=_digest(token)), Issued(user=user, token=token)


def _find(accounts: Accounts, name: str) -> Account:
    if name not in accounts:
        raise NotFoundError(what=f"the user {name}")
    return accounts[name]


def _may_update(user: User) -> bool:
    return user.enabled and user.role is Role.UPDATE


def _refuse_last(accounts: Accounts, name: str, what: str) -> None:
    """Else a machine could be left that only a shell in it can refresh."""
    if [account.name for account in accounts.values() if _may_update(account)] == [name]:
        raise LastUserError(name=name, what=what)


def _give_to_owner(path: Path) -> None:
    """What root writes beside a daemon that is not root, the daemon has to be able to read."""
    if os.geteuid() == 0:
        folder = path.parent.stat()
        os.chown(path, folder.st_uid, folder.st_gid)
