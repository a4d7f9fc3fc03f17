"""Who may do what. The Unix socket's file permissions are its access control; TCP wants the bearer token.

Without a token configured, TCP refuses mutations and answers reads to loopback peers only, so that
`docker exec … curl` works on a machine that nobody has set up yet.
"""

import asyncio
import hmac
import ipaddress
from enum import IntEnum
from pathlib import Path

from aiohttp import web
from pydantic import SecretStr

from daemon.errors import ConfigurationError, ForbiddenError, UnauthorizedError

MAX_TOKEN_FILE = 4096  # bytes


class Access(IntEnum):
    """What a route or procedure asks of its caller."""

    PUBLIC = 0
    READ = 1
    UPDATE = 2


class Tokens:
    """The configured token; a file is read again each time, so that it can be changed without a restart."""

    def __init__(self, token: SecretStr | None, token_file: Path | None) -> None:
        self._token = token
        self._file = token_file

    async def current(self) -> str | None:
        """None when no token is configured. Raises ConfigurationError for a file that is configured but unusable."""
        if self._file is None:
            return self._token.get_secret_value() if self._token else None
        return await asyncio.to_thread(read_secret, self._file)


def read_secret(path: Path) -> str:
    """The first line of a small file. Raises ConfigurationError without the content; callers must fail closed."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TOKEN_FILE + 1)
        token = content.decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(problems=f"the token file {path} cannot be read ({type(error).__name__})") from None
    if not token or len(content) > MAX_TOKEN_FILE or "\n" in token:
        raise ConfigurationError(problems=f"the token file {path} must hold one line, the token")
    return token


async def authorize(request: web.Request, access: Access, tokens: Tokens) -> None:
    """Returns when the caller may. Raises UnauthorizedError, ForbiddenError."""
    if access is Access.PUBLIC or _is_unix(request):
        return
    expected = await tokens.current()
    if expected is None:
        _authorize_without_token(request, access)
        return
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    matches = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), expected.encode())
    if scheme.lower() != "bearer" or not matches:
        raise UnauthorizedError


def _authorize_without_token(request: web.Request, access: Access) -> None:
    if access is Access.UPDATE:
        raise ForbiddenError(
            reason="no token is configured, so nothing can be changed over TCP; "
            "set REFRESHD_TOKEN_FILE, or use the Unix socket"
        )
    if not _is_loopback(request):
        raise ForbiddenError(reason="no token is configured, so TCP answers loopback only; set REFRESHD_TOKEN_FILE")


def _is_unix(request: web.Request) -> bool:
    transport = request.transport
    # the name of a Unix socket is a text, that of a TCP socket a tuple; a transport that is gone proves nothing
    return transport is not None and isinstance(transport.get_extra_info("sockname"), str)


def _is_loopback(request: web.Request) -> bool:
    try:
        address = ipaddress.ip_address(request.remote or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
