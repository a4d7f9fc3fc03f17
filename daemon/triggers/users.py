"""REST for the accounts, below /api/v1/users: for callers who may update, and with the rules of `daemon.auth.users`."""

import asyncio

from aiohttp import web
from pydantic import Field, model_validator

from daemon.auth.access import Access
from daemon.auth.users import Users
from daemon.errors import LastUserError, NotFoundError, TakenError, UserNameError
from daemon.models import Issued, Role, User, UserList
from daemon.triggers.bodies import Input, read_body
from daemon.triggers.routes import API, Route

BASE = f"{API}/users"

# neither a cache nor a browser's history may keep a token
_SECRET = {"Cache-Control": "no-store"}


class UserBody(Input):
    name: str = Field(description="Up to 32 of a-z, 0-9, dot, dash and underscore, a letter first.")
    role: Role = Role.READ


class AlterBody(Input):
    """What is to be changed, at least one of them."""

    enabled: bool | None = None
    role: Role | None = None

    @model_validator(mode="after")
    def _something(self) -> "AlterBody":
        if self.enabled is None and self.role is None:
            raise ValueError("give enabled or role")
        return self


class UserApi:
    def __init__(self, users: Users) -> None:
        self._users = users

    async def all(self, _request: web.Request) -> web.Response:
        return web.json_response(UserList(users=await asyncio.to_thread(self._users.all)).snake())

    async def add(self, request: web.Request) -> web.Response:
        body = await read_body(request, UserBody)
        issued = await asyncio.to_thread(self._users.add, body.name, body.role)
        headers = {"Location": f"{BASE}/{issued.user.name}", **_SECRET}
        return web.json_response(issued.snake(), status=201, headers=headers)

    async def renew(self, request: web.Request) -> web.Response:
        issued = await asyncio.to_thread(self._users.renew, request.match_info["name"])
        return web.json_response(issued.snake(), headers=_SECRET)

    async def alter(self, request: web.Request) -> web.Response:
        body = await read_body(request, AlterBody)
        name = request.match_info["name"]
        user = await asyncio.to_thread(self._users.alter, name, enabled=body.enabled, role=body.role)
        return web.json_response(user.snake())

    async def remove(self, request: web.Request) -> web.Response:
        user = await asyncio.to_thread(self._users.remove, request.match_info["name"])
        return web.json_response(user.snake())


def routes(api: UserApi) -> tuple[Route, ...]:
    name = {"name": "The name of a user."}
    return (
        Route(
            path=BASE,
            access=Access.UPDATE,
            handler=api.all,
            summary="Lists the users.",
            answers={200: UserList},
        ),
        Route(
            method="POST",
            path=BASE,
            access=Access.UPDATE,
            handler=api.add,
            summary="Adds a user; the token is shown this once.",
            body=UserBody,
            answers={201: Issued},
            errors=(UserNameError, TakenError),
        ),
        Route(
            method="POST",
            path=f"{BASE}/{{name}}/token",
            access=Access.UPDATE,
            handler=api.renew,
            summary="Gives a user a new token, and ends the old one with the sessions that it opened.",
            parameters=name,
            answers={200: Issued},
            errors=(UserNameError, NotFoundError),
        ),
        Route(
            method="PATCH",
            path=f"{BASE}/{{name}}",
            access=Access.UPDATE,
            handler=api.alter,
            summary="Enables or disables a user, or gives it another role.",
            parameters=name,
            body=AlterBody,
            answers={200: User},
            errors=(UserNameError, NotFoundError, LastUserError),
        ),
        Route(
            method="DELETE",
            path=f"{BASE}/{{name}}",
            access=Access.UPDATE,
            handler=api.remove,
            summary="Removes a user.",
            parameters=name,
            answers={200: User},
            errors=(UserNameError, NotFoundError, LastUserError),
        ),
    )
