"""Answers as what they should be. Every error is one of this package's, also for an answer that is something else."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from pydantic import ValidationError

from daemon.client.connection import Connection
from daemon.client.wire import AnyShape, read_json_shape, read_shape
from daemon.errors import in_words
from daemon.models import SnapshotPage, UpdatePage

LONGEST_PAGE = 200  # what the daemon answers at most at once
OK = 200

AnyPage = TypeVar("AnyPage", UpdatePage, SnapshotPage)


class Typed:
    """Raises what `Connection.ask_well` raises."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, shape: type[AnyShape], path: str, *, limit: float | None = None) -> AnyShape:
        return await self.ask(shape, "GET", path, limit=limit)

    async def post(
        self, shape: type[AnyShape], path: str, body: Mapping[str, Any], *, limit: float | None = None
    ) -> AnyShape:
        return await self.ask(shape, "POST", path, body, limit=limit)

    async def ask(
        self,
        shape: type[AnyShape],
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        limit: float | None = None,
    ) -> AnyShape:
        """`limit` in seconds, where the daemon has to work for its answer."""
        answer, content = await self._connection.ask_well(method, path, body=body, limit=limit)
        try:
            return read_shape(shape, content)
        except ValidationError as error:
            raise self._connection.unreadable(answer.status, in_words(error)) from None

    async def pages(self, shape: type[AnyPage], path: str, limit: int | None = None) -> AsyncGenerator[AnyPage, None]:
        """One after the other, to the end of the list; `limit` is how many entries are wanted in all."""
        query = {"limit": str(min(limit or LONGEST_PAGE, LONGEST_PAGE))}
        cursor: str | None = ""
        while cursor is not None:
            page = await self.get(shape, f"{path}?{urlencode(query | ({'cursor': cursor} if cursor else {}))}")
            yield page
            cursor = page.next_cursor

    def read(self, shape: type[AnyShape], text: str) -> AnyShape:
        """What a stream says."""
        try:
            return read_json_shape(shape, text)
        except ValidationError as error:
            raise self._connection.unreadable(OK, in_words(error)) from None
