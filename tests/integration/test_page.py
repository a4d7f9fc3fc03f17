"""The machine's page, asked by plain HTTP: who may see it, what it says, and what it keeps out."""

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from daemon.models import Problem
from daemon.states import Event
from tests.support.running import TOKEN, Answer, Served, served

UNKNOWN_BRANCH = {"target": "no-such-branch"}


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Served]:
    (tmp_path / "state").mkdir()
    async with served(tmp_path, REFRESHD_TOKEN=TOKEN) as machine:
        yield machine


class Visitor:
    """A browser without scripts: keeps cookies, and says where its forms come from."""

    def __init__(self, machine: Served, session: aiohttp.ClientSession) -> None:
        self._url = machine.tcp_url
        self._session = session

    async def get(self, path: str = "/", **headers: str) -> Answer:
        return await self._ask("GET", path, headers=headers)

    async def post(self, path: str, form: dict[str, str], *, origin: str | None = "", **headers: str) -> Answer:
        """`origin`: the page's own by default; None sends none."""
        own = f"http://{urlsplit(self._url).netloc}"
        sent = {} if origin is None else {"Origin": origin or own}
        return await self._ask("POST", path, data=form, headers=sent | headers)

    async def log_in(self, token: str = TOKEN) -> Answer:
        return await self.post("/login", {"token": token})

    async def _ask(self, method: str, path: str, **more: object) -> Answer:
        async with self._session.request(method, self._url + path, allow_redirects=False, **more) as response:  # type: ignore[arg-type] # passed on
            return Answer(response.status, response.headers, await response.text(), None)


@pytest.fixture
async def visitor(machine: Served) -> AsyncIterator[Visitor]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield Visitor(machine, session)


async def count(machine: Served) -> int:
    return len(await machine.daemon.journal.history())


async def test_who_has_no_session_gets_a_form_and_learns_nothing(machine: Served, visitor: Visitor) -> None:
    answer = await visitor.get()
    assert answer.status == 401
    assert 'type="password"' in answer.text
    assert "WWW-Authenticate" not in answer.headers
    sha = await machine.daemon.version.head.read()
    assert sha
    assert sha[:12] not in answer.text


async def test_the_token_opens_the_page_and_logging_out_closes_it(visitor: Visitor) -> None:
    assert (await visitor.log_in()).status == 303
    page = await visitor.get()
    assert page.status == 200
    assert "This machine runs" in page.text
    assert (await visitor.post("/logout", {})).status == 303
    assert (await visitor.get()).status == 401


async def test_a_wrong_token_is_told_and_opens_nothing(visitor: Visitor) -> None:
    answer = await visitor.log_in("wrong")
    assert answer.status == 401
    assert "This token is not valid." in answer.text
    assert "Set-Cookie" not in answer.headers
    assert (await visitor.get()).status == 401


async def test_without_scripts_a_form_starts_an_update_and_leads_back(machine: Served, visitor: Visitor) -> None:
    await visitor.log_in()
    answer = await visitor.post("/update", UNKNOWN_BRANCH)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    [update] = await machine.daemon.journal.history()
    assert (update.request.trigger, update.request.by) == ("page", "token")
    await machine.daemon.engine.wait(update.id)
    page = (await visitor.get()).text
    assert "The update failed, and nothing was touched." in page
    assert "Try again" in page


@pytest.mark.parametrize("origin", ["http://evil.example", "null", None])
async def test_a_form_of_another_site_changes_nothing(machine: Served, visitor: Visitor, origin: str | None) -> None:
    await visitor.log_in()
    for path, form in (("/update", UNKNOWN_BRANCH), ("/rollback", {"id": "last"})):
        assert (await visitor.post(path, form, origin=origin)).status == 403
    assert await count(machine) == 0


async def test_a_form_that_a_browser_calls_cross_site_changes_nothing(machine: Served, visitor: Visitor) -> None:
    await visitor.log_in()
    answer = await visitor.post("/update", UNKNOWN_BRANCH, **{"Sec-Fetch-Site": "cross-site"})
    assert (answer.status, await count(machine)) == (403, 0)


