"""The repository of a submodule: where it is checked out, else where git keeps it, made there if it is new."""

import asyncio
import os
import secrets
import shutil
from pathlib import Path

from daemon.errors import CheckoutError
from daemon.git import Git
from daemon.sources.blame import blamed
from daemon.sources.checkout import OFFLINE, Repository
from daemon.sources.git.gitmodules import Submodule


async def checked_out(folder: Path) -> bool:
    return await asyncio.to_thread(_is_checked_out, folder)


def _is_checked_out(folder: Path) -> bool:
    # a link in place of the folder, or of one above it, may lead anywhere
    return os.path.realpath(folder) == str(folder) and os.path.lexists(folder / ".git")


async def module_of(parent: Repository, submodule: Submodule) -> Repository:
    """Raises CheckoutError."""
    folder = parent.folder / submodule.path
    if await checked_out(folder):
        return await Repository.open(folder, limit=parent.git.timeout)
    with blamed(CheckoutError, parent.folder):
        where = await parent.git("rev-parse", "--path-format=absolute", "--git-path", f"modules/{submodule.name}")
        git_dir = Path(where.text)
        if not await asyncio.to_thread((git_dir / "HEAD").exists):
            await _make(git_dir, parent, submodule)
    git = Git(folder=git_dir, git_dir=git_dir, timeout=parent.git.timeout, env=OFFLINE)
    return await Repository.describe(git)


async def _make(git_dir: Path, parent: Repository, submodule: Submodule) -> None:
    """Appears whole or not at all: git would take half of one for a repository that needs nothing more."""
    modules = git_dir.parents[submodule.name.count("/")]
    aside = await asyncio.to_thread(_make_folder, modules, git_dir, parent.folder)
    try:
        git = Git(folder=aside, timeout=parent.git.timeout)
        kind = "sha256" if len(submodule.commit) == 64 else "sha1"  # noqa: PLR2004 - the digits of such an id
        await git("init", "--quiet", "--bare", "--template=", f"--object-format={kind}", ".")
        await git("config", "core.bare", "false")
        url = parent.config.get(f"submodule.{submodule.name}.url", submodule.url)
        await asyncio.to_thread(_name_origin, aside / "config", url)
        await asyncio.to_thread(aside.replace, git_dir)
    finally:
        await asyncio.to_thread(shutil.rmtree, aside, ignore_errors=True)


def _make_folder(modules: Path, git_dir: Path, checkout: Path) -> Path:
    between = git_dir.relative_to(modules).parents
    if any((modules / parent / "HEAD").exists() for parent in between):
        raise CheckoutError(path=str(checkout), reason=f"{git_dir} would lie in the repository of another submodule")
    aside = git_dir.with_name(f".refreshd-{secrets.token_hex(8)}")
    aside.mkdir(parents=True)
    return aside


def _name_origin(config: Path, url: str) -> None:
    """As a clone would; not by `git config`, for a URL with somebody's credentials would be in the process list."""
    quoted = url.replace("\\", "\\\\").replace('"', '\\"')
    with config.open("a") as file:
        file.write(f'[remote "origin"]\n\turl = "{quoted}"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n')
