"""Slows guessing down: each address may be wrong a few times, and then once in a while."""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from daemon.errors import ThrottledError

FREE = 10  # failures
SECONDS_EACH = 3.0  # after those
MOST_PEERS = 4096
_IPV6_NETWORK = 64  # bits: who has one address of it has them all


class Throttle:
    """A leaking bucket for each peer; memory is bounded, the peer that failed longest ago is forgotten first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # when the bucket will be empty again
        self._empty_at: OrderedDict[str, float] = OrderedDict()

    def check(self, address: str) -> None:
        """Raises ThrottledError while the address has failed too often."""
        wait = self._empty_at.get(_peer(address), 0) - self._clock() - (FREE - 1) * SECONDS_EACH
        if wait > 0:
            raise ThrottledError(retry_after=math.ceil(wait))

    def failed(self, address: str) -> None:
        peer = _peer(address)
        self._empty_at[peer] = max(self._empty_at.pop(peer, 0), self._clock()) + SECONDS_EACH
        if len(self._empty_at) > MOST_PEERS:
            self._empty_at.popitem(last=False)


def _peer(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_NETWORK), strict=False))
