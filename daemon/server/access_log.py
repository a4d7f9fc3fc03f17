"""One line for each request: the path without its query, which may hold a caller's input.

Where lines are JSON, this one is put together here and not by structlog, which takes ten times as long, and the lines
of one round of the loop are written together. Every answer passes here, also one that is repeated: what counts requests
belongs here.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime
from functools import lru_cache

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

import daemon.log
from daemon.metrics.tally import COUNT

_SENTENCE = "request answered"

log = daemon.log.get_logger()
_waiting: list[str] = []


class AccessLog(AbstractAccessLogger):
    @property
    def enabled(self) -> bool:
        return True

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        if count := request.get(COUNT):
            count(response.status, time)
        peer = request.remote or "unix"
        if not daemon.log.writes_json_at_info():
            log.info(
                _SENTENCE,
                method=request.method,
                path=request.path,
                status=response.status,
                peer=peer,
                seconds=round(time, 4),
            )
            return
        if not _waiting:
            asyncio.get_running_loop().call_soon(flush)
        moment = datetime.now(UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
        facts = _facts(request.method, request.path, response.status, peer)
        _waiting.append(f'{{"timestamp": "{moment}Z", {facts}, "seconds": {round(time, 4)}}}\n')


def flush() -> None:
    """Writes what waits; for the end of a process too, which has no further round."""
    sys.stderr.write("".join(_waiting))
    sys.stderr.flush()
    _waiting.clear()


@lru_cache(maxsize=256)
def _facts(method: str, path: str, status: int, peer: str) -> str:
    facts = {
        "level": "info",
        "event": _SENTENCE,
        "method": method,
        "path": path,
        "status": status,
        "peer": peer,
    }
    return json.dumps(facts)[1:-1]
