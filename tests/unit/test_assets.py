"""How style sheets and scripts are served."""

import asyncio
import re
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from daemon.web.assets import BASE, Assets

SERVED = f"{BASE}/{{digest}}/{{name}}"


async def get(assets: Assets, path: str) -> tuple[int, dict[str, str], str]:
    app = web.Application()
    app.router.add_get(SERVED, assets.serve)
    async with TestClient(TestServer(app)) as client, client.get(path) as response:
        return response.status, dict(response.headers), await response.text()


async def test_an_address_names_the_content_and_is_cached_for_ever() -> None:
    assets = Assets()
    url = await asyncio.to_thread(assets.url, "base.css")
    status, headers, text = await get(assets, url)
    assert status == 200
    assert headers["Content-Type"] == "text/css; charset=utf-8"
    assert "immutable" in headers["Cache-Control"]
    assert "prefers-color-scheme: dark" in text


async def test_an_address_of_before_gives_what_there_is_now_and_is_not_kept() -> None:
    status, headers, _ = await get(Assets(), f"{BASE}/0000/base.css")
    assert (status, headers["Cache-Control"]) == (200, "no-cache")


@pytest.mark.parametrize("name", ["none.css", "__init__.py", "assets.py", "..%2Fapp.py", "%2Fetc%2Fpasswd"])
async def test_nothing_else_of_the_package_is_served(name: str) -> None:
    assert (await get(Assets(), f"{BASE}/0/{name}"))[0] == 404


def test_the_file_of_a_later_folder_counts(tmp_path: Path) -> None:
    (tmp_path / "base.css").write_text("body {}")
    assert Assets(tmp_path).url("base.css") != Assets().url("base.css")


def test_the_style_sheet_fetches_nothing_from_elsewhere() -> None:
    text = (Path(__file__).parents[2] / "daemon/web/base.css").read_text()
    assert not re.search(r"url\(|@import|https?:", text)
