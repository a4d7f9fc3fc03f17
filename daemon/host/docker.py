"""Machines by their container's name: through the Docker engine's API, with no port and no token.

Each connection to the daemon is a program in the container that copies between its standard streams and the daemon's
Unix socket. So whoever may use the engine may use the machine, and every feature of the client works.
"""

import asyncio
import errno
import re
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiodocker
import aiohttp
from aiodocker.stream import Stream
from aiohttp.client_proto import ResponseHandler

from daemon.client import Client
from daemon.socket_path import GREETING
from daemon.tasks import ended

PROGRAM = ("refreshd", "dial-stdio")
ENGINE_TIMEOUT = 10.0  # seconds, for an answer of the engine

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
_CHUNK = 65536
_STDOUT = 1


class Container:
    """A machine (see `daemon.host.machine`). Raises ValueError for what is no name of a container."""

    def __init__(self, name: str, *, patience: float) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError("a container's name has letters, digits, _, . and -")
        self.name: Final = name
        self._patience = patience

    def client(self) -> Client:
        return Client(dial=self.connector, where=f"container {self.name}", patience=self._patience)

    def connector(self) -> aiohttp.BaseConnector:
        return ContainerConnector(self.name)

    async def stopped(self) -> str | None:
        try:
            async with asyncio.timeout(ENGINE_TIMEOUT), _engine() as engine:
                found = await engine.containers.container(self.name).show()
        except OSError as error:
            return str(error.strerror or "the Docker engine does not answer")
        except aiodocker.DockerError as error:
            return f"container {self.name}: {_in_words(error)}"
        return None if found["State"]["Running"] else f"container {self.name}: {found['State']['Status']}"


class ContainerConnector(aiohttp.BaseConnector):
    """How aiohttp gets a connection to the daemon: one end of a pair of sockets, whose other end is copied."""

    def __init__(self, name: str) -> None:
        # a connection that is kept would not survive the daemon's restart
        super().__init__(force_close=True)
        self._name = name
        self._copying: set[asyncio.Task[None]] = set()

    def close(self, *, abort_ssl: bool = False) -> Awaitable[None]:
        return self._closed_with_copies(super().close(abort_ssl=abort_ssl))

    async def _closed_with_copies(self, closed: Awaitable[None]) -> None:
        await closed
        await ended(*self._copying)

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],  # noqa: ARG002 - not shown to anybody
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - of aiohttp, with a limit for each phase
    ) -> ResponseHandler:
        """Aiohttp documents it as the method to override. Raises TimeoutError, ClientConnectorError."""
        near, far = socket.socketpair()
        standing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._copy(far, standing))
        self._copying.add(task)
        task.add_done_callback(self._copying.discard)
        try:
            async with asyncio.timeout(timeout.sock_connect):
                await standing
            _, protocol = await asyncio.get_running_loop().create_connection(self._factory, sock=near)
        except BaseException as error:
            task.cancel()
            near.close()
            if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                raise aiohttp.ClientConnectorError(req.connection_key, error) from error
            raise
        return protocol

    async def _copy(self, far: socket.socket, standing: asyncio.Future[None]) -> None:
        """Until either end is closed. What goes wrong before the connection stands is raised by `standing`."""
        reader, writer = await asyncio.open_connection(sock=far)
        try:
            async with _engine() as engine, _program(engine, self._name) as stream:
                writer.write(await _greeted(stream))
                standing.set_result(None)
                await _first_done(_to(stream, reader), _from(stream, writer))
        except (OSError, aiodocker.DockerError, aiohttp.ClientError) as error:
            if not standing.done():
                standing.set_exception(_as_os_error(error))
        finally:
            writer.close()


@asynccontextmanager
async def _engine() -> AsyncIterator[aiodocker.Docker]:
    """As the docker command finds it: DOCKER_HOST, its context, the usual sockets. Raises OSError."""
    try:
        engine = aiodocker.Docker(timeout=aiohttp.ClientTimeout(sock_connect=ENGINE_TIMEOUT))
    except (AssertionError, ValueError) as error:
        # aiodocker asserts that there is one
        raise _unreachable(f"no Docker engine is known ({error}); set DOCKER_HOST".replace(" ()", "")) from None
    async with engine:
        yield engine


@asynccontextmanager
async def _program(engine: aiodocker.Docker, name: str) -> AsyncIterator[Stream]:
    program = await engine.containers.container(name).exec(PROGRAM, stdin=True, stdout=True, stderr=True)
    async with program.start() as stream:
        yield stream


async def _greeted(stream: Stream) -> bytes:
    """What the daemon has sent already. Raises OSError with the program's last words when it does not get through."""
    said = {_STDOUT: b""}
    while not said[_STDOUT].startswith(GREETING):
        message = await stream.read_out()
        if message is None:
            words = b"".join(said.values()).decode(errors="replace").strip().splitlines()
            raise _unreachable(words[-1][:200] if words else "the program in it has ended")
        said[message.stream] = (said.get(message.stream, b"") + message.data)[-_CHUNK:]
    return said[_STDOUT].removeprefix(GREETING)


async def _to(stream: Stream, reader: asyncio.StreamReader) -> None:
    while chunk := await reader.read(_CHUNK):
        await stream.write_in(chunk)


async def _from(stream: Stream, writer: asyncio.StreamWriter) -> None:
    while message := await stream.read_out():
        if message.stream == _STDOUT:
            writer.write(message.data)
            await writer.drain()


async def _first_done(*work: Awaitable[None]) -> None:
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await ended(*tasks, expected=aiohttp.ClientError)


def _as_os_error(error: Exception) -> OSError:
    if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientError):
        return error
    if isinstance(error, aiodocker.DockerError):
        return _unreachable(_in_words(error))
    return _unreachable(f"the Docker engine broke the connection ({type(error).__name__})")


def _in_words(error: aiodocker.DockerError) -> str:
    match error.status:
        case 404:
            return "there is no such container"
        case 409:
            return "it does not run"
        case _:
            return str(error.message)[:300]


def _unreachable(reason: str) -> OSError:
    return OSError(errno.EHOSTUNREACH, reason)
