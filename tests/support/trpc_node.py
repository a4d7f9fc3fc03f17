"""The real `@trpc/client`, installed from the package registry and driven by a small script."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from daemon.process import Command, run

PROJECT = Path(__file__).with_name("trpc_client")


@dataclass(frozen=True)
class Call:
    path: str
    kind: str = "query"
    input: Any = None
    until: int | None = None
    once_open: "Call | None" = None

    def plain(self) -> dict[str, Any]:
        """Without an input where it is None: undefined and not null for the script."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Client:
    """One client and what it calls at once."""

    link: str
    url: str
    calls: Sequence[Call]
    token: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "calls": [call.plain() for call in self.calls]}


def program(name: str) -> str:
    """Where a program is. Without it the test is skipped, but in CI it fails: nothing is left out unseen there."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is missing, and CI must have it")
    if found is None:
        pytest.skip(f"{name} is missing")
    return found


def newest() -> str:
    """The version that the project's manifest names."""
    version: str = json.loads((PROJECT / "package.json").read_text())["dependencies"]["@trpc/client"]
    return version


def install(version: str, folder: Path, **more: str) -> Path:
    """Copies the script's project to a folder and installs that version of the client there, and `more` packages."""
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True)
    manifest = json.loads((folder / "package.json").read_text())
    manifest["dependencies"] |= {name: version for name in manifest["dependencies"] if name.startswith("@trpc/")}
    manifest["dependencies"] |= more
    (folder / "package.json").write_text(json.dumps(manifest))
    words = "install --no-audit --no-fund --no-update-notifier --ignore-scripts --omit=peer --prefer-offline"
    subprocess.run([program("npm"), *words.split()], cwd=folder, check=True, timeout=100, capture_output=True)
    return folder


async def outcomes(folder: Path, *clients: Client) -> list[list[dict[str, Any]]]:
    """What each call of each client came to, in a single run of node."""
    script = Command(
        argv=(program("node"), folder / "calls.mjs"),
        cwd=folder,
        timeout=60,
        env={"NODE_OPTIONS": ""},
        stdin=json.dumps([client.plain() for client in clients]).encode(),
    )
    result: list[list[dict[str, Any]]] = json.loads((await run(script)).stdout)
    return result
