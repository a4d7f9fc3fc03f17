"""The README's examples for asking without the command file, run as they stand there against the real application."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.docker import Done
from tests.support.running import TOKEN, served

README = (Path(__file__).parents[2] / "README.md").read_text()


def example(name: str) -> str:
    found = re.search(rf"<!-- example: {name} -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert found, f"the README has no example {name}"
    return found[1]


async def shell(script: str, folder: Path, **environ: str) -> Done:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    child = await asyncio.create_subprocess_exec(
        *("sh", "-eu", "-c", script),
        cwd=folder,
        env={"PATH": path, "HOME": str(folder), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        stdout, stderr = await child.communicate()
    return Done(child.returncode or 0, stdout.decode(), stderr.decode())


@pytest.mark.parametrize(("token", "code"), [(TOKEN, 0), ("another", 22)])
async def test_http_example_streams_the_progress_to_whoever_has_the_token(
    tmp_path: Path, token: str, code: int
) -> None:
    (tmp_path / "auth").write_text(f"Authorization: Bearer {token}\n")
    async with served(tmp_path, REFRESHD_TOKEN=TOKEN) as machine:
        done = await shell(example("http"), tmp_path, MACHINE=machine.tcp_url)
    assert done.code == code, done.stderr
    assert ("event: end" in done.stdout) == (code == 0)
    if code == 0:
        assert done.stdout.index("event: entry") < done.stdout.index('"state": "unchanged"')


async def test_socket_example_updates_without_a_token(tmp_path: Path) -> None:
    async with served(tmp_path, REFRESHD_TOKEN=TOKEN):
        done = await shell(example("socket"), tmp_path)
    assert done.code == 0, done.stderr
    update, end = json.JSONDecoder().raw_decode(done.stdout)
    assert update["state"] == "unchanged"
    assert "running" in done.stdout[end:]
