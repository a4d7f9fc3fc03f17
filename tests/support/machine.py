"""A whole machine on this host: the real daemon in a checkout, under real s6, beside a real git server or a mount.

What an image adds (a user of its own, another root) is the end-to-end tests' business; everything else is as in one.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from daemon.client import Client
from tests.support.git_server import GitServer
from tests.support.s6 import S6, Service

PROJECT = Path(__file__).parents[2]
GIT_TOKEN = "token-for-the-git-server"
TOKEN = "token-for-the-daemon"

IGNORED = "node_modules/\n.venv/\n__pycache__/\n*.pyc\n.env\n"
LIBRARY = '{"name": "@demo/library", "version": "1.0.0", "main": "index.js", "dependencies": {"is-number": "7.0.0"}}\n'
WORKSPACE = {
    ".gitignore": IGNORED,
    "package.json": '{"name": "demo", "private": true, "dependencies": {"@demo/library": "workspace:*"}}\n',
    "pnpm-workspace.yaml": "packages:\n  - packages/*\n",
    "packages/library/package.json": LIBRARY,
    "packages/library/index.js": "module.exports = require('is-number')\n",
}


def git(folder: Path, *words: str | Path) -> str:
    """Git with an identity and without anybody's configuration."""
    identity = ("-c", "user.name=demo", "-c", "user.email=demo@example.invalid", "-c", "commit.gpgSign=false")
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    argv = ("git", "-C", folder, *identity, *words)
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=env).stdout.strip()


