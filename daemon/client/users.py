"""The accounts of a daemon, asked for and changed over its API."""

from urllib.parse import quote

from pydantic import ValidationError

from daemon.client.connection import Connection
from daemon.client.wire import AnyShape, read_shape
from daemon.errors import in_words
from daemon.models import Issued, Role, User, UserList

_BASE = "/api/v1/users"


class UserClient:
    """Every call raises what those of `Client` raise."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def all(self) -> tuple[User, ...]:
        return (await self._ask(UserList, "GET", _BASE)).users

    async def add(self, name: str, role: Role) -> Issued:
        return await self._ask(Issued, "POST", _BASE, {"name": name, "role": role})

    async def renew(self, name: str) -> Issued:
        return await self._ask(Issued, "POST", f"{_path(name)}/token", {})

    async def alter(self, name: str, *, enabled: bool | None = None, role: Role | None = None) -> User:
        asked = {"enabled": enabled, "role": role}
        return await self._ask(
            User, "PATCH", _path(name), {key: value for key, value in asked.items() if value is not None}
        )

    async def remove(self, name: str) -> User:
        return await self._ask(User, "DELETE", _path(name))

    async def _ask(
        self, shape: type[AnyShape], method: str, path: str, body: dict[str, object] | None = None
    ) -> AnyShape:
        answer, content = await self._connection.ask_well(method, path, body=body)
        try:
            return read_shape(shape, content)
        except ValidationError as error:
            raise self._connection.unreadable(answer.status, in_words(error)) from None


def _path(name: str) -> str:
    return f"{_BASE}/{quote(name, safe='')}"
