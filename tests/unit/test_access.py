"""Who may do what, asked over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
from aiohttp import ClientSession, TCPConnector, UnixConnector, web

from daemon.auth.access import Access, Gate
from daemon.auth.tokens import MAX_TOKEN_FILE, read_secret
from daemon.errors import ConfigurationError, ForbiddenError, RefreshdError, UnauthorizedError
from tests.support.gates import gate

TOKEN = "planted-token"
NO_TOKEN = gate()

# what a route asks → what the caller gets
Verdicts = dict[Access, str]
ALL_ALLOWED: Verdicts = dict.fromkeys(Access, "allowed")
NEEDS_TOKEN: Verdicts = {Access.PUBLIC: "allowed", Access.READ: "unauthorized", Access.UPDATE: "unauthorized"}


def application(door: Gate) -> web.Application:
    """One route per access; the answer is the verdict and its sentence."""

    def route(access: Access) -> web.RouteDef:
        async def handle(request: web.Request) -> web.Response:
            try:
                await door.authorize(request, access)
            except RefreshdError as error:
                return web.json_response({"verdict": error.code, "message": str(error)}, status=error.status)
            return web.json_response({"verdict": "allowed", "message": ""})

        return web.get(f"/{access.name}", handle)

    app = web.Application()
    app.add_routes(route(access) for access in Access)
    return app


@asynccontextmanager
async def served(door: Gate, make_site: Callable[[web.AppRunner], web.BaseSite]) -> AsyncIterator[web.AppRunner]:
    runner = web.AppRunner(application(door))
    await runner.setup()
    try:
        await make_site(runner).start()
        yield runner
    finally:
        await runner.cleanup()


@asynccontextmanager
async def over_unix(door: Gate, folder: Path) -> AsyncIterator[ClientSession]:
    path = str(folder / "d.sock")
    async with (
        served(door, lambda runner: web.UnixSite(runner, path)),
        ClientSession("http://machine", connector=UnixConnector(path)) as session,
    ):
        yield session


@asynccontextmanager
async def over_tcp(door: Gate, host: str = "127.0.0.1") -> AsyncIterator[ClientSession]:
    async with served(door, lambda runner: web.TCPSite(runner, host, 0)) as runner:
        port = runner.addresses[0][1]
        shown = f"[{host}]" if ":" in host else host
        async with ClientSession(f"http://{shown}:{port}", connector=TCPConnector()) as session:
            yield session


async def verdict(session: ClientSession, access: Access, authorization: str | None = None) -> tuple[str, str]:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with session.get(f"/{access.name}", headers=headers) as response:
        answer = await response.json()
        return answer["verdict"], answer["message"]


async def verdicts(session: ClientSession, authorization: str | None = None) -> Verdicts:
    return {access: (await verdict(session, access, authorization))[0] for access in Access}


@pytest.mark.parametrize("door", [NO_TOKEN, gate(token=TOKEN), gate(token_file=Path("/not/there"))])
async def test_whoever_may_open_the_unix_socket_may_do_all(door: Gate, tmp_path: Path) -> None:
    async with over_unix(door, tmp_path) as session:
        assert await verdicts(session) == ALL_ALLOWED


async def test_the_token_opens_everything_over_tcp() -> None:
    async with over_tcp(gate(token=TOKEN)) as session:
        assert await verdicts(session, f"Bearer {TOKEN}") == ALL_ALLOWED


async def test_loopback_needs_the_token_too_once_there_is_one() -> None:
    async with over_tcp(gate(token=TOKEN)) as session:
        assert await verdicts(session) == NEEDS_TOKEN


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
async def test_the_scheme_is_read_in_any_case(scheme: str) -> None:
    async with over_tcp(gate(token=TOKEN)) as session:
        assert await verdict(session, Access.UPDATE, f"{scheme} {TOKEN}") == ("allowed", "")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        f"Bearer {TOKEN} {TOKEN}",
        "Bearer plänted-token",
        f"Basic {TOKEN}",
        TOKEN,
    ],
)
async def test_anything_else_is_refused_in_the_same_words(authorization: str) -> None:
    """The words tell nobody how near they came."""
    async with over_tcp(gate(token=TOKEN)) as session:
        missing = await verdict(session, Access.UPDATE)
        assert await verdict(session, Access.UPDATE, authorization) == missing
    assert missing == ("unauthorized", str(UnauthorizedError()))


async def test_bytes_that_are_no_text_are_a_wrong_token() -> None:
    async with served(gate(token=TOKEN), lambda runner: web.TCPSite(runner, "127.0.0.1", 0)) as runner:
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        writer.write(b"GET /UPDATE HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_without_a_token_loopback_may_read_and_not_update(host: str) -> None:
    if host == "::1" and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    async with over_tcp(NO_TOKEN, host) as session:
        assert await verdicts(session) == {
            Access.PUBLIC: "allowed",
            Access.READ: "allowed",
            Access.UPDATE: "forbidden",
        }


async def test_without_a_token_a_claimed_one_changes_nothing() -> None:
    async with over_tcp(NO_TOKEN) as session:
        for authorization in ("Bearer ", "Bearer x", "Bearer None"):
            assert (await verdict(session, Access.UPDATE, authorization))[0] == "forbidden"


async def test_without_a_token_the_refusal_says_what_to_do() -> None:
    async with over_tcp(NO_TOKEN) as session:
        _, message = await verdict(session, Access.UPDATE)
    assert "REFRESHD_TOKEN_FILE" in message
    assert "Unix socket" in message


class FakeRequest(dict[Any, Any]):
    """What a request remembers, and the few facts that the gate looks at."""

    method = "GET"
    cookies: ClassVar[dict[str, str]] = {}


def fake_request(**facts: Any) -> web.Request:
    request = FakeRequest()
    vars(request).update(facts)
    return cast("web.Request", request)


def request_from(remote: str | None, sockname: object = ("10.0.0.2", 3000), **headers: str) -> web.Request:
    """A request as a remote peer would send it; tests only have loopback."""
    transport = SimpleNamespace(get_extra_info=lambda name: sockname if name == "sockname" else None)
    return fake_request(transport=transport, remote=remote, headers={"Host": "localhost", **headers})


@pytest.mark.parametrize(
    "remote", ["10.0.0.3", "192.168.1.1", "::ffff:10.0.0.3", "2001:db8::1", "fe80::1%eth0", "localhost", "", None]
)
async def test_without_a_token_others_than_loopback_may_not_even_read(remote: str | None) -> None:
    with pytest.raises(ForbiddenError, match="loopback only"):
        await NO_TOKEN.authorize(request_from(remote), Access.READ)
    with pytest.raises(ForbiddenError):
        await NO_TOKEN.authorize(request_from(remote), Access.UPDATE)
    await NO_TOKEN.authorize(request_from(remote), Access.PUBLIC)


@pytest.mark.parametrize("remote", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
async def test_loopback_has_many_names(remote: str) -> None:
    await NO_TOKEN.authorize(request_from(remote), Access.READ)


async def test_a_header_cannot_claim_to_come_from_loopback() -> None:
    claims = {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1", "X-Real-IP": "127.0.0.1"}
    with pytest.raises(ForbiddenError):
        await NO_TOKEN.authorize(request_from("10.0.0.3", **claims), Access.READ)


async def test_a_remote_peer_with_the_token_may_update() -> None:
    await gate(token=TOKEN).authorize(request_from("10.0.0.3", Authorization=f"Bearer {TOKEN}"), Access.UPDATE)


async def test_a_connection_that_is_gone_proves_nothing() -> None:
    gone = fake_request(transport=None, remote="127.0.0.1", headers={"Host": "localhost"})
    with pytest.raises(ForbiddenError):
        await NO_TOKEN.authorize(gone, Access.UPDATE)


async def test_a_token_file_is_read_again_for_each_request(tmp_path: Path) -> None:
    file = tmp_path / "token"
    async with over_tcp(gate(token_file=file)) as session:
        for token in ("first", "second"):
            file.write_text(f"{token}\n")
            assert (await verdict(session, Access.UPDATE, f"Bearer {token}"))[0] == "allowed"
        assert (await verdict(session, Access.UPDATE, "Bearer first"))[0] == "unauthorized"


async def test_the_file_goes_before_the_value(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("of the file")
    async with over_tcp(gate(token="of the value", token_file=file)) as session:
        assert (await verdict(session, Access.READ, "Bearer of the file"))[0] == "allowed"
        assert (await verdict(session, Access.READ, "Bearer of the value"))[0] == "unauthorized"


def _missing(_: Path) -> None: ...


def _folder(file: Path) -> None:
    file.mkdir()


def _content(content: bytes) -> Callable[[Path], Any]:
    return lambda file: file.write_bytes(content)


UNUSABLE: list[Any] = [
    pytest.param(_missing, id="missing"),
    pytest.param(_folder, id="folder"),
    pytest.param(_content(b""), id="empty"),
    pytest.param(_content(b" \n\t\n"), id="blank"),
    pytest.param(_content(b"planted\nsecond"), id="two lines"),
    pytest.param(_content(b"planted\xff"), id="no text"),
    pytest.param(_content(b"planted" * MAX_TOKEN_FILE), id="too long"),
]


@pytest.mark.parametrize("make", UNUSABLE)
async def test_an_unusable_token_file_lets_nobody_in(make: Callable[[Path], Any], tmp_path: Path) -> None:
    file = tmp_path / "token"
    make(file)
    async with over_tcp(gate(token=TOKEN, token_file=file)) as session:
        for authorization in (None, "Bearer ", "Bearer planted", f"Bearer {TOKEN}"):
            assert await verdicts(session, authorization) == {
                Access.PUBLIC: "allowed",
                Access.READ: "misconfigured",
                Access.UPDATE: "misconfigured",
            }


@pytest.mark.parametrize("make", UNUSABLE)
def test_an_unusable_token_file_is_named_and_not_quoted(make: Callable[[Path], Any], tmp_path: Path) -> None:
    file = tmp_path / "token"
    make(file)
    with pytest.raises(ConfigurationError) as refused:
        read_secret(file)
    assert str(file) in str(refused.value)
    assert "planted" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("content", [b"abc", b"abc\n", b"abc\r\n", b"  abc  \n"])
def test_the_space_around_a_token_is_not_part_of_it(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    assert read_secret(file) == "abc"


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
