"""A browser's session over real sockets: who gets one, when it ends, and what a page of another site cannot do."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from aiohttp import ClientResponse, ClientSession, web

from daemon.auth import sessions
from daemon.auth.access import Access, Gate, audited, who
from daemon.auth.users import Users
from daemon.models import Role
from daemon.triggers.problems import problems
from tests.support.gates import gate

TOKEN = "planted-token"


def application(door: Gate) -> web.Application:
    async def log_in(request: web.Request) -> web.Response:
        response = web.Response()
        await door.log_in(request, response, (await request.post())["token"])  # type: ignore[arg-type]  # no file
        return response

    async def log_out(request: web.Request) -> web.Response:
        response = web.Response()
        door.log_out(request, response)
        return response

    async def read(request: web.Request) -> web.Response:
        await door.authorize(request, Access.READ)
        return web.Response(text=who(request) or "")

    async def change(request: web.Request) -> web.Response:
        await door.authorize(request, Access.UPDATE)
        return web.Response(text=who(request) or "")

    app = web.Application(middlewares=[audited, problems])
    app.add_routes(
        [web.post("/login", log_in), web.post("/logout", log_out), web.get("/", read), web.post("/", change)]
    )
    return app


@asynccontextmanager
async def served(door: Gate) -> AsyncIterator[str]:
    runner = web.AppRunner(application(door))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def log_in(url: str, token: str = TOKEN, **headers: str) -> tuple[int, str, SimpleCookie]:
    """The status, the cookie as a browser sends it back, and as it was set."""
    async with ClientSession() as browser, browser.post(f"{url}/login", data={"token": token}, headers=headers) as got:
        return got.status, "; ".join(f"{c.key}={c.value}" for c in got.cookies.values()), got.cookies


async def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with ClientSession() as browser, browser.request(method, url, headers=named) as response:
        return response.status, await response.text()


async def test_the_session_of_a_token_reads_and_changes(tmp_path: Path) -> None:
    async with served(gate(tmp_path, token=TOKEN)) as url:
        status, cookie, _ = await log_in(url)
        assert (status, await ask(url, Cookie=cookie)) == (200, (200, "token"))
        assert await ask(url, "POST", Cookie=cookie, Origin=url) == (200, "token")


async def test_a_wrong_token_opens_no_session(tmp_path: Path) -> None:
    async with served(gate(tmp_path, token=TOKEN)) as url:
        status, cookie, _ = await log_in(url, "wrong")
        assert (status, cookie) == (401, "")
        assert (await ask(url))[0] == 401


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(tmp_path: Path) -> None:
    async with served(gate(tmp_path, token=TOKEN)) as url:
        _, _, plain = await log_in(url)
        _, _, behind_tls = await log_in(url, **{"X-Forwarded-Proto": "https"})
    (cookie,), (secure,) = plain.values(), behind_tls.values()
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (True, "Strict", "/", "")
    assert secure["secure"] is True
    assert int(cookie["max-age"]) == sessions.LIFETIME
    assert TOKEN not in cookie.value + str(base64.urlsafe_b64decode(cookie.value.split(".")[0] + "=="))


async def test_two_machines_on_one_host_do_not_share_a_cookie(tmp_path: Path) -> None:
    async with served(gate(tmp_path, token=TOKEN)) as one, served(gate(tmp_path, token=TOKEN)) as other:
        _, first, _ = await log_in(one)
        _, second, _ = await log_in(other)
    assert first.partition("=")[0] != second.partition("=")[0]


async def test_a_session_survives_the_restart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    async with served(gate(tmp_path, token=TOKEN)) as url:
        _, cookie, _ = await log_in(url)
    async with served(gate(tmp_path, token=TOKEN)) as url:
        renamed = cookie.replace(cookie.partition("=")[0], f"refreshd_{url.rpartition(':')[2]}")
        assert await ask(url, Cookie=renamed) == (200, "token")
    assert (tmp_path / "session.key").stat().st_mode & 0o777 == 0o600


async def test_a_session_has_the_role_of_its_user(tmp_path: Path) -> None:
    token = (await asyncio.to_thread(Users(tmp_path / "users.json").add, "ana", Role.READ)).token
    async with served(gate(tmp_path)) as url:
        _, cookie, _ = await log_in(url, token)
        assert await ask(url, Cookie=cookie) == (200, "user ana")
        status, text = await ask(url, "POST", Cookie=cookie, Origin=url)
        assert (status, json.loads(text)["detail"]) == (403, "cannot allow this: user ana may read and not update")


@pytest.mark.parametrize(
    "end",
    [
        lambda users: users.renew("ana"),
        lambda users: users.alter("ana", enabled=False),
        lambda users: users.remove("ana"),
    ],
    ids=["new token", "disabled", "removed"],
)
async def test_a_session_ends_with_the_token_that_opened_it(tmp_path: Path, end: Callable[[Users], object]) -> None:
    users = Users(tmp_path / "users.json")
    await asyncio.to_thread(users.add, "other", Role.UPDATE)
    token = (await asyncio.to_thread(users.add, "ana", Role.UPDATE)).token
    async with served(gate(tmp_path)) as url:
        _, cookie, _ = await log_in(url, token)
        assert (await ask(url, Cookie=cookie))[0] == 200
        await asyncio.to_thread(end, users)
        assert (await ask(url, Cookie=cookie))[0] == 401


async def test_a_session_of_the_configured_token_ends_when_that_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    async with served(gate(tmp_path, token_file=file)) as url:
        _, cookie, _ = await log_in(url)
        file.write_text("another")
        assert (await ask(url, Cookie=cookie))[0] == 401


async def test_a_session_is_over_after_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(gate(tmp_path, token=TOKEN)) as url:
        _, cookie, _ = await log_in(url)
        monkeypatch.setattr(sessions, "LIFETIME", -1)
        assert (await ask(url, Cookie=cookie))[0] == 401


async def test_a_cookie_that_was_not_signed_here_is_none(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with served(gate(tmp_path, token=TOKEN)) as url, served(gate(tmp_path / "other", token=TOKEN)) as other:
        _, foreign, _ = await log_in(other)
        _, own, _ = await log_in(url)
        name, _, value = own.partition("=")
        for forged in (foreign.partition("=")[2], "", "x", value[:-1], "." + value, value.replace(".", ",", 1)):
            assert (await ask(url, Cookie=f"{name}={forged}"))[0] == 401


async def test_logging_out_takes_the_cookie_back(tmp_path: Path) -> None:
    async with served(gate(tmp_path, token=TOKEN)) as url, ClientSession() as browser:
        response: ClientResponse
        async with browser.post(f"{url}/logout", headers={"Origin": url}) as response:
            (cookie,) = response.cookies.values()
        assert (cookie.value, cookie["max-age"]) == ("", "0")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:1"},
        {"Origin": "{url}", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "{url}", "Sec-Fetch-Site": "same-site"},
        {"Origin": "{url}.evil.example"},
        {"Origin": "http://evil.example@{host}"},
        {"Origin": ""},
    ],
)
async def test_a_session_changes_nothing_for_a_page_of_another_site(tmp_path: Path, headers: dict[str, str]) -> None:
    async with served(gate(tmp_path, token=TOKEN)) as url:
        _, cookie, _ = await log_in(url)
        sent = {name: text.format(url=url, host=url.removeprefix("http://")) for name, text in headers.items()}
        async with ClientSession() as browser, browser.post(url, headers={"Cookie": cookie, **sent}) as response:
            assert (response.status, (await response.json(content_type=None))["code"]) == (403, "forbidden")


async def test_another_site_cannot_log_a_browser_in_or_out(tmp_path: Path) -> None:
    async with served(gate(tmp_path, token=TOKEN)) as url:
        assert (await log_in(url, Origin="https://evil.example"))[:2] == (403, "")
        assert (await ask(f"{url}/logout", "POST", Origin="https://evil.example"))[0] == 403


async def test_a_configured_host_in_front_may_be_the_origin(tmp_path: Path) -> None:
    async with served(gate(tmp_path, token=TOKEN, hosts=("machine.example",))) as url:
        _, cookie, _ = await log_in(url)
        assert (await ask(url, "POST", Cookie=cookie, Origin="https://machine.example"))[0] == 200
        assert (await ask(url, "POST", Cookie=cookie, Origin="https://other.example"))[0] == 403


async def test_a_client_with_the_token_in_its_header_needs_no_origin(tmp_path: Path) -> None:
    async with served(gate(tmp_path, token=TOKEN)) as url:
        assert (await ask(url, "POST", Authorization=f"Bearer {TOKEN}"))[0] == 200


async def test_too_many_wrong_tokens_close_the_door_for_a_while_for_the_right_one_too(tmp_path: Path) -> None:
    """Else the answer to the right one would tell it from the wrong ones."""
    async with served(gate(tmp_path, token=TOKEN)) as url, ClientSession() as browser:
        for _ in range(10):
            assert (await ask(url, Authorization="Bearer wrong"))[0] == 401
        async with browser.get(url, headers={"Authorization": f"Bearer {TOKEN}"}) as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "3")
        assert (await log_in(url))[0] == 429


# what is answered without a credential


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:3000", "LOCALHOST", "a.localhost", "127.0.0.1:1", "[::1]:3000", "10.1.2.3", "{own}"],
)
async def test_without_a_token_the_machines_own_names_are_answered(tmp_path: Path, host: str) -> None:
    async with served(gate(tmp_path)) as url:
        assert (await ask(url, Host=host.format(own=socket.gethostname())))[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:3000", "localhost.evil.example", "127.0.0.1.nip.io"])
async def test_without_a_token_a_name_that_was_made_to_lead_here_is_not_answered(tmp_path: Path, host: str) -> None:
    async with served(gate(tmp_path)) as url:
        status, text = await ask(url, Host=host)
        assert (status, json.loads(text)["code"]) == (421, "unknown_host")


@pytest.mark.parametrize("host", ["", "a b", "x:y", "a@localhost", "[::1", "x/y", "é"])
async def test_a_host_that_is_none_is_a_bad_request(tmp_path: Path, host: str) -> None:
    async with served(gate(tmp_path)) as url:
        assert (await ask(url, Host=host))[0] == 400


async def test_a_configured_name_is_answered_and_so_is_what_is_below_it(tmp_path: Path) -> None:
    async with served(gate(tmp_path, hosts=("machine", ".example.com"))) as url:
        statuses = [
            (await ask(url, Host=host))[0] for host in ("machine", "a.b.example.com", "example.com", "xmachine")
        ]
    assert statuses == [200, 200, 421, 421]
