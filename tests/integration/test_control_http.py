"""The control plane over real sockets: who may, what other sites cannot do, pages without a browser, and tRPC."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientSession, CookieJar

from daemon.auth.users import Users
from daemon.control.app import Control
from daemon.models import Role
from tests.support.control_app import TOKEN, served
from tests.support.control_world import entry, write_inventory
from tests.support.fake_machine import NEW, OLD, FakeMachine, Pause, begins, succeeds
from tests.support.trpc_node import Call, Client, install, newest, outcomes

ID = "inventory.m"


@dataclass
class World:
    control: Control
    url: str
    machine: FakeMachine
    folder: Path
    session: ClientSession

    async def get(self, path: str, **headers: str) -> tuple[int, str, str]:
        async with self.session.get(self.url + path, headers=headers, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Location", ""), await answer.text()

    async def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> tuple[int, str, str]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(self.url + path, data=form or {}, headers=given, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Location", ""), await answer.text()

    async def log_in(self, token: str = TOKEN, target: str = "/") -> tuple[int, str, str]:
        return await self.post("/login", {"token": token, "next": target}, Origin=self.url)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with FakeMachine(token="t") as machine, ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
        inventory = tmp_path / "inventory.json"
        write_inventory(inventory, [entry(machine, tmp_path), entry(machine, tmp_path, "mine", "local")])
        async with served(tmp_path, inventory) as (control, url):
            yield World(control, url, machine, tmp_path, session)


async def test_a_stranger_is_sent_to_the_login_and_back(world: World) -> None:
    assert await world.get(f"/machines/{ID}") == (303, "/login?next=%2Fmachines%2Finventory.m", "")
    status, where, _ = await world.log_in(target=f"/machines/{ID}")
    assert (status, where) == (303, f"/machines/{ID}")
    status, _, page = await world.get(where)
    assert status == 200
    assert OLD[:10] in page
    assert "update available" in page


@pytest.mark.parametrize(
    "target", ["https://evil.test/", "//evil.test/", "/\\evil.test", "javascript:alert(1)", "/a\tb"]
)
async def test_the_login_leads_to_no_other_site(world: World, target: str) -> None:
    status, where, _ = await world.log_in(target=target)
    assert (status, where) == (303, "/")


async def test_a_wrong_token_opens_nothing(world: World) -> None:
    status, _, page = await world.log_in("planted-secret")
    assert status == 401
    assert "This token opens nothing." in page
    assert "planted-secret" not in page
    assert (await world.get("/"))[0] == 303


async def test_the_cookie_is_for_the_browser_alone_and_for_this_site_alone(world: World) -> None:
    async with world.session.post(
        f"{world.url}/login", data={"token": TOKEN}, headers={"Origin": world.url}, allow_redirects=False
    ) as answer:
        cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie


@pytest.mark.parametrize("origin", [None, "https://evil.test", "null"])
async def test_a_form_of_another_site_does_nothing(world: World, origin: str | None) -> None:
    await world.log_in()
    url = f"{world.url}/machines/{ID}/refresh"
    async with world.session.post(url, headers={} if origin is None else {"Origin": origin}) as answer:
        assert answer.status == 403
    assert world.machine.asked() == []


async def test_a_reader_sees_everything_and_changes_nothing(world: World) -> None:
    users = Users(world.folder / "control" / "users.json")
    issued = await asyncio.to_thread(users.add, "reader", Role.READ)
    await world.log_in(issued.token)
    status, _, page = await world.get(f"/machines/{ID}")
    assert status == 200
    assert "Refresh Code" not in page
    status, _, page = await world.post(f"/machines/{ID}/refresh", Origin=world.url)
    assert status == 403
    assert "reader may read and not update" in page
    assert world.machine.asked() == []


async def test_pages_work_without_a_script(world: World) -> None:
    """A form, a redirect, and a page that is asked for again while it is busy."""
    world.machine.script = [*begins(), Pause(0.5), *succeeds()[len(begins()) :]]
    await world.log_in()
    status, where, _ = await world.post(f"/machines/{ID}/refresh", Origin=world.url)
    assert (status, where) == (303, f"/machines/{ID}")
    _, _, busy = await world.get(where)
    assert 'http-equiv="refresh"' in busy
    assert "Refreshing…" in busy
    async with asyncio.timeout(10):
        await world.control.fleet.until(ID, lambda view: bool(view and not view.busy))
    _, _, done = await world.get(where)
    assert "Confirmed: a new daemon answers" in done
    assert 'http-equiv="refresh"' not in done
    assert "M y" in done


async def test_refresh_is_offered_only_where_it_is_supported(world: World) -> None:
    await world.log_in()
    _, _, page = await world.get("/machines/inventory.mine")
    assert "Refresh Code" not in page
    assert "the host&#39;s own code" in page
    status, _, page = await world.post("/machines/inventory.mine/refresh", Origin=world.url)
    assert status == 422
    assert "do not support it" in page


async def test_what_is_not_there_is_a_page_that_says_so(world: World) -> None:
    await world.log_in()
    status, _, page = await world.get("/machines/inventory.%3Cscript%3E")
    assert status == 404
    assert "cannot find the machine" in page
    assert "<script>" not in page.partition("<main")[2]
    assert (await world.post(f"/machines/{ID}/explode", Origin=world.url))[0] == 400


async def test_a_second_refresh_is_a_toast_that_names_the_first(world: World) -> None:
    world.machine.script = [*begins(), Pause(0.5), *succeeds()[len(begins()) :]]
    await world.log_in()
    await world.post(f"/machines/{ID}/refresh", Origin=world.url, HX_Request="true")
    async with world.session.post(
        f"{world.url}/machines/{ID}/refresh", headers={"Origin": world.url, "HX-Request": "true"}
    ) as answer:
        assert (answer.status, answer.headers["HX-Retarget"]) == (409, "#toasts")
        assert "is under way" in await answer.text()


async def test_nobody_but_ourselves_is_loaded_or_framed(world: World) -> None:
    async with world.session.get(f"{world.url}/login") as answer:
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        page = await answer.text()
    assert "http://" not in page
    assert "https://" not in page
    assert "<style" not in page
    assert "onclick" not in page


async def test_users_are_kept_by_the_same_rules_as_in_a_machine(world: World) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with world.session.post(
        f"{world.url}/api/v1/users", json={"name": "ann", "role": "update"}, headers=headers
    ) as answer:
        assert answer.status == 201
        token = (await answer.json())["token"]
    assert (await world.log_in(token))[0] == 303


async def test_list_and_page_are_told_of_changes(world: World) -> None:
    await world.log_in()
    events: list[str] = []

    async def listen(path: str, until: str) -> None:
        async with world.session.get(f"{world.url}{path}", timeout=aiohttp.ClientTimeout(10)) as answer:
            async for line in answer.content:
                events.append(line.decode())
                if until in events[-1]:
                    return

    watching = [
        asyncio.create_task(listen("/machines/events", "up to date")),
        asyncio.create_task(listen(f"/machines/{ID}/events", "event: ended")),
    ]
    await asyncio.sleep(0.1)
    await world.post(f"/machines/{ID}/refresh", Origin=world.url)
    await asyncio.gather(*watching)
    told = "".join(events)
    assert f"event: row-{ID}" in told
    assert told.index("Code updated, daemon restarting…") < told.index("Confirmed: a new daemon answers")


@pytest.fixture(scope="module")
def trpc_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(newest(), tmp_path_factory.mktemp("trpc-client"))


async def test_the_trpc_client_lists_gets_refreshes_and_is_refused(trpc_client: Path, world: World) -> None:
    def ask(token: str | None, *calls: Call) -> Client:
        return Client(link="httpBatchLink", url=f"{world.url}/api/trpc", token=token, calls=calls)

    [[listed, got, unknown]] = await outcomes(
        trpc_client,
        ask(
            TOKEN,
            Call("machine.list"),
            Call("machine.get", input={"id": ID}),
            Call("machine.get", input={"id": "no"}),
        ),
    )
    assert {machine["id"] for machine in listed["data"]} == {ID, "inventory.mine"}
    assert (got["data"]["updateAvailable"], got["data"]["version"]["running"]["sha"]) == (True, OLD)
    assert code(unknown) == "NOT_FOUND"
    [[unsupported, refreshed], [stranger]] = await outcomes(
        trpc_client,
        ask(
            TOKEN,
            Call("machine.refreshCode", "mutation", {"id": "inventory.mine"}),
            Call("machine.refreshCode", "mutation", {"id": ID}),
        ),
        ask(None, Call("machine.refreshCode", "mutation", {"id": ID})),
    )
    assert (unsupported["data"]["success"], unsupported["data"]["outcome"]) == (False, "unsupported")
    assert (refreshed["data"]["success"], refreshed["data"]["from"], refreshed["data"]["to"]) == (True, OLD, NEW)
    assert code(stranger) == "UNAUTHORIZED"


async def test_a_subscription_is_told_how_a_machine_is_and_then_what_is_done_to_it(
    trpc_client: Path, world: World
) -> None:
    refresh = Call("machine.refreshCode", "mutation", {"id": ID})
    watching = Call("machine.onChange", "subscription", {"id": ID}, until=2, once_open=refresh)
    unknown = Call("machine.onChange", "subscription", {"id": "no"})
    [[told, refused]] = await outcomes(
        trpc_client,
        Client(link="httpSubscriptionLink", url=f"{world.url}/api/trpc", token=TOKEN, calls=[watching, unknown]),
    )
    before, during = (event["data"] for event in told["events"])
    assert (before["id"], before["machine"]["operation"], before["machine"]["updateAvailable"]) == (ID, None, True)
    assert during["machine"]["operation"]["activity"] == "refresh"
    assert code(refused) == "NOT_FOUND"


def code(outcome: dict[str, Any]) -> str:
    name: str = outcome["error"]["data"]["code"]
    return name
