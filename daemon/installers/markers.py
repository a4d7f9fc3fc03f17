"""What an installer remembers between updates: small files, whole or absent, and absent when they are damaged."""

import asyncio
import json
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from daemon.files import sync_folder, write_atomically
from daemon.models import Shape

MAX_BYTES = 16_384


class Success(Shape):
    """The last install that ended well, by the fingerprint of what it was made from."""

    fingerprint: str


class Stocked(Shape):
    """What was fetched last, and the store that holds it."""

    key: str
    store: Path


S = TypeVar("S", bound=Shape)


class Marker(Generic[S]):
    def __init__(self, path: Path, shape: type[S]) -> None:
        self._path = path
        self._shape = shape

    async def read(self) -> S | None:
        """None when there is none, and when what is there is not what `write` leaves."""
        return await asyncio.to_thread(self._read)

    async def write(self, fact: S) -> None:
        """Durable when it returns. Raises NoSpaceError."""
        await asyncio.to_thread(self._write, fact)

    async def remove(self) -> None:
        """Durable when it returns: what follows may make the fact untrue."""
        await asyncio.to_thread(self._remove)

    def _read(self) -> S | None:
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_BYTES)
            return self._shape.model_validate_json(content)
        except (OSError, ValidationError):
            return None

    def _write(self, fact: S) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps(fact.snake()).encode())

    def _remove(self) -> None:
        try:
            self._path.unlink()
        except FileNotFoundError:
            return
        sync_folder(self._path.parent)
