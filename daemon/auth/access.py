"""Who may do what. The Unix socket's file permissions are its access control; TCP wants a token or a session.

Without a token and a user, TCP refuses mutations and answers reads to loopback peers only, so that
`docker exec … curl` works on a machine that nobody has set up yet.
"""

import hashlib
import hmac
import ipaddress
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum

from aiohttp import web

from daemon.auth.hosts import Hosts
from daemon.auth.sessions import Identity, Sessions
from daemon.auth.throttle import Throttle
from daemon.auth.tokens import Tokens
from daemon.auth.users import Accounts, Users, whose
from daemon.errors import ForbiddenError, UnauthorizedError
from daemon.log import get_logger
from daemon.models import Role

_CREDENTIALS = struct.Struct("3i")  # process, user and group, as the kernel knows them
_BY_TOKEN = ""  # the name in a session that the configured token opened; no user has it

log = get_logger()


class Access(IntEnum):
    """What a route or procedure asks of its caller, and the most that a caller may."""

    PUBLIC = 0
    READ = 1
    UPDATE = 2


_BY_ROLE = {Role.READ: Access.READ, Role.UPDATE: Access.UPDATE}


@dataclass(frozen=True)
class Caller:
    """`who` is for records and logs. `identity` is what a session can be opened for, None where there is none."""

    who: str
    may: Access
    identity: Identity | None = None


_CALLER = web.RequestKey("caller", Caller)
_ASKED = web.RequestKey("asked", Access)
_UNCHANGED = web.RequestKey("unchanged", object)


class Gate:
    """Tells callers apart and lets them in. One for all triggers; its throttle remembers who guessed."""

    def __init__(self, *, tokens: Tokens, users: Users, sessions: Sessions, hosts: Hosts) -> None:
        self._tokens = tokens
        self._users = users
        self._sessions = sessions
        self._hosts = hosts
        self._throttle = Throttle()

    async def authorize(self, request: web.Request, access: Access) -> None:
        """Returns when the caller may; `who` names it from then on.

        Raises UnauthorizedError, ForbiddenError, ThrottledError, MisdirectedError, BadRequestError, and
        ConfigurationError where the token or the users cannot be read.
        """
        if access is Access.PUBLIC:
            return
        request[_ASKED] = access
        # before anything is read: a change while it is must not be missed
        request[_UNCHANGED] = self._unchanged()
        caller = _unix_caller(request) or await self._tcp_caller(request)
        request[_CALLER] = caller
        if caller.may < access:
            raise ForbiddenError(reason=_what_is_missing(caller))

    async def log_in(self, request: web.Request, response: web.StreamResponse, token: str) -> None:
        """Opens a session for whose token it is: `response` brings the cookie. Raises as `authorize` does."""
        self._hosts.check_origin(request, required=False)
        caller = await self._by_token(request, token, *await self._known())
        request[_CALLER] = caller
        if caller.identity is None:
            raise UnauthorizedError
        await self._sessions.open(request, response, caller.identity)
        log.info("session opened", who=caller.who, peer=_peer(request))

    def log_out(self, request: web.Request, response: web.StreamResponse) -> None:
        """Raises ForbiddenError when another site asks for it."""
        self._hosts.check_origin(request, required=False)
        self._sessions.close(request, response)

    def _unchanged(self) -> Callable[[], bool]:
        before = (self._tokens.stamp(), self._users.stamp())
        return lambda: (self._tokens.stamp(), self._users.stamp()) == before

    async def _known(self) -> tuple[str | None, Accounts]:
        return await self._tokens.current(), await self._users.current()

    async def _tcp_caller(self, request: web.Request) -> Caller:
        token, accounts = await self._known()
        if token is None and not accounts:
            self._hosts.check_host(request)
            self._hosts.check_origin(request, required=False)
            return _caller_without_token(request)
        if "Authorization" in request.headers:
            return await self._by_token(request, _bearer(request), token, accounts)
        caller = _by_session(await self._sessions.read(request), token, accounts)
        if caller is None:
            raise UnauthorizedError
        self._hosts.check_origin(request, required=True)
        return caller

    async def _by_token(self, request: web.Request, given: str, token: str | None, accounts: Accounts) -> Caller:
        peer = _peer(request)
        self._throttle.check(peer)
        if token is not None and hmac.compare_digest(_bytes(given), token.encode()):
            return _token_caller(token)
        account = whose(given, accounts)
        if account is None:
            self._throttle.failed(peer)
            log.warning("token refused", peer=peer)
            raise UnauthorizedError
        return Caller(f"user {account.name}", _BY_ROLE[account.role], Identity(account.name, account.stamp))


