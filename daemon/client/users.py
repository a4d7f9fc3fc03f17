"""The accounts of a daemon, asked for and changed over its API."""

from urllib.parse import quote

from daemon.client.typed import Typed
from daemon.models import Issued, Role, User, UserList

_BASE = "/api/v1/users"


class UserClient:
    """Every call raises what those of `Client` raise."""

    def __init__(self, typed: Typed) -> None:
        self._typed = typed

    async def all(self) -> tuple[User, ...]:
        return (await self._typed.ask(UserList, "GET", _BASE)).users

    async def add(self, name: str, role: Role) -> Issued:
        return await self._typed.ask(Issued, "POST", _BASE, {"name": name, "role": role})

    async def renew(self, name: str) -> Issued:
        return await self._typed.ask(Issued, "POST", f"{_path(name)}/token", {})

    async def alter(self, name: str, *, enabled: bool | None = None, role: Role | None = None) -> User:
        asked = {"enabled": enabled, "role": role}
        return await self._typed.ask(
            User, "PATCH", _path(name), {key: value for key, value in asked.items() if value is not None}
        )

    async def remove(self, name: str) -> User:
        return await self._typed.ask(User, "DELETE", _path(name))


def _path(name: str) -> str:
    return f"{_BASE}/{quote(name, safe='')}"
