"""The machine's page in a real browser, through real updates under s6."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from daemon.models import Problem
from daemon.states import Event
from tests.support.browser import context
from tests.support.machine import IGNORED, TOKEN, HostMachine
from tests.support.running import served

PATIENCE = 30_000  # milliseconds, for a machine that is busy with other tests
WITHOUT_PNPM = {".gitignore": IGNORED}


@pytest.fixture
async def machine() -> AsyncIterator[HostMachine]:
    expect.set_options(timeout=PATIENCE)
    async with HostMachine(files=WITHOUT_PNPM) as machine:
        await machine.service.wait_ready()
        yield machine


async def log_in(page: Page, machine: HostMachine) -> None:
    await page.goto(machine.url)
    await page.get_by_label("Token").fill(TOKEN)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("This machine runs")


async def test_an_update_is_followed_through_the_restart_and_back_again(machine: HostMachine) -> None:
    """One visit, because a machine takes its time: success, failure, another's update, rollback; never a reload."""
    async with context() as opened:
        page = await opened.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if "policy" in message.text.lower() else None)
        await log_in(page, machine)
        heading, button = page.get_by_role("heading", level=1), page.locator("#ask")
        await page.evaluate("window.same = true")

        target = machine.upstream.slow()
        await page.get_by_label("Branch, tag or full commit id").fill("main")
        await button.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("list", name="Steps")).to_contain_text("Restarting")
        await expect(button).to_be_disabled()
        await expect(page.locator("#outcome")).to_contain_text("1 file changed")
        await expect(page.locator("#outcome")).to_contain_text("Confirmed by the new process")
        await expect(heading).to_contain_text(target[:12])
        await expect(page.get_by_role("status")).to_have_text("The update succeeded.")
        await expect(button).to_be_focused()

        await page.get_by_label("Branch, tag or full commit id").fill("no-such-branch")
        await button.click()
        await expect(page.locator("#outcome")).to_contain_text("nothing was touched")
        await expect(page.get_by_role("button", name="Try again")).to_be_enabled()

        async with machine.client() as client:
            await client.update(machine.first)
        await page.evaluate("look()")
        await expect(heading).to_contain_text(machine.first[:12])

        await page.locator(".updates summary").first.click()
        await page.get_by_role("button", name="Go back to before this update").first.click()
        await expect(heading).to_contain_text(target[:12])
        assert await page.evaluate("window.same") is True

        # with the page's session: what was counted before the restarts is still there
        counted = await (await page.request.get(f"{machine.url}/metrics")).text()
        assert 'refreshd_updates_total{from="known",result="failed",source="git",to="name"} 1.0' in counted
        assert 'refreshd_updates_total{from="known",result="succeeded",source="snapshot",to="rollback"} 1.0' in counted
        assert "\nrefreshd_lame_duck_seconds 0." in counted
        assert problems == []


async def test_a_narrow_phone_shows_everything_without_scrolling_sideways(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    async with (
        served(tmp_path, REFRESHD_TOKEN=TOKEN) as machine,
        context(viewport={"width": 320, "height": 700}) as own,
    ):
        journal = machine.daemon.journal
        request = {"target_ref": f"refs/heads/{'long-name-' * 20}", "trigger": "rest"}
        update = await journal.create({"request": request})
        error = Problem(code="remote_failed", message="m" * 200, detail="d" * 500).snake()
        await journal.advance(update.id, Event.FAIL, error=error)
        page = await own.new_page()
        await page.goto(machine.tcp_url)
        assert await page.evaluate("document.documentElement.scrollWidth") == 320
        await page.get_by_label("Token").fill(TOKEN)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="History")).to_be_visible()
        for summary in await page.locator("summary").all():
            await summary.click()
        await expect(page.locator("#log pre")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") == 320


async def test_without_scripts_forms_and_a_page_that_loads_itself_again_do(machine: HostMachine) -> None:
    async with context(java_script_enabled=False) as opened:
        page = await opened.new_page()
        await log_in(page, machine)
        target = machine.upstream.slow()
        await page.get_by_label("Branch, tag or full commit id").fill(target)
        await page.locator("#ask").click()
        await expect(page.locator("#ask")).to_be_disabled()
        await expect(page.locator("#outcome")).to_contain_text("Confirmed by the new process")
