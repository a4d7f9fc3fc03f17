"""The API's own description, and a stranger who believes every word of it."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.triggers.openapi import PATH
from tests.support.running import TOKEN, Served, served

CONFIGURATION = Path(__file__).parents[1] / "support" / "schemathesis.toml"
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


async def document(world: Served) -> dict[str, Any]:
    found: dict[str, Any] = (await world.get(PATH)).json
    return found


async def believed(world: Served, document: dict[str, Any], folder: Path, *words: str) -> tuple[int, str]:
    """What schemathesis says of a server and its description: the exit code, and why."""
    described = folder / "openapi.json"
    described.write_text(json.dumps(document))
    said = await asyncio.create_subprocess_exec(
        *(SCHEMATHESIS, "--config-file", CONFIGURATION, "run", described, "--url", world.tcp_url),
        *("--header", f"Authorization: Bearer {TOKEN}", "--request-timeout", "10", "--no-color", *words),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await said.communicate()
    return await said.wait(), output.decode()[-4000:]


@pytest.mark.timeout(300)  # many requests, on machines that have other things to do
async def test_the_server_keeps_every_word_of_its_description(tmp_path: Path) -> None:
    async with served(tmp_path, REFRESHD_TOKEN=TOKEN) as world:
        world.daemon.ready.set()
        code, why = await believed(world, await document(world), tmp_path)
        assert code == 0, why


async def test_a_description_that_is_not_true_is_noticed(tmp_path: Path) -> None:
    """The judge of the test above can say no."""
    async with served(tmp_path, REFRESHD_TOKEN=TOKEN) as world:
        lie = await document(world)
        lie["components"]["schemas"]["Version"]["properties"]["boot_id"] = {"type": "integer"}
        code, why = await believed(
            world, lie, tmp_path, "--include-path", "/api/v1/version", "--phases", "fuzzing", "-n", "1"
        )
        assert code == 1
        assert "boot_id" in why


async def test_every_route_is_described_and_no_other(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        paths = (await document(world))["paths"]
        real = {
            (route.method.lower(), route.resource.canonical)
            for route in world.daemon.app.router.routes()
            if route.resource and route.method not in {"*", "HEAD"}
        }
        described = {(method, path) for path, item in paths.items() for method in item}
        assert {(method, path) for method, path in real if path.startswith("/api/v1")} <= described <= real


async def test_errors_are_described_with_examples(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        update = (await document(world))["paths"]["/api/v1/update"]["post"]
        examples = {
            code: example["value"]
            for answer in update["responses"].values()
            for code, example in answer["content"].get("application/problem+json", {}).get("examples", {}).items()
        }
        assert {"bad_request", "invalid_ref", "unauthorized", "forbidden", "update_running", "internal"} <= set(
            examples
        )
        assert all(example["code"] == code for code, example in examples.items())
        assert not [example for example in examples.values() if re.search(r"[{}]", example["detail"])]


async def test_the_description_is_made_once(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        assert (await world.get(PATH)).text == (await world.get(PATH)).text
        assert (await world.get(PATH)).headers["Content-Type"] == "application/json; charset=utf-8"