async def test_without_a_session_nothing_can_be_asked_for(machine: Served, visitor: Visitor) -> None:
    assert (await visitor.post("/update", UNKNOWN_BRANCH)).status == 401
    assert await count(machine) == 0


async def test_a_ref_that_is_none_is_refused_with_what_was_typed(machine: Served, visitor: Visitor) -> None:
    await visitor.log_in()
    answer = await visitor.post("/update", {"target": '--upload-pack="x"'})
    assert answer.status == 400
    assert "It was refused." in answer.text
    assert 'value="--upload-pack=&#34;x&#34;"' in answer.text
    assert await count(machine) == 0


async def test_only_forms_are_read(machine: Served, visitor: Visitor) -> None:
    await visitor.log_in()
    answer = await visitor.post("/update", UNKNOWN_BRANCH, **{"Content-Type": "text/plain"})
    assert (answer.status, await count(machine)) == (415, 0)


async def test_a_reader_sees_the_page_and_no_button(machine: Served, visitor: Visitor) -> None:
    token = (await machine.post("/api/v1/users", {"name": "ada", "role": "update"})).json["token"]
    reader = (await machine.post("/api/v1/users", {"name": "bob", "role": "read"})).json["token"]
    assert token != reader
    await visitor.log_in(reader)
    page = await visitor.get()
    assert page.status == 200
    assert "You may read, and not update." in page.text
    assert 'action="/update"' not in page.text
    assert (await visitor.post("/update", UNKNOWN_BRANCH)).status == 403
    assert await count(machine) == 0


async def test_what_an_update_says_cannot_become_markup(machine: Served, visitor: Visitor) -> None:
    hostile = "<script>alert(1)</script>"
    update = await machine.daemon.journal.create({"request": {"target_ref": f"x{hostile}", "trigger": "rest"}})
    problem = Problem(code="remote_failed", message=hostile, detail=f"</pre>{hostile}").snake()
    await machine.daemon.journal.advance(update.id, Event.FAIL, error=problem, notes=[hostile])
    await visitor.log_in()
    page = (await visitor.get()).text
    assert "<script>alert" not in page
    assert unescape(page).count(hostile) >= 4


async def test_nothing_on_the_page_is_inline_or_from_elsewhere(visitor: Visitor) -> None:
    for _ in range(2):
        page = await visitor.get()
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|javascript:", page.text)
        assert not re.search(r"""(?:src|href|action)=["'](?!/|#)""", page.text)
        assert page.headers["Cache-Control"] == "no-store"
        await visitor.log_in()


async def test_every_file_that_the_page_names_is_there(visitor: Visitor) -> None:
    await visitor.log_in()
    names = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', (await visitor.get()).text))
    assert {name.rpartition("/")[2] for name in names} == {"base.css", "page.css", "page.js", "icon.svg"}
    for name in names:
        assert (await visitor.get(name)).status == 200


async def test_the_control_planes_commit_is_offered_where_it_is_another(tmp_path: Path) -> None:
    wanted = "c0ffee" + 34 * "0"
    async with served(tmp_path, ITERATE_GIT_SHA=wanted) as machine:
        page = (await machine.get("/")).text
    assert "update available" in page
    assert f'value="{wanted}"' in page


async def test_a_machine_without_a_token_shows_loopback_how_to_get_one(tmp_path: Path) -> None:
    async with served(tmp_path) as machine, aiohttp.ClientSession() as session:
        visitor = Visitor(machine, session)
        page = await visitor.get()
        assert page.status == 200
        assert "refreshd user add NAME --role update" in page.text
        assert 'action="/update"' not in page.text
        assert (await visitor.post("/update", UNKNOWN_BRANCH)).status == 403


async def test_through_the_socket_the_page_needs_no_session(machine: Served) -> None:
    answer = await machine.get("/")
    assert answer.status == 200
    assert 'action="/update"' in answer.text
    assert 'action="/logout"' not in answer.text
