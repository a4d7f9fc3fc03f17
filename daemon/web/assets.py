"""Style sheets and scripts: small files of the package, kept in memory, under addresses that name their content."""

import asyncio
import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

WEB = Path(__file__).parent
BASE = "/static"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Asset(NamedTuple):
    content: bytes
    content_type: str
    digest: str


class Assets:
    """Every file of a known type in the folders; of two with one name the later folder's counts."""

    def __init__(self, *folders: Path) -> None:
        self._folders: Sequence[Path] = (WEB, *folders)

    def url(self, name: str) -> str:
        """Blocks the first time. Raises KeyError for a name that there is not."""
        return f"{BASE}/{self._all[name].digest}/{name}"

    async def serve(self, request: web.Request) -> web.Response:
        """For the route `/static/{digest}/{name}`. Any digest will do: a page may be older than this process."""
        asset = (await asyncio.to_thread(lambda: self._all)).get(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound
        newest = request.match_info["digest"] == asset.digest
        caching = "public, max-age=31536000, immutable" if newest else "no-cache"
        return web.Response(
            body=asset.content,
            content_type=asset.content_type,
            charset="utf-8",
            headers={"Cache-Control": caching, "X-Content-Type-Options": "nosniff"},
        )

    @cached_property
    def _all(self) -> dict[str, Asset]:
        files = [path for folder in self._folders for path in folder.iterdir() if path.suffix in TYPES]
        return {path.name: _read(path) for path in files}


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:16])