def caller_of(request: web.Request) -> Caller | None:
    """Once `Gate.authorize` has let it in."""
    return request.get(_CALLER)


def who(request: web.Request) -> str | None:
    """The caller as records name it, once `Gate.authorize` has let it in."""
    caller = caller_of(request)
    return caller.who if caller else None


def rights_unchanged(request: web.Request) -> Callable[[], bool]:
    """Asked later, it tells whether nobody's token has changed since `Gate.authorize` has let this request in."""
    unchanged = request.get(_UNCHANGED)
    return unchanged if callable(unchanged) else lambda: False


def may(request: web.Request) -> Access:
    """How much the caller may, once `Gate.authorize` has let it in: for pages, which do not offer what is refused."""
    caller = request.get(_CALLER)
    return caller.may if caller else Access.PUBLIC


@web.middleware
async def audited(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """One line for each request that wanted to change something, whatever came of it."""
    response = await handler(request)
    if request.get(_ASKED) is Access.UPDATE:
        log.info(
            "change requested",
            who=who(request) or "unknown",
            peer=_peer(request),
            what=f"{request.method} {request.path}",
            outcome=response.status,
        )
    return response


def _bearer(request: web.Request) -> str:
    scheme, _, given = request.headers["Authorization"].partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _by_session(identity: Identity | None, token: str | None, accounts: Accounts) -> Caller | None:
    if identity is None:
        return None
    if identity.name == _BY_TOKEN:
        caller = _token_caller(token) if token is not None else None
        return caller if caller and caller.identity == identity else None
    account = accounts.get(identity.name)
    if account is None or not account.enabled or account.stamp != identity.stamp:
        return None
    return Caller(f"user {account.name}", _BY_ROLE[account.role], identity)


def _token_caller(token: str) -> Caller:
    return Caller("token", Access.UPDATE, Identity(_BY_TOKEN, hashlib.sha256(_bytes(token)).hexdigest()[:16]))


def _caller_without_token(request: web.Request) -> Caller:
    if not _is_loopback(request):
        raise ForbiddenError(reason="no token is configured, so TCP answers loopback only; set REFRESHD_TOKEN_FILE")
    return Caller("loopback", Access.READ)


def _what_is_missing(caller: Caller) -> str:
    if caller.identity is None:
        return (
            "no token is configured, so nothing can be changed over TCP; "
            "set REFRESHD_TOKEN_FILE, or use the Unix socket"
        )
    return f"{caller.who} may read and not update"


def _unix_caller(request: web.Request) -> Caller | None:
    transport = request.transport
    # the name of a Unix socket is a text, that of a TCP socket a tuple; a transport that is gone proves nothing
    if transport is None or not isinstance(transport.get_extra_info("sockname"), str):
        return None
    connection = transport.get_extra_info("socket")
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return Caller("uid unknown", Access.UPDATE)
    return Caller(f"uid {_CREDENTIALS.unpack(credentials)[1]}", Access.UPDATE)


def _peer(request: web.Request) -> str:
    return request.remote or "unix"


def _is_loopback(request: web.Request) -> bool:
    try:
        address = ipaddress.ip_address(request.remote or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
