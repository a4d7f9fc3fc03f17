"""The host's repository of the simplest machine: one page, in commit after commit."""

import asyncio
from pathlib import Path

from tests.support.docker import Machine
from tests.support.machine import git

PATIENCE = 120.0  # seconds: the first start copies and installs


def new_repo(folder: Path) -> Path:
    repo = folder / "repo"
    repo.mkdir()
    git(repo, "init", "--quiet", "--initial-branch=main")
    commit_page(repo, "one")
    return repo


def commit_page(repo: Path, content: str) -> str:
    (repo / "page.txt").write_text(content)
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", content)
    return git(repo, "rev-parse", "HEAD")


async def page_in(machine: Machine) -> str:
    return (await machine.exec("cat", "/home/iterate/repo/page.txt")).stdout


async def until_healthy(machine: Machine) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await machine.exec("refreshd", "status", "--quiet", check=False)).code != 0:  # noqa: ASYNC110 - afar
            await asyncio.sleep(0.3)
