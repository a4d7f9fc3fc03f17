"""Where packages are kept: in the store that a plain `pnpm install` in the checkout would use.

Whoever works in the machine calls pnpm too. With another store than the one that `node_modules` was made from, pnpm
makes all of it anew: 12 without a word, 10 with a question that fails where there is no terminal. So the store on
record comes first, and pnpm's own choice (on the checkout's file system, by its rules) second. Inside the checkout the
store must be invisible to git, or it would be taken for local edits.
"""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from daemon.git import Git

_GIT_TIMEOUT = 30  # seconds
_LAYOUT = re.compile(r"/v\d+/?$")  # pnpm appends the version of the store's layout itself
# of node_modules/.modules.yaml, which is YAML or JSON, depending on the pnpm that wrote it
_STORE_ENTRY = re.compile(r"""^\s*"?storeDir"?: *["']?(.+?)["']?,?$""", re.MULTILINE)


async def choose_store(repo: Path, *, ask: Callable[[], Awaitable[str]], spare: Path) -> Path:
    """A folder that exists. `ask` returns what `pnpm store path` prints, `spare` is for when that cannot be written."""
    hidden = repo / "node_modules" / ".pnpm-store"
    recorded = await asyncio.to_thread(_recorded, repo)
    store = recorded or _named(await ask())
    if store and await _is_seen_by_git(repo, store):
        store = hidden
    usable = store is not None and await asyncio.to_thread(_is_made, store)
    if store is None or not usable:
        store = spare if await asyncio.to_thread(same_file_system, spare, repo) else hidden
    await asyncio.to_thread(store.mkdir, parents=True, exist_ok=True)
    return store


def same_file_system(one: Path, other: Path) -> bool:
    """Of folders that may not exist yet."""
    return _device(one) == _device(other)


def _device(path: Path) -> int:
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    return existing.stat().st_dev


def _recorded(repo: Path) -> Path | None:
    """Where `node_modules` came from, if that is still there and ours to write."""
    try:
        record = (repo / "node_modules" / ".modules.yaml").read_text(errors="replace")
    except OSError:
        return None
    entry = _STORE_ENTRY.search(record)
    store = _named(entry[1]) if entry else None
    return store if store and store.is_dir() and os.access(store, os.W_OK | os.X_OK) else None


def _named(text: str) -> Path | None:
    path = Path(_LAYOUT.sub("", text.strip().rpartition("\n")[2]))
    return path if path.is_absolute() else None


def _is_made(path: Path) -> bool:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(path, os.W_OK | os.X_OK)


async def _is_seen_by_git(repo: Path, store: Path) -> bool:
    if not store.is_relative_to(repo):
        return False
    inside = store.relative_to(repo) / "files"
    answer = await Git(folder=repo, timeout=_GIT_TIMEOUT)("check-ignore", "-q", "--", str(inside), ok_codes=(0, 1, 128))
    return answer.code != 0
