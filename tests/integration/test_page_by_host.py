"""The button of a machine that its host updates: the whole round in a real browser, by the command file."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import expect

from daemon.command_file import contract
from daemon.host.inbox import Inbox
from daemon.host.listener import Listener, Pace
from daemon.host.machine import Reached
from tests.support.browser import context
from tests.support.listening import App, new_folder, running
from tests.support.machine import IGNORED, TOKEN, HostMachine
from tests.support.running import Served, served

PATIENCE = 30_000  # milliseconds, for a machine that is busy with other tests


@pytest.fixture
def app(tmp_path: Path) -> App:
    return new_folder(tmp_path / "state-of-host")


@pytest.fixture
def patient() -> Iterator[None]:
    expect.set_options(timeout=PATIENCE)
    yield
    expect.set_options(timeout=None)


@pytest.mark.usefixtures("patient")
async def test_button_asks_the_host_and_the_page_follows_what_comes_of_it(app: App, tmp_path: Path) -> None:
    async with HostMachine(files={".gitignore": IGNORED}, env={"REFRESHD_COMMANDS": str(app.folder)}) as machine:
        await machine.service.wait_ready()
        inbox = Inbox(tmp_path / "state-of-host", *contract.INSIDE)
        listener = Listener(Reached("m", machine.client), inbox, default_branch="main", pace=Pace(poll=0.1))
        async with context() as opened:
            page = await opened.new_page()
            await page.goto(machine.url)
            await page.get_by_label("Token").fill(TOKEN)
            await page.keyboard.press("Enter")
            button, heading = page.locator("#ask"), page.get_by_role("heading", level=1)

            target = machine.upstream.slow()
            await page.get_by_label("Branch, tag or full commit id").fill("main")
            await button.click()
            await expect(page.locator("#asked")).to_contain_text("Asked the host")
            await expect(button).to_be_disabled()
            async with running(listener):
                await expect(page.get_by_role("list", name="Steps")).to_contain_text("Restarting")
                await expect(page.locator("#outcome")).to_contain_text("Confirmed by the new process")
                await expect(heading).to_contain_text(target[:12])
                await expect(button).to_be_enabled()
                assert (await app.answer())["outcome"] == "succeeded"
            async with machine.client() as client:
                assert [update.request.trigger for update in await client.updates(1)] == ["command_file"]
            await expect(page.locator("body")).to_contain_text("(command file)")


@pytest.fixture
async def page(tmp_path: Path, app: App) -> AsyncIterator["Form"]:
    (tmp_path / "state").mkdir()
    async with (
        served(tmp_path, REFRESHD_TOKEN=TOKEN, REFRESHD_COMMANDS=str(app.folder)) as machine,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
    ):
        yield Form(machine, session)


class Form:
    """The page without scripts."""

    def __init__(self, machine: Served, session: aiohttp.ClientSession) -> None:
        self.machine = machine
        self._session = session

    async def post(self, path: str, **form: str) -> int:
        url = self.machine.tcp_url
        async with self._session.post(url + path, data=form, headers={"Origin": url}, allow_redirects=False) as answer:
            return answer.status

    async def text(self) -> str:
        async with self._session.get(self.machine.tcp_url) as answer:
            return await answer.text()


async def test_nothing_is_updated_before_the_host_does_it(page: Form, app: App) -> None:
    await page.post("/login", token=TOKEN)
    assert await page.post("/update", target="main") == 303
    assert app.command.exists()
    assert "Asked the host" in await page.text()
    assert await page.machine.daemon.journal.history() == []
    assert await page.post("/update", target="main") == 409, "a request waits there already"


async def test_what_the_host_refuses_is_shown(page: Form, app: App) -> None:
    await page.post("/login", token=TOKEN)
    await page.post("/update", target="main")
    request = contract.read_request(app.command.read_bytes())
    app.command.unlink()
    at = "2026-01-01T00:00:00Z"
    refusal = {"status": "error", "request_id": request.request_id, "message": "cannot <b>"}
    app.result.write_text(json.dumps(refusal | {"started_at": at, "finished_at": at}))
    text = await page.text()
    assert "The host did not do it." in text
    assert "cannot &lt;b&gt;" in text
    assert await page.post("/update", target="main") == 303, "it can be asked again"


async def test_folder_that_is_not_there_is_a_refusal(page: Form, app: App) -> None:
    app.folder.rmdir()
    await page.post("/login", token=TOKEN)
    assert await page.post("/update", target="main") == 503
