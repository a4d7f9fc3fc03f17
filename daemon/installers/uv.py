"""The daemon's own dependencies with uv: fetched into the cache while staging, then installed from it offline."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from daemon.errors import CommandFailedError, InstallError
from daemon.installers.failures import failures_named, is_full_disk, tell_both
from daemon.installers.inputs import digest, file_identity, program_identity
from daemon.installers.kept import content_of, kept
from daemon.installers.markers import Marker, Stocked, Success
from daemon.installers.scratch import remove, scratch_folder, write_out
from daemon.installers.uv_lock import unlocked
from daemon.log import get_logger
from daemon.process import Command, run
from daemon.trees import Tree

LOCKFILE = "uv.lock"
MANIFEST = "pyproject.toml"
PYTHON_VERSION = ".python-version"
_STAGING = "staging"

# the project itself is run from the checkout: building it would need its build tools
_DEPENDENCIES_ONLY = ("--no-dev", "--no-install-project")
_NO_LOCAL_CODE = ("--no-install-workspace", "--no-install-local")

FORCED = "`uv sync` failed at first; it was done again with --reinstall"

log = get_logger()


class UvInstaller:
    """Active where the daemon's folder in the checkout, `code_dir`, has a uv.lock. The environment is its .venv.

    A lockfile that is behind is noticed by name only: a changed version of a dependency that it has is not.
    Its state is below `state_dir`/uv. Times are in seconds, for each child; `environ` is the daemon's environment.
    """

    name = "uv"
    for_daemon = True

    def __init__(
        self,
        *,
        repo: Path,
        code_dir: Path,
        state_dir: Path,
        stage_timeout: float,
        install_timeout: float,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._below = PurePosixPath(code_dir)
        self._inputs = frozenset(str(self._below / name) for name in (LOCKFILE, MANIFEST, PYTHON_VERSION))
        self._code = repo / code_dir
        self._state = state_dir / "uv"
        self._cache = Path(environ.get("UV_CACHE_DIR") or self._state / "cache")
        self._environ = environ
        self._stage_timeout = stage_timeout
        self._install_timeout = install_timeout
        self._success = Marker(self._state / "installed.json", Success)
        self._stocked = Marker(self._state / "stocked.json", Stocked)

    async def fingerprint(self, tree: Tree) -> str | None:
        files = await tree.find(self._inputs.__contains__, ends=tuple(self._inputs))
        if str(self._below / LOCKFILE) not in files:
            return None
        return digest(files, await asyncio.to_thread(self._tools))

    async def installed(self) -> str | None:
        success = await self._success.read()
        # a link to the interpreter, which may be gone
        is_there = await asyncio.to_thread((self._code / ".venv" / "bin" / "python").exists)
        return success.fingerprint if success and is_there else None

    async def tidy(self) -> None:
        await remove(self._state / _STAGING)

    async def stage(self, tree: Tree) -> None:
        """Raises InstallError, NoSpaceError, ToolMissingError."""
        files = await tree.find(self._inputs.__contains__, ends=tuple(self._inputs))
        key = await self.fingerprint(tree)
        if key is None:
            return
        stocked = Stocked(key=key, store=self._cache)
        if await self._stocked.read() == stocked and await asyncio.to_thread(self._cache.is_dir):
            return
        await self._stocked.remove()
        async with scratch_folder(self._state / _STAGING) as folder:
            await write_out(tree, files, folder, below=str(self._below))
            # uv has no command that only fetches: a throw-away environment is the way to fill its cache
            with failures_named(self.name, self._cache):
                await self._sync(folder, self._stage_timeout, "--frozen", *_NO_LOCAL_CODE)
        await self._stocked.write(stocked)

    async def install(self, fingerprint: str, *, strict: bool) -> tuple[str, ...]:
        """The lockfile is afterwards as it was. Raises InstallError, NoSpaceError, ToolMissingError."""
        await self._success.remove()
        with failures_named(self.name, self._code):
            note = await self._make(strict=strict)
        await self._success.write(Success(fingerprint=fingerprint))
        return (note,) if note else ()

    async def _make(self, *, strict: bool) -> str:
        missing = await asyncio.to_thread(self._unlocked)
        if missing:
            return await self._make_unfrozen(", ".join(missing), strict=strict)
        try:
            await self._sync(self._code, self._install_timeout, "--frozen", "--offline")
        except CommandFailedError as first:
            if is_full_disk(first):
                raise
            return await self._make_with_force(first)
        return ""

    async def _make_unfrozen(self, missing: str, *, strict: bool) -> str:
        if strict:
            reason = f"{LOCKFILE} lacks {missing}; run `uv lock` where {MANIFEST} was changed and commit it"
            raise InstallError(installer=self.name, reason=reason)
        async with kept(self._code / LOCKFILE):
            await self._sync(self._code, self._install_timeout)
        return f"{LOCKFILE} lacks {missing}: it was installed all the same, and {LOCKFILE} is as it was"

    async def _make_with_force(self, first: CommandFailedError) -> str:
        """Online: what failed offline may be missing from the cache, and the other way out is to undo the update."""
        log.warning("install failed, trying with force", installer=self.name, output=first.detail)
        await self._stocked.remove()
        try:
            await self._sync(self._code, self._install_timeout, "--frozen", "--reinstall")
        except CommandFailedError as second:
            tell_both(first, second)
            raise
        return FORCED

    async def _sync(self, folder: Path, timeout: float, *options: str) -> None:  # noqa: ASYNC109 - of the child
        env = await asyncio.to_thread(self._environment, folder)
        argv = ("uv", "sync", *_DEPENDENCIES_ONLY, *options)
        await run(Command(argv=argv, cwd=folder, timeout=timeout, env=env))

    def _environment(self, folder: Path) -> dict[str, str]:
        env = {"UV_CACHE_DIR": str(self._cache), "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
        if (folder / PYTHON_VERSION).is_file():
            return env
        return env | {"UV_PYTHON": str(_interpreter())}

    def _unlocked(self) -> tuple[str, ...]:
        return unlocked(content_of(self._code / MANIFEST) or b"", content_of(self._code / LOCKFILE) or b"")

    def _tools(self) -> str:
        return f"{program_identity('uv', self._environ.get('PATH'))} {file_identity(_interpreter())}"


def _interpreter() -> Path:
    """The Python that runs us, outside of any virtual environment: an environment cannot be the base of another."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(sys.base_prefix) / "bin" / version
    return base if base.exists() else Path(sys.executable).resolve()
