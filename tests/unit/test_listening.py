"""Which sockets are taken, which are bound anew, and what waiting clients are told."""

import asyncio
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from daemon.server.listening import Listeners
from daemon.server.listening.binding import bind_tcp, bind_unix, identity
from daemon.server.listening.excuse import excused_after
from daemon.server.listening.holder import handed_on
from daemon.settings import Address

ANY_PORT = Address("127.0.0.1", 0)


@pytest.fixture
def path() -> Path:
    # not pytest's own folder: the path of a Unix socket has room for 107 bytes
    return Path(f"/tmp/refreshd-listening-{os.getpid()}.sock")


def listeners(path: Path, tcp: Address | None = None, given: Mapping[str, int] | None = None) -> Listeners:
    return Listeners(unix=path, tcp=tcp, holder=None, handed_on=given or {})


def kept(listener: socket.socket) -> int:
    """The descriptor as a holder hands it on."""
    return os.dup(listener.fileno())


async def bound(path: Path) -> tuple[socket.socket, str]:
    """A Unix socket and the id under which a holder keeps it."""
    unix = await asyncio.to_thread(bind_unix, path)
    return unix, f"unix:{await asyncio.to_thread(identity, path)}:{path}"


def close(*opened: socket.socket) -> None:
    for listener in opened:
        listener.close()


def test_what_the_holder_handed_on_is_read_from_the_environment() -> None:
    environ = {"S6_FD#": "1", "S6_FD_0": "7", "S6_FDID_0": "tcp::80#0", "S6_FDLIMIT_0": "", "PATH": "/bin"}
    assert handed_on(environ) == {"tcp::80#0": 7}


@pytest.mark.parametrize("number", ["", "x", "-1", "³"])
def test_descriptor_that_is_no_number_is_not_handed_on(number: str) -> None:
    assert handed_on({"S6_FDID_0": "tcp::80#0", "S6_FD_0": number}) == {}


async def test_without_a_holder_all_is_bound(path: Path) -> None:
    tcp, unix = await listeners(path, ANY_PORT).open()
    assert unix.family is socket.AF_UNIX
    assert path.stat().st_mode & 0o777 == 0o660
    assert tcp.getsockname()[1] != 0
    close(unix, tcp)
    path.unlink()


async def test_socket_of_the_same_setting_and_file_is_taken(path: Path) -> None:
    unix, held = await bound(path)
    (tcp,) = bind_tcp(ANY_PORT)
    given = {held: kept(unix), f"tcp:{ANY_PORT}#0": kept(tcp)}
    taken = await listeners(path, ANY_PORT, given).open()
    assert [one.getsockname() for one in taken] == [unix.getsockname(), tcp.getsockname()]
    assert not any(one.get_inheritable() for one in taken)
    close(unix, tcp, *taken)
    path.unlink()


async def test_socket_file_that_was_replaced_is_bound_anew(path: Path) -> None:
    unix, held = await bound(path)
    path.unlink()
    stranger, _ = await bound(path)
    (taken,) = await listeners(path, given={held: kept(unix)}).open()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        taken.accept()[0].close()
    close(unix, stranger, taken)
    path.unlink()


async def test_socket_of_another_setting_is_closed(path: Path) -> None:
    (tcp,) = bind_tcp(ANY_PORT)
    where, descriptor = tcp.getsockname(), kept(tcp)
    tcp.close()
    opened = await listeners(path, given={f"tcp:{ANY_PORT}#0": descriptor}).open()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(where)
    close(*opened)
    path.unlink()


async def test_descriptor_that_is_no_socket_is_bound_anew(path: Path) -> None:
    pipe = os.pipe()
    tcp, unix = await listeners(path, ANY_PORT, {f"tcp:{ANY_PORT}#0": pipe[0]}).open()
    assert tcp.getsockname()[1] != 0
    close(unix, tcp)
    path.unlink()
    for end in pipe:
        os.close(end)


async def test_port_that_is_taken_leaves_the_socket_file_as_it_is(path: Path) -> None:
    (taken,) = bind_tcp(ANY_PORT)
    unix, held = await bound(path)
    with pytest.raises(OSError, match="in use"):
        await listeners(path, Address(*taken.getsockname())).open()
    assert (await asyncio.to_thread(identity, path) or "") in held
    close(taken, unix)
    path.unlink()


def open_descriptors() -> list[Path]:
    return list(Path("/proc/self/fd").iterdir())


def test_port_that_is_taken_leaves_nothing_open() -> None:
    (taken,) = bind_tcp(ANY_PORT)
    before = len(open_descriptors())
    with pytest.raises(OSError, match="in use"):
        bind_tcp(Address(*taken.getsockname()))
    assert len(open_descriptors()) == before
    taken.close()


# While code is put back


async def ask(where: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*where)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


async def test_clients_are_told_to_come_again_when_they_waited_long() -> None:
    (tcp,) = bind_tcp(ANY_PORT)
    async with excused_after(0.05, lambda: [tcp.dup()]):
        answer = await asyncio.wait_for(ask(tcp.getsockname()), 5)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 5\r\n" in answer
    tcp.close()


async def test_clients_wait_at_first_and_the_next_listener_has_them() -> None:
    (tcp,) = bind_tcp(ANY_PORT)
    waiting = asyncio.create_task(ask(tcp.getsockname()))
    async with excused_after(60, lambda: [tcp.dup()]):
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done
    connection, _ = await asyncio.get_running_loop().sock_accept(tcp)
    assert (await asyncio.get_running_loop().sock_recv(connection, 100)).startswith(b"GET ")
    connection.sendall(b"the next one")
    connection.close()
    assert await waiting == b"the next one"
    tcp.close()


async def test_socket_is_still_listened_on_after_excuses() -> None:
    (tcp,) = bind_tcp(ANY_PORT)
    async with excused_after(0.01, lambda: [tcp.dup()]):
        await ask(tcp.getsockname())
    with socket.create_connection(tcp.getsockname()):
        connection, _ = await asyncio.get_running_loop().sock_accept(tcp)
        connection.close()
    tcp.close()
