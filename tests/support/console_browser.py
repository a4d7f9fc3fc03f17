"""The same browser for tests that are not asynchronous: one of them may be shared by a whole file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.browser import chromium

PATIENCE = 60_000.0  # milliseconds
PICTURES = "REFRESHD_PICTURES"  # the folder that the README's pictures are written to, where they are wanted


@contextmanager
def browser() -> Iterator[Browser]:
    # as root, Chromium runs without its sandbox or not at all
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield started
        finally:
            started.close()


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get(PICTURES):
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=Path(folder) / f"{name}.png")
