"""The pnpm installer with the real pnpm: the installed one, and the older one that some repositories use."""

import asyncio
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.errors import InstallError, NoSpaceError, ToolMissingError
from daemon.installers.pnpm import FORCED, NO_LOCKFILE, UNFROZEN, PnpmInstaller
from tests.support.workspaces import Workspace

OLD = "10.34.9"
PINNED = "10.20.0"
PINNED_SHA512 = (
    "cf9998222162dd85864d0a8102e7892e7ba4ceadebbf5a31f9c2fce48dfce317"
    "a9c53b9f6464d1ef9042cba2e02ae02a9f7c143a2b438cd93c91840f0192b9dd"
)
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="session")
def old_pnpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pnpm-10")
    options = ("--no-audit", "--no-fund", "--no-update-notifier")
    subprocess.run(("npm", "install", "--prefix", folder, *options, f"pnpm@{OLD}"), check=True, capture_output=True)
    return folder / "node_modules/.bin"


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("workspace")
    workspace = Workspace.create(folder / "root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        workspace.lock()
    return workspace


@pytest.fixture
def workspace(locked: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    # what pnpm remembers of verified lockfiles counts, so it has to be this test's own
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return locked.copy(tmp_path / "checkout")


@pytest.fixture(params=["installed", "old"])
def each_pnpm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Puts one pnpm after the other first in PATH. Its value is the program."""
    if request.param == "old":
        folder: Path = request.getfixturevalue("old_pnpm")
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return shutil.which("pnpm") or "pnpm"


@pytest.fixture
def installer(workspace: Workspace, tmp_path: Path) -> PnpmInstaller:
    return build(workspace, tmp_path)


def build(
    workspace: Workspace, tmp_path: Path, *, stage_timeout: float = 60, install_timeout: float = 60
) -> PnpmInstaller:
    return PnpmInstaller(
        repo=workspace.root,
        state_dir=tmp_path / "state",
        stage_timeout=stage_timeout,
        install_timeout=install_timeout,
    )


@pytest.fixture
def cut_network(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def cut() -> None:
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
            monkeypatch.setenv(name, NOWHERE)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)

    return cut


class Spy:
    """A pnpm in front of the real one that notes how it is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = folder / "calls"
        folder.mkdir()
        self._log.touch()
        note = f'echo "$HOME|$NPM_CONFIG_USERCONFIG|$1" >>{self._log}'
        program = folder / "pnpm"
        program.write_text(f'#!/bin/sh\n{note}\nexec {shutil.which("pnpm")} "$@"\n')
        program.chmod(0o755)

    @property
    def homes(self) -> set[str]:
        return set(self._column(0))

    @property
    def settings(self) -> set[str]:
        return set(self._column(1))

    @property
    def verbs(self) -> list[str]:
        return self._column(2)

    def _column(self, number: int) -> list[str]:
        return [line.split("|")[number] for line in self._log.read_text().splitlines()]


@pytest.fixture
def spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spy:
    spy = Spy(tmp_path / "spy")
    monkeypatch.setenv("PATH", f"{spy.folder}:{os.environ['PATH']}")
    return spy


async def reached(condition: Callable[[], bool], task: asyncio.Future[Any]) -> None:
    """What `task` makes true before it ends."""
    while not condition():  # another process has no event to wait for
        assert not task.done(), task
        await asyncio.sleep(0.01)


def left_in(tmp_path: Path) -> list[Path]:
    """Scratch folders of the installer."""
    return [*tmp_path.rglob(".refreshd-staging"), *tmp_path.rglob("fetching")]


# What an install depends on


async def test_a_tree_without_a_manifest_at_its_root_is_no_project(workspace: Workspace, tmp_path: Path) -> None:
    (workspace.root / "package.json").unlink()
    assert await build(workspace, tmp_path).fingerprint(workspace.tree()) is None


async def test_a_project_of_another_package_manager_is_left_alone(
    workspace: Workspace, installer: PnpmInstaller
) -> None:
    workspace.change_manifest(packageManager="yarn@4.5.0")
    assert await installer.fingerprint(workspace.tree()) is None


@pytest.mark.parametrize(
    "path",
    [
        "pnpm-lock.yaml",
        "pnpm-workspace.yaml",
        ".npmrc",
        ".pnpmfile.cjs",
        "package.json",
        "packages/lib/package.json",
        "patches/is-number.patch",
    ],
)
async def test_the_fingerprint_follows_every_input(path: str, workspace: Workspace, installer: PnpmInstaller) -> None:
    before = await installer.fingerprint(workspace.tree())
    workspace.write(path, "{}")
    after = await installer.fingerprint(workspace.tree())
    workspace.write(path, "{ }")
    assert len({before, after, await installer.fingerprint(workspace.tree())}) == 3


@pytest.mark.parametrize("path", ["packages/lib/index.js", "README.md", "node_modules/is-number/package.json"])
async def test_the_fingerprint_ignores_what_no_install_reads(
    path: str, workspace: Workspace, installer: PnpmInstaller
) -> None:
    before = await installer.fingerprint(workspace.tree())
    workspace.write(path, "changed")
    assert await installer.fingerprint(workspace.tree()) == before


@pytest.mark.parametrize("tool", ["node", "pnpm"])
async def test_the_fingerprint_follows_the_tools_without_starting_them(
    tool: str, workspace: Workspace, installer: PnpmInstaller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await installer.fingerprint(workspace.tree())
    started = tmp_path / "started"
    program = tmp_path / "bin" / tool
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {started}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    first = await installer.fingerprint(workspace.tree())
    program.write_text(f"#!/bin/sh\n\ntouch {started}\n")
    assert len({before, first, await installer.fingerprint(workspace.tree())}) == 3
    assert not started.exists()


# Staging


async def test_after_staging_an_install_needs_no_network(
    each_pnpm: str, workspace: Workspace, installer: PnpmInstaller, cut_network: Callable[[], None]
) -> None:
    before = workspace.files()
    await installer.stage(workspace.tree())
    cut_network()
    assert await installer.install("fingerprint", strict=True) == ()
    assert workspace.works
    assert workspace.files() == before
    assert each_pnpm


async def test_staging_touches_nothing_in_the_checkout_and_leaves_no_scratch_folder(
    workspace: Workspace, installer: PnpmInstaller, tmp_path: Path
) -> None:
    before = workspace.files()
    await installer.stage(workspace.tree())
    assert workspace.files() == before
    assert not (workspace.root / "node_modules").exists()
    assert left_in(tmp_path) == []


async def test_a_lockfile_that_was_fetched_is_not_fetched_again(
    workspace: Workspace, installer: PnpmInstaller, tmp_path: Path, spy: Spy
) -> None:
    await installer.stage(workspace.tree())
    workspace.change_manifest(scripts={"build": "true"})
    await build(workspace, tmp_path).stage(workspace.tree())
    assert spy.verbs.count("fetch") == 1


@pytest.mark.parametrize("path", ["pnpm-lock.yaml", "pnpm-workspace.yaml", ".npmrc", "patches/x.patch"])
async def test_a_changed_input_is_fetched(path: str, workspace: Workspace, installer: PnpmInstaller, spy: Spy) -> None:
    await installer.stage(workspace.tree())
    content = workspace.files().get(path, b"").decode()
    workspace.write(path, f"{content}\n")
    await installer.stage(workspace.tree())
    assert spy.verbs.count("fetch") == 2


async def test_a_lockfile_whose_store_is_gone_is_fetched_again(
    workspace: Workspace, installer: PnpmInstaller, isolated_git: Path, spy: Spy
) -> None:
    await installer.stage(workspace.tree())
    shutil.rmtree(isolated_git / ".local/share/pnpm/store")
    await installer.stage(workspace.tree())
    assert spy.verbs.count("fetch") == 2


async def test_without_a_lockfile_there_is_nothing_to_stage(
    workspace: Workspace, installer: PnpmInstaller, spy: Spy
) -> None:
    (workspace.root / "pnpm-lock.yaml").unlink()
    await installer.stage(workspace.tree())
    assert spy.verbs == []


async def test_local_folders_archives_patches_and_hooks_are_no_hindrance(
    each_pnpm: str, workspace: Workspace, installer: PnpmInstaller, cut_network: Callable[[], None]
) -> None:
    add_local_packages(workspace)
    workspace.lock(each_pnpm)
    await installer.stage(workspace.tree())
    cut_network()
    assert await installer.install("fingerprint", strict=True) == ()
    assert workspace.runs("if (require('folder') !== 1 || require('archive') !== 2) process.exit(1)")
    assert (workspace.root / "node_modules/is-number/index.js").read_text().startswith("// patched\n")


def add_local_packages(workspace: Workspace) -> None:
    """A folder, an archive and a patch; and hooks that need a file of the checkout."""
    workspace.write("vendor/folder/package.json", '{"name": "folder", "dependencies": {"is-even": "1.0.0"}}')
    workspace.write("vendor/folder/index.js", "module.exports = require('is-even')(2) ? 1 : 0\n")
    workspace.write("unpacked/package/package.json", '{"name": "archive", "version": "1.0.0"}')
    workspace.write("unpacked/package/index.js", "module.exports = 2\n")
    with tarfile.open(workspace.root / "vendor/archive-1.0.0.tgz", "w:gz") as archive:
        archive.add(workspace.root / "unpacked/package", "package")
    shutil.rmtree(workspace.root / "unpacked")
    workspace.write("hooks/identity.cjs", "exports.identity = (manifest) => manifest\n")
    workspace.write(
        ".pnpmfile.cjs",
        "const { identity } = require('./hooks/identity.cjs')\nmodule.exports = { hooks: { readPackage: identity } }\n",
    )
    workspace.write(
        "patches/is-number.patch",
        "diff --git a/index.js b/index.js\n--- a/index.js\n+++ b/index.js\n@@ -1,3 +1,4 @@\n+// patched\n /*!\n"
        "  * is-number <https://github.com/jonschlinkert/is-number>\n  *\n",
    )
    workspace.write(
        "pnpm-workspace.yaml",
        "packages:\n  - packages/*\npatchedDependencies:\n  is-number@7.0.0: patches/is-number.patch\n",
    )
    workspace.depend_on(folder="file:./vendor/folder", archive="file:./vendor/archive-1.0.0.tgz")


async def test_a_project_without_a_workspace_file_is_staged_alone(
    workspace: Workspace, installer: PnpmInstaller, tmp_path: Path, cut_network: Callable[[], None]
) -> None:
    """Even where the state folder lies inside somebody's workspace."""
    (tmp_path / "pnpm-workspace.yaml").write_text("packages:\n  - elsewhere/*\n")
    shutil.rmtree(workspace.root / "packages")
    (workspace.root / "pnpm-workspace.yaml").unlink()
    workspace.change_manifest(dependencies={"is-number": "7.0.0"})
    workspace.pnpm("install", "--lockfile-only", "--no-frozen-lockfile", "--ignore-workspace")
    (tmp_path / "pnpm-workspace.yaml").unlink()
    (tmp_path / "state").mkdir()
    (tmp_path / "state/pnpm-workspace.yaml").write_text("packages:\n  - elsewhere/*\n")
    await installer.stage(workspace.tree())
    assert not list((tmp_path / "state").rglob("pnpm-lock.yaml"))
    cut_network()
    await installer.install("fingerprint", strict=True)
    assert workspace.runs("require('is-odd')")


async def test_staging_that_fails_says_why_leaves_nothing_and_is_tried_again(
    workspace: Workspace, installer: PnpmInstaller, tmp_path: Path, spy: Spy
) -> None:
    workspace.write("pnpm-lock.yaml", "<<<<<<< ours\n")
    for attempt in (1, 2):
        with pytest.raises(InstallError, match=r"with pnpm: `pnpm fetch` ended with exit code 1") as raised:
            await installer.stage(workspace.tree())
        assert "ERR_PNPM_BROKEN_LOCKFILE" in raised.value.detail
        assert left_in(tmp_path) == []
        assert spy.verbs.count("fetch") == attempt


async def test_staging_that_is_cancelled_leaves_no_scratch_folder(
    workspace: Workspace, installer: PnpmInstaller, tmp_path: Path, spy: Spy
) -> None:
    staging = asyncio.ensure_future(installer.stage(workspace.tree()))
    await reached(lambda: "fetch" in spy.verbs, staging)
    staging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await staging
    assert left_in(tmp_path) == []


async def test_what_a_killed_process_left_does_not_disturb_staging(
    workspace: Workspace, installer: PnpmInstaller, tmp_path: Path
) -> None:
    leftover = tmp_path / "state/pnpm/.refreshd-staging"
    (leftover / "node_modules").mkdir(parents=True)
    (leftover / "package.json").write_text("{")
    await installer.stage(workspace.tree())
    assert left_in(tmp_path) == []


# Installing


async def test_success_is_remembered_across_processes_until_what_was_made_is_gone(
    workspace: Workspace, installer: PnpmInstaller, tmp_path: Path
) -> None:
    assert await installer.installed() is None
    await installer.install("fingerprint", strict=True)
    assert await build(workspace, tmp_path).installed() == "fingerprint"
    shutil.rmtree(workspace.root / "node_modules")
    assert await installer.installed() is None


async def test_a_project_without_dependencies_counts_as_installed(
    each_pnpm: str, workspace: Workspace, installer: PnpmInstaller
) -> None:
    shutil.rmtree(workspace.root / "packages")
    workspace.write("package.json", '{"name": "nothing"}')
    workspace.lock(each_pnpm)
    await installer.install("fingerprint", strict=True)
    assert await installer.installed() == "fingerprint"


async def test_development_dependencies_are_there_whatever_node_env_says(
    workspace: Workspace, installer: PnpmInstaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_ENV", "production")
    await installer.install("fingerprint", strict=True)
    assert workspace.runs("require('is-odd')")


async def test_a_failing_script_is_an_error_with_its_output_and_no_success(
    each_pnpm: str, workspace: Workspace, installer: PnpmInstaller
) -> None:
    await installer.install("before", strict=True)
    shutil.rmtree(workspace.root / "node_modules")
    workspace.change_manifest(scripts={"postinstall": "echo the browser is not there >&2; exit 3"})
    with pytest.raises(InstallError, match=r"`pnpm install` ended with exit code") as raised:
        await installer.install("after", strict=True)
    assert "the browser is not there" in raised.value.detail
    assert (workspace.root / "node_modules/.modules.yaml").exists()
    assert await installer.installed() is None
    assert each_pnpm


async def test_the_old_success_is_forgotten_before_an_install_starts(
    workspace: Workspace, installer: PnpmInstaller, tmp_path: Path
) -> None:
    await installer.install("before", strict=True)
    marker = tmp_path / "state/pnpm/installed.json"
    assert marker.exists()
    shutil.rmtree(workspace.root / "node_modules")
    workspace.change_manifest(scripts={"postinstall": f"test ! -e {marker} && touch {tmp_path}/ran"})
    await installer.install("after", strict=True)
    assert (tmp_path / "ran").exists()
    assert await installer.installed() == "after"


async def test_an_install_that_is_killed_midway_is_repaired_by_the_next(
    each_pnpm: str, workspace: Workspace, installer: PnpmInstaller, tmp_path: Path
) -> None:
    """Its scripts too, though every package was in place when it was killed."""
    await installer.stage(workspace.tree())
    first, second = tmp_path / "first", tmp_path / "second"
    script = f"test -e {first} && touch {second} || {{ touch {first}; exec sleep 60; }}"
    workspace.change_manifest(scripts={"postinstall": script})
    installing = asyncio.ensure_future(installer.install("fingerprint", strict=True))
    await reached(first.exists, installing)
    installing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await installing
    assert await installer.installed() is None
    assert await installer.install("fingerprint", strict=True) == ()
    assert second.exists()
    assert workspace.works
    assert each_pnpm


RECORDS = ("node_modules/.pnpm/lock.yaml", "node_modules/.modules.yaml", "node_modules/.pnpm-workspace-state-v1.json")


@pytest.fixture
def dies_before_its_record(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pnpm that links what it should and is killed before it writes that down, while the returned file exists."""
    dies = tmp_path / "dies"
    restore = "\n".join(f"cp -p {tmp_path}/before/{Path(name).name} {workspace.root}/{name}" for name in RECORDS)
    program = tmp_path / "bin" / "pnpm"
    program.parent.mkdir()
    program.write_text(f"""#!/bin/sh
real={shutil.which("pnpm")}
[ -e {dies} ] && [ "$1" = install ] || exec "$real" "$@"
"$real" "$@"
{restore}
kill -KILL $$
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return dies


def links(workspace: Workspace) -> set[str]:
    """Every package that somebody can require, by the folder that it is required from."""
    places = ("node_modules", "node_modules/.pnpm/node_modules", "packages/lib/node_modules")
    found = (path for place in places for path in (workspace.root / place).glob("[!.]*"))
    return {str(path.relative_to(workspace.root)) for path in found if path.is_symlink()}


@pytest.mark.usefixtures("each_pnpm")
@pytest.mark.parametrize("by_us", [True, False], ids=["ours", "somebody-else's"])
async def test_what_an_interrupted_install_linked_or_removed_is_mended_by_the_way_back(
    workspace: Workspace, tmp_path: Path, request: pytest.FixtureRequest, *, by_us: bool
) -> None:
    dies: Path = request.getfixturevalue("dies_before_its_record")
    installer = build(workspace, tmp_path)
    old = await installer.fingerprint(workspace.tree()) or ""
    await installer.stage(workspace.tree())
    await installer.install(old, strict=True)
    before, files = links(workspace), workspace.files()
    assert before >= {"node_modules/is-number", "packages/lib/node_modules/left-pad"}
    (tmp_path / "before").mkdir()
    for name in RECORDS:
        shutil.copy2(workspace.root / name, tmp_path / "before")
    if not by_us:
        (tmp_path / "state/pnpm/installed.json").unlink()

    workspace.change_manifest(dependencies={"@demo/lib": "workspace:*", "is-even": "1.0.0"})
    workspace.change_manifest("packages/lib/package.json", dependencies={"isarray": "2.0.5"})
    workspace.lock()
    await installer.stage(workspace.tree())
    dies.touch()
    with pytest.raises(InstallError):
        await installer.install(await installer.fingerprint(workspace.tree()) or "", strict=True)
    assert "packages/lib/node_modules/isarray" in links(workspace)
    assert "node_modules/is-number" not in links(workspace)

    dies.unlink()
    for path, content in files.items():
        (workspace.root / path).write_bytes(content)
    await build(workspace, tmp_path).install(old, strict=True)
    assert links(workspace) >= before
    # what nobody is known to have installed completely is not taken away
    assert not by_us or links(workspace) == before


async def test_manifests_ahead_of_the_lockfile_are_an_error_when_strict(
    each_pnpm: str, workspace: Workspace, installer: PnpmInstaller
) -> None:
    workspace.depend_on(is_even="1.0.0")
    with pytest.raises(InstallError, match=r"run `pnpm install` where they were changed and commit") as raised:
        await installer.install("fingerprint", strict=True)
    assert "is-even" in raised.value.detail
    assert await installer.installed() is None
    assert each_pnpm


async def test_manifests_ahead_of_the_lockfile_are_installed_when_not_strict(
    each_pnpm: str, workspace: Workspace, installer: PnpmInstaller
) -> None:
    """The lockfile stays as it came: the checkout is what the source says."""
    workspace.depend_on(is_even="1.0.0")
    before = workspace.files()
    mode = (workspace.root / "pnpm-lock.yaml").stat().st_mode
    assert await installer.install("fingerprint", strict=False) == (UNFROZEN,)
    assert workspace.works
    assert workspace.runs("require('is-even')")
    assert workspace.files() == before
    assert (workspace.root / "pnpm-lock.yaml").stat().st_mode == mode
    assert await installer.installed() == "fingerprint"
    assert each_pnpm


async def test_settings_ahead_of_the_lockfile_are_manifests_too(workspace: Workspace, installer: PnpmInstaller) -> None:
    workspace.write("pnpm-workspace.yaml", "packages:\n  - packages/*\noverrides:\n  is-number: 6.0.0\n")
    with pytest.raises(InstallError, match="is behind the manifests"):
        await installer.install("fingerprint", strict=True)
    assert await installer.install("fingerprint", strict=False) == (UNFROZEN,)


async def test_without_a_lockfile_dependencies_are_installed_and_none_is_made(
    each_pnpm: str, workspace: Workspace, installer: PnpmInstaller
) -> None:
    (workspace.root / "pnpm-lock.yaml").unlink()
    before = workspace.files()
    assert await installer.install("fingerprint", strict=True) == (NO_LOCKFILE,)
    assert workspace.works
    assert workspace.files() == before
    assert each_pnpm


async def test_packages_that_vanished_from_the_store_are_fetched_by_the_forced_retry(
    workspace: Workspace, installer: PnpmInstaller, isolated_git: Path
) -> None:
    await installer.stage(workspace.tree())
    shutil.rmtree(isolated_git / ".local/share/pnpm/store")
    assert await installer.install("fingerprint", strict=True) == (FORCED,)
    assert workspace.works


async def test_when_force_does_not_help_both_outputs_are_told(
    installer: PnpmInstaller, cut_network: Callable[[], None]
) -> None:
    cut_network()
    with pytest.raises(InstallError) as raised:
        await installer.install("fingerprint", strict=True)
    first, _, second = raised.value.detail.partition("tried again with force")
    assert "OFFLINE" in first
    assert "127.0.0.1" in second or "refused" in second


async def test_after_a_failed_install_staging_looks_again(
    workspace: Workspace, installer: PnpmInstaller, spy: Spy
) -> None:
    await installer.stage(workspace.tree())
    workspace.change_manifest(scripts={"postinstall": "exit 3"})
    with pytest.raises(InstallError):
        await installer.install("fingerprint", strict=True)
    await installer.stage(workspace.tree())
    assert spy.verbs.count("fetch") == 2


async def test_an_install_that_takes_too_long_ends_with_all_of_its_children(
    workspace: Workspace, tmp_path: Path
) -> None:
    installer = build(workspace, tmp_path)
    await installer.stage(workspace.tree())
    pid = tmp_path / "pid"
    workspace.change_manifest(scripts={"postinstall": f"echo working on it; echo $$ >{pid}; exec sleep 60"})
    impatient = build(workspace, tmp_path, install_timeout=3)
    with pytest.raises(InstallError, match=r"`pnpm install` did not end within 3 s") as raised:
        await impatient.install("fingerprint", strict=True)
    assert "working on it" in raised.value.detail
    assert not Path("/proc", pid.read_text().strip()).exists()


@pytest.fixture
def tiny_modules(workspace: Workspace) -> Iterator[None]:
    folder = workspace.root / "node_modules"
    folder.mkdir()
    tmpfs = ("mount", "-t", "tmpfs", "-o", "size=12k", "none", folder)
    mounting = subprocess.run(tmpfs, capture_output=True, check=False)
    if mounting.returncode:
        pytest.skip("only root may mount")
    yield
    subprocess.run(("umount", folder), check=True)


@pytest.mark.usefixtures("tiny_modules")
async def test_a_full_disk_is_called_by_its_name(installer: PnpmInstaller, workspace: Workspace) -> None:
    await installer.stage(workspace.tree())
    with pytest.raises(NoSpaceError, match="the disk is full") as raised:
        await installer.install("fingerprint", strict=True)
    assert raised.value.path == str(workspace.root)


async def test_a_missing_pnpm_is_called_by_its_name(
    workspace: Workspace, installer: PnpmInstaller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in ("node", "npm"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ToolMissingError, match="'pnpm'"):
        await installer.stage(workspace.tree())
    with pytest.raises(ToolMissingError, match="'pnpm'"):
        await installer.install("fingerprint", strict=True)


# The store


async def test_the_store_is_that_of_a_plain_install_so_that_neither_undoes_the_other(
    each_pnpm: str, workspace: Workspace, installer: PnpmInstaller
) -> None:
    workspace.pnpm("install", program=each_pnpm)
    module = workspace.root / "node_modules/is-number/index.js"
    made, store = module.stat().st_ino, workspace.recorded("storeDir")
    await installer.install("fingerprint", strict=True)
    workspace.pnpm("install", program=each_pnpm)
    assert module.stat().st_ino == made
    assert workspace.recorded("storeDir") == store


async def test_the_store_that_node_modules_was_made_from_comes_first(
    workspace: Workspace, installer: PnpmInstaller, tmp_path: Path
) -> None:
    """With another store pnpm would make everything anew."""
    workspace.pnpm("install", "--store-dir", tmp_path / "other store")
    made = (workspace.root / "node_modules/is-number/index.js").stat().st_ino
    await installer.install("fingerprint", strict=True)
    assert workspace.recorded("storeDir").startswith(f"{tmp_path}/other store/")
    assert (workspace.root / "node_modules/is-number/index.js").stat().st_ino == made


async def test_a_recorded_store_that_is_gone_is_not_used(
    workspace: Workspace, installer: PnpmInstaller, tmp_path: Path, isolated_git: Path
) -> None:
    workspace.pnpm("install", "--store-dir", tmp_path / "other")
    shutil.rmtree(tmp_path / "other")
    await installer.install("fingerprint", strict=True)
    assert workspace.recorded("storeDir").startswith(f"{isolated_git}/")


@pytest.mark.parametrize(("ignored", "expected"), [("", "node_modules/.pnpm-store"), (".pnpm-store/\n", ".pnpm-store")])
async def test_a_store_in_the_checkout_is_one_that_git_does_not_see(
    ignored: str, expected: str, workspace: Workspace, installer: PnpmInstaller
) -> None:
    workspace.write(".gitignore", f"node_modules/\n{ignored}")
    workspace.write("pnpm-workspace.yaml", "packages:\n  - packages/*\nstoreDir: ./.pnpm-store\n")
    await installer.stage(workspace.tree())
    await installer.install("fingerprint", strict=True)
    assert workspace.recorded("storeDir").startswith(f"{workspace.root}/{expected}/")
    assert (workspace.root / ".pnpm-store").exists() == bool(ignored)
    assert workspace.works


@pytest.mark.parametrize("home", ["", "/nowhere/at/all", "relative"])
async def test_without_a_usable_home_pnpm_gets_one_in_the_state_folder(
    home: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", home)
    installer = build(workspace, tmp_path)
    await installer.stage(workspace.tree())
    assert await installer.install("fingerprint", strict=True) == ()
    assert workspace.works
    assert workspace.recorded("storeDir").startswith(f"{tmp_path}/state/pnpm/home/")


async def test_the_settings_in_a_home_that_cannot_be_written_still_count(
    workspace: Workspace, installer: PnpmInstaller, isolated_git: Path, monkeypatch: pytest.MonkeyPatch, spy: Spy
) -> None:
    (isolated_git / ".npmrc").write_text("")
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != isolated_git and may(path, mode))
    await installer.stage(workspace.tree())
    assert spy.settings == {str(isolated_git / ".npmrc")}
    assert str(isolated_git) not in spy.homes


# The pinned pnpm


async def test_the_pinned_pnpm_is_fetched_while_staging_and_used_offline(
    workspace: Workspace, installer: PnpmInstaller, cut_network: Callable[[], None]
) -> None:
    workspace.change_manifest(
        packageManager=f"pnpm@{PINNED}+sha512.{PINNED_SHA512}", scripts={"postinstall": "pnpm --version >version"}
    )
    await installer.stage(workspace.tree())
    cut_network()
    assert await installer.install("fingerprint", strict=True) == ()
    assert workspace.recorded("packageManager") == f"pnpm@{PINNED}"
    assert (workspace.root / "version").read_text() == f"{PINNED}\n"
    assert workspace.works


async def test_a_pin_that_cannot_be_fetched_is_not_followed_and_a_note_says_so(
    each_pnpm: str, workspace: Workspace, installer: PnpmInstaller
) -> None:
    workspace.change_manifest(packageManager="pnpm@10.999.0")
    await installer.stage(workspace.tree())
    (note,) = await installer.install("fingerprint", strict=True)
    installed = workspace.recorded("packageManager").replace("@", " ")
    assert note == f"package.json asks for pnpm 10.999.0, which could not be fetched; {installed} was used instead"
    assert workspace.works
    assert each_pnpm


async def test_a_pin_of_the_installed_pnpm_needs_nothing(
    each_pnpm: str, workspace: Workspace, installer: PnpmInstaller, tmp_path: Path
) -> None:
    workspace.change_manifest(packageManager=f"pnpm@{workspace.pnpm('--version', program=each_pnpm)}")
    await installer.stage(workspace.tree())
    assert await installer.install("fingerprint", strict=True) == ()
    assert list((tmp_path / "state/pnpm/programs").iterdir()) == []


async def test_a_pinned_pnpm_with_another_checksum_is_refused(
    workspace: Workspace, installer: PnpmInstaller, tmp_path: Path
) -> None:
    workspace.change_manifest(packageManager=f"pnpm@{PINNED}+sha512.{'0' * 128}")
    with pytest.raises(InstallError, match=f"the checksum of pnpm {PINNED} is not the one"):
        await installer.stage(workspace.tree())
    assert list((tmp_path / "state/pnpm/programs").iterdir()) == []
