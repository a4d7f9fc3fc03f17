"""A browser's way in: who proved to have a token gets a signed cookie for some hours.

Nothing is stored but the key, so that sessions survive the restart. A session names its user and carries the stamp of
the token that opened it: whoever accepts it compares both with the accounts of now.
"""

import asyncio
import hashlib
import secrets
from pathlib import Path
from typing import NamedTuple

from aiohttp import web
from itsdangerous import BadData, URLSafeTimedSerializer

from daemon.auth.hosts import asked_authority
from daemon.errors import ConfigurationError
from daemon.files import refusals_named, write_atomically
from daemon.lock import held

LIFETIME = 12 * 3600  # seconds
_KEY_BYTES = 32


class Identity(NamedTuple):
    """Who, and a stamp that changes when the token does."""

    name: str
    stamp: str


class Sessions:
    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        self._signer: URLSafeTimedSerializer | None = None

    async def open(self, request: web.Request, response: web.StreamResponse, identity: Identity) -> None:
        """Gives the caller, who has proved to be `identity`, its cookie."""
        signer = await self._signing()
        response.set_cookie(
            cookie_name(request),
            signer.dumps(list(identity)),
            max_age=LIFETIME,
            httponly=True,
            samesite="Strict",
            secure=_is_https(request),
        )

    async def read(self, request: web.Request) -> Identity | None:
        """Of a cookie that is ours and not too old. Raises ConfigurationError when the key cannot be read."""
        cookie = request.cookies.get(cookie_name(request))
        if not cookie:
            return None
        try:
            name, stamp = (await self._signing()).loads(cookie, max_age=LIFETIME)
        except (BadData, TypeError, ValueError):
            return None
        return Identity(str(name), str(stamp))

    def close(self, request: web.Request, response: web.StreamResponse) -> None:
        response.del_cookie(cookie_name(request), httponly=True, samesite="Strict", secure=_is_https(request))

    async def _signing(self) -> URLSafeTimedSerializer:
        if self._signer is None:
            self._signer = await asyncio.to_thread(self._make_signer)
        return self._signer

    def _make_signer(self) -> URLSafeTimedSerializer:
        key = _key(self._key_file)
        return URLSafeTimedSerializer(key, salt="refreshd session", signer_kwargs={"digest_method": hashlib.sha256})


def cookie_name(request: web.Request) -> str:
    """With the port: browsers send a cookie to every port of a host, and one host may publish many machines."""
    return f"refreshd_{asked_authority(request).port}"


def _is_https(request: web.Request) -> bool:
    # a proxy that ends TLS says so; whoever lies about it only keeps their own cookie from plain HTTP
    return request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"


def _key(path: Path) -> bytes:
    """Made when it is first needed, readable for the daemon alone. Raises SystemCallError, ConfigurationError."""
    with refusals_named(path), held(path.with_suffix(".lock")):
        if not path.exists():
            write_atomically(path, secrets.token_bytes(_KEY_BYTES))
        key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise ConfigurationError(problems=f"the key in {path} is damaged; remove it, which ends all sessions")
    return key