class Upstream:
    """Where developers commit: a monorepo that holds the daemon and a pnpm workspace, and its bare remote."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "upstream"
        self.bare = folder / "remotes" / "monorepo.git"

    def create(self, files: Mapping[str, str] = WORKSPACE) -> str:
        """The first commit, with a lockfile that pnpm made."""
        self.tree.mkdir(parents=True, exist_ok=True)
        git(self.tree, "init", "--quiet", "--initial-branch=main")
        shutil.copytree(PROJECT / "daemon", self.tree / "daemon", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        self.write(files)
        if "package.json" in files:
            self._lock()
        self.bare.parent.mkdir(parents=True)
        commit = self._commit("first")
        git(self.tree.parent, "clone", "--quiet", "--bare", self.tree, self.bare)
        git(self.tree, "remote", "add", "origin", self.bare)
        return commit

    def write(self, files: Mapping[str, str]) -> None:
        for name, content in files.items():
            path = self.tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def commit(self, files: Mapping[str, str], message: str = "change", branch: str = "main") -> str:
        self.write(files)
        commit = self._commit(message)
        git(self.tree, "push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{branch}")
        return commit

    def head(self) -> str:
        return git(self.tree, "rev-parse", "HEAD")

    def release(self, version: str) -> str:
        """A commit after which the daemon itself answers with another version."""
        return self.commit({"daemon/__init__.py": self._with_version(version)}, f"release {version}")

    def slow(self) -> str:
        """A commit whose check and whose start take long enough for somebody to watch."""
        source = (self.tree / "daemon/__init__.py").read_text()
        return self.commit({"daemon/__init__.py": f"{source}\nimport time\n\ntime.sleep(3)\n"})

    def depend(self, package: str, dependencies: Mapping[str, str], scripts: Mapping[str, str] | None = None) -> str:
        """A commit in which a package of the workspace needs more than before."""
        path = self.tree / package / "package.json"
        manifest = json.loads(path.read_text())
        manifest.setdefault("dependencies", {}).update(dependencies)
        path.write_text(json.dumps(manifest | {"scripts": dict(scripts or {})}))
        self._lock()
        return self.commit({}, f"{package} needs {', '.join(dependencies)}")

    def _lock(self) -> None:
        lock = ("pnpm", "install", "--lockfile-only", "--ignore-scripts", "--no-frozen-lockfile")
        subprocess.run(lock, cwd=self.tree, check=True, capture_output=True, env={**os.environ, "CI": "true"})

    def _with_version(self, version: str) -> str:
        source = (self.tree / "daemon/__init__.py").read_text()
        return re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', source)

    def _commit(self, message: str) -> str:
        git(self.tree, "add", "--all")
        git(self.tree, "commit", "--quiet", "--message", message)
        return self.head()


class HostMachine:
    """One machine. An async context manager; nothing of it is left afterwards.

    `mounted`: its code comes from a mount, which is the developers' own tree; else from the git server, with a token.
    Without `readiness` s6 is not told when the daemon serves, as in a machine that somebody scripted; without `holder`
    nobody keeps the listening sockets while it restarts. `python` is the environment that stands for the image's.
    """

    def __init__(
        self,
        *,
        mounted: bool = False,
        readiness: bool = True,
        holder: bool = True,
        files: Mapping[str, str] = WORKSPACE,
        env: Mapping[str, str] | None = None,
        python: Path = Path(sys.prefix),
    ) -> None:
        # short: the path of a Unix socket has room for 107 bytes
        self.folder = Path(tempfile.mkdtemp(prefix="refreshd-"))
        self.upstream = Upstream(self.folder)
        self.mounted = mounted
        self.repo = self.folder / "checkout"
        self.run_dir = self.folder / "run"
        self.state_dir = self.folder / "state"
        self.socket = self.run_dir / "refreshd.sock"
        self.port = free_port()
        self._root = self.folder / "root"
        self._readiness = readiness
        self._holder = holder
        self._files = files
        self._more = dict(env or {})
        self._python = python
        self._stack = AsyncExitStack()
        self.s6: S6

    async def __aenter__(self) -> Self:
        self.first = self.upstream.create(self._files)
        self.server = self._stack.enter_context(GitServer(self.upstream.bare.parent, token=GIT_TOKEN))
        self._lay_out()
        self.s6 = await self._stack.enter_async_context(self.start())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def service(self) -> Service:
        return self.s6.service("refreshd")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def remote_url(self) -> str:
        return f"{self.server.url}/monorepo.git"

    @property
    def env(self) -> dict[str, str]:
        passed = {name: os.environ[name] for name in os.environ if name == "PATH" or "CERT" in name or "SSL" in name}
        return {
            **passed,
            "HOME": str(self.folder),
            "MACHINE_ROOT": str(self._root),
            "ITERATE_REPO": str(self.repo),
            "ITERATE_REPO_LOCAL_DOCKER_MOUNT": str(self.upstream.tree if self.mounted else self.folder / "no-mount"),
            "REFRESHD_RUN_DIR": str(self.run_dir),
            "REFRESHD_STATE_DIR": str(self.state_dir),
            "REFRESHD_LOG_DIR": str(self.folder / "log"),
            "REFRESHD_LISTEN": f"127.0.0.1:{self.port}",
            "REFRESHD_TOKEN_FILE": str(self.folder / "token"),
            "REFRESHD_GIT_TOKEN_FILE": str(self.folder / "git-token"),
            **self._more,
        }

    def start(self) -> S6:
        """The machine by its entry point."""
        output = self.folder / "container.log"
        return S6(self.run_dir / "service", env=self.env, output=output, argv=(PROJECT / "entry.sh",))

    def client(self) -> Client:
        return Client(socket=self.socket)

    def log(self) -> str:
        return (self.folder / "container.log").read_text(errors="replace")

    def _lay_out(self) -> None:
        shutil.copytree(PROJECT / "s6-overlay", self._root)
        if not self._readiness:
            (self._root / "etc/s6-overlay/s6-rc.d/refreshd/notification-fd").unlink()
        if not self._holder:
            shutil.rmtree(self._root / "etc/s6-overlay/s6-rc.d/refreshd-holder")
        (self._root / "opt/refreshd").mkdir(parents=True)
        (self._root / "opt/refreshd/.venv").symlink_to(self._python)
        (self.folder / "token").write_text(TOKEN)
        (self.folder / "git-token").write_text(GIT_TOKEN)
        if not self.mounted:
            git(self.folder, "clone", "--quiet", self.upstream.bare, self.repo)
            git(self.repo, "remote", "set-url", "origin", self.remote_url)
        else:
            self.repo.mkdir()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
