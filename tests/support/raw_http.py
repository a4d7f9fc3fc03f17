"""HTTP as bytes over a socket: nothing between the test and the server escapes, corrects or retries."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class RawResponse:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One connection to loopback; header names of answers are in lower case. `source` is the client's own address."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._port = port
        self._source = source

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, local_addr=(self._source, 0)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def send(
        self, line: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"", length: bool = True
    ) -> None:
        """`line` is method and target. `length` adds a content-length where there is a body or the method is POST."""
        fields = {"Host": "localhost", **(headers or {})}
        if length and (body or line.startswith("POST")):
            fields.setdefault("Content-Length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._writer.write(f"{line} HTTP/1.1\r\n{head}\r\n".encode() + body)
        await self._writer.drain()

    async def send_raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def response(self, *, without_body: bool = False) -> RawResponse:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        length = 0 if without_body else int(headers.get("content-length", "0"))
        return RawResponse(int(head[0].split(" ")[1]), headers, await self._reader.readexactly(length))

    def reset(self) -> None:
        self._writer.transport.abort()


async def exchange(
    port: int, line: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"", length: bool = True
) -> RawResponse:
    """One request on a connection of its own."""
    async with Connection(port) as connection:
        await connection.send(line, headers=headers, body=body, length=length)
        return await connection.response(without_body=line.startswith("HEAD"))
