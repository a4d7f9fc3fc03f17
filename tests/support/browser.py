"""A real browser: the system's Chromium, without a window."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright


def chromium() -> str:
    """Its path. Skips the test where there is none, except in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("tests in a browser must run in CI, and there is no chromium")
    return found or pytest.skip("there is no chromium")


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        # as root, Chromium runs without its sandbox or not at all
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = await playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield opened
        finally:
            await opened.close()


@contextlib.asynccontextmanager
async def context(**options: object) -> AsyncIterator[BrowserContext]:
    """One person's browser; options are those of Playwright, such as viewport and color_scheme."""
    async with browser() as opened:
        yield await opened.new_context(**options)  # type: ignore[arg-type] # passed on as they are
