"""Node dependencies with pnpm: fetched into the store while staging, then installed from it offline."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from daemon.errors import CommandFailedError, InstallError
from daemon.installers.failures import failures_named, is_full_disk, tell_both
from daemon.installers.inputs import digest, program_identity
from daemon.installers.kept import content_of, kept
from daemon.installers.markers import Marker, Stocked, Success
from daemon.installers.pnpm_interrupted import Interrupted
from daemon.installers.pnpm_program import ENVIRONMENT, Pin, Pnpm, Programs, is_for_another_manager, pinned
from daemon.installers.pnpm_store import choose_store, same_file_system
from daemon.installers.scratch import remove, scratch_folder, write_out
from daemon.log import get_logger
from daemon.trees import Tree

STORE_TIMEOUT = 60  # seconds, for a question to pnpm

LOCKFILE = "pnpm-lock.yaml"
WORKSPACE = "pnpm-workspace.yaml"
MANIFEST = "package.json"
NPMRC = ".npmrc"

_STAGING = ".refreshd-staging"
_SETTINGS = frozenset({LOCKFILE, WORKSPACE, NPMRC})
_STAGED = _SETTINGS | {MANIFEST}
_INPUTS = _STAGED | {".pnpmfile.cjs", ".pnpmfile.mjs"}
_PATCHES = (".patch", ".diff")
_ARCHIVES = (".tgz", ".gz")

# without a network pnpm waits 10 and then 60 seconds between its attempts; an update is given up sooner
_NETWORK = ("--config.fetch-retries=2", "--config.fetch-retry-mintimeout=1000", "--config.fetch-retry-maxtimeout=3000")
_BEHIND = ("ERR_PNPM_OUTDATED_LOCKFILE", "ERR_PNPM_LOCKFILE_CONFIG_MISMATCH")

NO_LOCKFILE = f"the checkout has no {LOCKFILE}: the versions are what the registry offered"
UNFROZEN = (
    f"{LOCKFILE} is behind the manifests: dependencies were installed without it being frozen, and it is as it was"
)
FORCED = "`pnpm install` failed at first; it was done again with --force"

log = get_logger()


class PnpmInstaller:
    """Active where the root of the checkout has a package.json that no other package manager claims.

    Its state is below `state_dir`/pnpm. Times are in seconds, for each child; `environ` is the daemon's environment.
    """

    name = "pnpm"
    for_daemon = False

    def __init__(
        self,
        *,
        repo: Path,
        state_dir: Path,
        stage_timeout: float,
        install_timeout: float,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._repo = repo
        self._state = state_dir / "pnpm"
        self._stage_timeout = stage_timeout
        self._install_timeout = install_timeout
        self._environ = environ
        self._success = Marker(self._state / "installed.json", Success)
        self._stocked = Marker(self._state / "stocked.json", Stocked)
        self._interrupted = Interrupted(repo=repo, lockfile=repo / LOCKFILE, folder=self._state)

    async def fingerprint(self, tree: Tree) -> str | None:
        files = await tree.find(_is_input, ends=(*_INPUTS, *_PATCHES))
        if MANIFEST not in files or is_for_another_manager(await tree.read(MANIFEST)):
            return None
        return digest(files, *await self._tools())

    async def installed(self) -> str | None:
        success = await self._success.read()
        is_there = await asyncio.to_thread(self._is_there)
        return success.fingerprint if success and is_there else None

    async def tidy(self) -> None:
        await remove(self._state / _STAGING)

    async def stage(self, tree: Tree) -> None:
        """Raises InstallError, NoSpaceError, ToolMissingError."""
        lockfile = await tree.read(LOCKFILE)
        if lockfile is None:
            return
        named = lockfile.decode(errors="replace")
        files = await tree.find(lambda path: _is_staged(path, named), ends=(*_STAGED, *_PATCHES, *_ARCHIVES))
        with failures_named(self.name, self._state):
            pin = pinned(await tree.read(MANIFEST))
            programs = await asyncio.to_thread(self._programs)
            pnpm = await programs.obtain(pin, await tree.read(NPMRC), self._stage_timeout)
            store = await self._store(pnpm)
        stocked = Stocked(key=await self._stock_key(files, pin), store=store)
        if await self._stocked.read() == stocked and await asyncio.to_thread(_is_filled, store):
            return
        # a store that is being filled may lack anything that it had
        await self._stocked.remove()
        with failures_named(self.name, store):
            await self._fetch(tree, files, pnpm, store)
        await self._stocked.write(stocked)

    async def install(self, fingerprint: str, *, strict: bool) -> tuple[str, ...]:
        """The lockfile is afterwards as it was. Raises InstallError, NoSpaceError, ToolMissingError."""
        await self._interrupted.begin(fingerprint, complete=await self.installed())
        await self._success.remove()
        pin = pinned(await asyncio.to_thread(content_of, self._repo / MANIFEST))
        with failures_named(self.name, self._repo):
            programs = await asyncio.to_thread(self._programs)
            pnpm = await programs.choose(pin)
            store = await self._store(pnpm)
            note = await self._make(pnpm, store, strict=strict)
        await self._success.write(Success(fingerprint=fingerprint))
        await self._interrupted.end()
        return tuple(filter(None, (pnpm.note, note)))

    async def _make(self, pnpm: Pnpm, store: Path, *, strict: bool) -> str:
        if not await asyncio.to_thread((self._repo / LOCKFILE).exists):
            async with kept(self._repo / LOCKFILE):
                await self._install(pnpm, store, *_NETWORK)
            return NO_LOCKFILE
        try:
            await self._install(pnpm, store, "--frozen-lockfile", "--offline")
        except CommandFailedError as first:
            if any(code in first.detail for code in _BEHIND):
                return await self._make_unfrozen(pnpm, store, first, strict=strict)
            if is_full_disk(first):
                raise
            return await self._make_with_force(pnpm, store, first)
        return ""

    async def _make_unfrozen(self, pnpm: Pnpm, store: Path, first: CommandFailedError, *, strict: bool) -> str:
        if strict:
            reason = f"{LOCKFILE} is behind the manifests; run `pnpm install` where they were changed and commit it"
            raise InstallError(installer=self.name, reason=reason, detail=first.detail)
        async with kept(self._repo / LOCKFILE):
            await self._install(pnpm, store, "--no-frozen-lockfile", *_NETWORK)
        return UNFROZEN

    async def _make_with_force(self, pnpm: Pnpm, store: Path, first: CommandFailedError) -> str:
        """Online: what failed offline may be missing from the store, and the other way out is to undo the update."""
        log.warning("install failed, trying with force", installer=self.name, output=first.detail)
        await self._stocked.remove()
        try:
            await self._install(pnpm, store, "--frozen-lockfile", "--force", *_NETWORK)
        except CommandFailedError as second:
            tell_both(first, second)
            raise
        return FORCED

    async def _install(self, pnpm: Pnpm, store: Path, *options: str) -> None:
        await pnpm("install", *options, "--store-dir", store, cwd=self._repo, timeout=self._install_timeout)

    async def _fetch(self, tree: Tree, files: Mapping[str, str], pnpm: Pnpm, store: Path) -> None:
        async with scratch_folder(await asyncio.to_thread(self._scratch_beside, store)) as folder:
            await write_out(tree, files, folder)
            # the folder may lie inside another workspace
            alone = () if WORKSPACE in files else ("--ignore-workspace",)
            options = ("--ignore-scripts", "--ignore-pnpmfile", *alone, *_NETWORK)
            await pnpm("fetch", *options, "--store-dir", store, cwd=folder, timeout=self._stage_timeout)

    def _scratch_beside(self, store: Path) -> Path:
        """On the store's file system: pnpm makes a node_modules too, and would copy there what it cannot link."""
        folder = self._state if same_file_system(self._state, store) else store.parent
        return folder / _STAGING

    async def _store(self, pnpm: Pnpm) -> Path:
        async def ask() -> str:
            try:
                answer = await pnpm("store", "path", cwd=self._repo, timeout=STORE_TIMEOUT)
            except CommandFailedError:
                return ""
            return answer.text

        return await choose_store(self._repo, ask=ask, spare=self._state / "store")

    async def _stock_key(self, files: Mapping[str, str], pin: Pin | None) -> str:
        """Manifests change often and the lockfile says all that matters of them, but for the pin."""
        relevant = {path: blob for path, blob in files.items() if _name(path) != MANIFEST}
        return digest(relevant, pin.version if pin else "", *await self._tools())

    async def _tools(self) -> list[str]:
        path = self._environ.get("PATH")
        return [await asyncio.to_thread(program_identity, name, path) for name in ("node", "pnpm")]

    def _programs(self) -> Programs:
        return Programs(
            folder=self._state / "programs",
            path=self._environ.get("PATH", os.defpath),
            env=ENVIRONMENT | _home(self._environ, self._state / "home"),
        )

    def _is_there(self) -> bool:
        # pnpm 10 leaves only the second where there is nothing to install
        made = self._repo / "node_modules"
        return any((made / name).is_file() for name in (".modules.yaml", ".pnpm-workspace-state-v1.json"))


def _is_input(path: str) -> bool:
    return (_name(path) in _INPUTS or path.endswith(_PATCHES)) and not _is_installed(path)


def _is_staged(path: str, lockfile: str) -> bool:
    """Every manifest, because pnpm 12 looks into the folders of `file:` dependencies; and their archives."""
    is_archive = path.endswith(_ARCHIVES) and path in lockfile
    is_wanted = is_archive or _name(path) in _STAGED or path.endswith(_PATCHES)
    return is_wanted and not _is_installed(path)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _is_installed(path: str) -> bool:
    return "node_modules" in path.split("/")


def _home(environ: Mapping[str, str], substitute: Path) -> dict[str, str]:
    """What children get for a HOME that is missing or cannot be written: pnpm keeps caches there, and settings."""
    home = Path(environ.get("HOME", ""))
    if home.is_absolute() and home.is_dir() and os.access(home, os.W_OK | os.X_OK):
        return {}
    npmrc = home / NPMRC
    settings = {"NPM_CONFIG_USERCONFIG": str(npmrc)} if home.is_absolute() and npmrc.is_file() else {}
    return settings | {"HOME": str(substitute)}


def _is_filled(store: Path) -> bool:
    return next(store.iterdir(), None) is not None
