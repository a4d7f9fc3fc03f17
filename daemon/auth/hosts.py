"""Whether a request is meant for this machine, and comes from a page of ours where it comes from a page.

A page of another site can make a browser send requests here: by a form, or by letting its own name resolve to our
address (DNS rebinding). It cannot choose the Host and Origin that the browser sends.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import NamedTuple

from aiohttp import web

from daemon.errors import BadRequestError, ForbiddenError, MisdirectedError

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITE = frozenset({"same-origin", "none"})
_AUTHORITY = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9._-]{1,253}))(?::(?P<port>[0-9]{1,5}))?")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<authority>.+)")


class Authority(NamedTuple):
    """`port` is 0 where none is named."""

    host: str
    port: int = 0


def asked_authority(request: web.Request) -> Authority:
    """What the client believes to speak to. Raises BadRequestError."""
    authority = _parse(request.headers.get("Host", ""))
    if authority is None:
        raise BadRequestError(reason="its Host header is not one")
    return authority


class Hosts:
    """The names of this machine: addresses, loopback's names, its own, and those that are configured.

    A configured name that begins with a dot stands for everything below it.
    """

    def __init__(self, configured: Iterable[str] = ()) -> None:
        self._configured = frozenset(configured)
        self._names = {"localhost", socket.gethostname().lower()} | self._configured
        self._below = (".localhost", *(name for name in self._configured if name.startswith(".")))

    def check_host(self, request: web.Request) -> None:
        """For what is answered without a credential. Raises MisdirectedError, BadRequestError."""
        host = asked_authority(request).host
        # an address cannot be rebound, for nobody looks it up
        if not (host in self._names or host.endswith(self._below) or _is_address(host)):
            raise MisdirectedError(host=host)

    def check_origin(self, request: web.Request, *, required: bool) -> None:
        """For what a browser may have been made to send. Raises ForbiddenError, BadRequestError.

        `required`: the caller is known by a cookie, so that it must be a browser, and those always say where from.
        """
        if request.method in _SAFE_METHODS:
            return
        origin = request.headers.get("Origin")
        if required and origin is None:
            raise ForbiddenError(reason="a session may change something from its own pages only (no Origin was sent)")
        own = origin is None or self._is_own(origin, asked_authority(request))
        if not own or request.headers.get("Sec-Fetch-Site", "none") not in _OWN_SITE:
            raise ForbiddenError(reason="it was sent by a page of another site")

    def _is_own(self, origin: str, asked: Authority) -> bool:
        """The host that was asked, or one that is configured: a proxy may replace the Host header by its own."""
        found = _ORIGIN.fullmatch(origin.lower())
        authority = _parse(found["authority"]) if found else None
        return authority is not None and (authority == asked or authority.host in self._configured)


def _parse(text: str) -> Authority | None:
    found = _AUTHORITY.fullmatch(text.lower())
    if not found:
        return None
    return Authority(found["v6"] or found["name"].removesuffix("."), int(found["port"] or 0))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
