"""The uv installer with the real uv, in a project of two small packages."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.errors import InstallError, NoSpaceError, ToolMissingError
from daemon.installers.uv import FORCED, UvInstaller
from daemon.trees import FolderTree

CODE = Path("services/refreshd")
FILES = ("uv.lock", "pyproject.toml", ".python-version")


def pyproject(*dependencies: str, python: str = ">=3.11") -> str:
    listed = ", ".join(f'"{dependency}"' for dependency in dependencies)
    return (
        f'[project]\nname = "Demo.App"\nversion = "1.0"\nrequires-python = "{python}"\ndependencies = [{listed}]\n'
        '[dependency-groups]\ndev = ["six==1.17.0"]\n'
    )


class Project:
    """A checkout whose daemon lives in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.code = root / CODE
        self.code.mkdir(parents=True)

    def write(self, name: str, content: str) -> None:
        (self.code / name).write_text(content)

    def copy(self, root: Path) -> "Project":
        project = Project(root)
        for name in ("uv.lock", "pyproject.toml"):
            shutil.copy(self.code / name, project.code)
        return project

    def tree(self) -> FolderTree:
        return FolderTree(self.root, [os.fsencode(CODE / name) for name in FILES])

    def contents(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.code)): path.read_bytes() for path in self.code.glob("*") if path.is_file()}

    def imports(self, name: str) -> bool:
        python = self.code / ".venv/bin/python"
        return subprocess.run((python, "-c", f"import {name}"), capture_output=True, check=False).returncode == 0

    @property
    def python(self) -> Path:
        return (self.code / ".venv/bin/python").resolve()


@pytest.fixture(scope="session")
def real_uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of uv itself: what PATH has may be a launcher with an opinion on `.python-version`."""
    asked = ("uv", "run", "--no-project", "sh", "-c", 'echo "$UV"')
    program = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    folder = tmp_path_factory.mktemp("uv")
    (folder / "uv").symlink_to(program)
    return folder


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project") / "root")
    project.write("pyproject.toml", pyproject("iniconfig==2.1.0"))
    subprocess.run(("uv", "lock"), cwd=project.code, check=True, capture_output=True)
    return project


@pytest.fixture
def project(locked: Project, tmp_path: Path) -> Project:
    return locked.copy(tmp_path / "checkout")


@pytest.fixture
def installer(project: Project, tmp_path: Path, real_uv: Path, monkeypatch: pytest.MonkeyPatch) -> UvInstaller:
    monkeypatch.setenv("PATH", f"{real_uv}:{os.environ['PATH']}")
    for name in ("UV_CACHE_DIR", "UV_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    return build(project, tmp_path)


def build(project: Project, tmp_path: Path, install_timeout: float = 60) -> UvInstaller:
    return UvInstaller(
        repo=project.root,
        code_dir=CODE,
        state_dir=tmp_path / "state",
        stage_timeout=60,
        install_timeout=install_timeout,
    )


@pytest.fixture
def cut_network(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def cut() -> None:
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)

    return cut


def imitate_uv(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a program named uv first in PATH; `$REAL` is the real one."""
    folder.mkdir()
    program = folder / "uv"
    program.write_text(f"#!/bin/sh\nREAL={shutil.which('uv')}\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.fixture
def calls(installer: UvInstaller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    assert installer is not None, "what it asks for is counted"
    log = tmp_path / "calls"
    log.touch()
    imitate_uv(tmp_path / "spy", f'echo "$PWD $*" >>{log}\nexec "$REAL" "$@"', monkeypatch)
    return lambda: log.read_text().splitlines()


async def test_a_code_folder_without_a_lockfile_is_no_project(project: Project, installer: UvInstaller) -> None:
    (project.code / "uv.lock").unlink()
    assert await installer.fingerprint(project.tree()) is None


async def test_a_project_elsewhere_in_the_checkout_is_not_ours(project: Project, tmp_path: Path) -> None:
    elsewhere = UvInstaller(
        repo=project.root, code_dir=Path(), state_dir=tmp_path / "state", stage_timeout=60, install_timeout=60
    )
    assert await elsewhere.fingerprint(project.tree()) is None


@pytest.mark.parametrize("name", FILES)
async def test_the_fingerprint_follows_every_input(name: str, project: Project, installer: UvInstaller) -> None:
    before = await installer.fingerprint(project.tree())
    project.write(name, "# changed\n")
    assert await installer.fingerprint(project.tree()) != before


async def test_the_fingerprint_follows_uv_without_starting_it(
    project: Project, installer: UvInstaller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await installer.fingerprint(project.tree())
    imitate_uv(tmp_path / "other", f"touch {tmp_path}/started", monkeypatch)
    assert await installer.fingerprint(project.tree()) != before
    assert not (tmp_path / "started").exists()


async def test_after_staging_an_install_needs_no_network(
    project: Project, installer: UvInstaller, tmp_path: Path, cut_network: Callable[[], None]
) -> None:
    before = project.contents()
    await installer.stage(project.tree())
    assert not (project.code / ".venv").exists()
    assert sorted(path.name for path in (tmp_path / "state/uv").iterdir()) == ["cache", "stocked.json"]
    cut_network()
    assert await installer.install("fingerprint", strict=True) == ()
    assert project.imports("iniconfig")
    assert not project.imports("six"), "a group for development"
    assert project.contents() == before


async def test_the_environment_is_made_from_the_python_that_runs_us(project: Project, installer: UvInstaller) -> None:
    await installer.install("fingerprint", strict=True)
    assert project.python == Path(sys.executable).resolve()


async def test_a_pinned_python_version_is_followed_and_never_downloaded(
    project: Project, installer: UvInstaller, real_uv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{real_uv}:{sys.base_prefix}/bin")
    project.write(".python-version", "3.99\n")
    with pytest.raises(InstallError) as raised:
        await installer.install("fingerprint", strict=True)
    assert "No interpreter found for Python 3.99" in raised.value.detail
    project.write(".python-version", f"{sys.version_info.major}.{sys.version_info.minor}\n")
    await installer.install("fingerprint", strict=True)
    assert project.imports("iniconfig")


async def test_an_input_that_was_fetched_is_not_fetched_again(
    project: Project, installer: UvInstaller, tmp_path: Path, calls: Callable[[], list[str]]
) -> None:
    await installer.stage(project.tree())
    await build(project, tmp_path).stage(project.tree())
    assert len(calls()) == 1
    shutil.rmtree(tmp_path / "state/uv/cache")
    await installer.stage(project.tree())
    assert len(calls()) == 2


async def test_the_cache_is_the_one_that_the_environment_names(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "mine"))
    await build(project, tmp_path).stage(project.tree())
    assert (tmp_path / "mine").is_dir()
    assert not (tmp_path / "state/uv/cache").exists()


async def test_staging_that_fails_leaves_nothing(
    project: Project, installer: UvInstaller, tmp_path: Path, cut_network: Callable[[], None]
) -> None:
    cut_network()
    with pytest.raises(InstallError, match="cannot install dependencies with uv: `uv sync` ended with") as raised:
        await installer.stage(project.tree())
    assert "iniconfig" in raised.value.detail
    assert not (tmp_path / "state/uv/staging").exists()
    assert not (tmp_path / "state/uv/stocked.json").exists()


async def test_success_is_remembered_until_the_interpreter_is_gone(
    project: Project, installer: UvInstaller, tmp_path: Path
) -> None:
    assert await installer.installed() is None
    await installer.install("fingerprint", strict=True)
    assert await build(project, tmp_path).installed() == "fingerprint"
    python = project.code / ".venv/bin/python"
    python.unlink()
    python.symlink_to(tmp_path / "an interpreter that was removed")
    assert await installer.installed() is None


async def test_the_old_success_is_forgotten_before_an_install_starts(
    installer: UvInstaller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await installer.install("before", strict=True)
    imitate_uv(tmp_path / "late", f"test -e {tmp_path}/state/uv/installed.json || touch {tmp_path}/absent", monkeypatch)
    await installer.install("after", strict=True)
    assert (tmp_path / "absent").exists()
    assert await installer.installed() == "after"


async def test_a_dependency_that_the_lockfile_lacks_is_an_error_when_strict(
    project: Project, installer: UvInstaller
) -> None:
    project.write("pyproject.toml", pyproject("iniconfig==2.1.0", "Six==1.17.0"))
    with pytest.raises(InstallError, match=r"uv.lock lacks six; run `uv lock` where pyproject.toml was changed"):
        await installer.install("fingerprint", strict=True)
    assert await installer.installed() is None


async def test_a_dependency_that_the_lockfile_lacks_is_installed_when_not_strict(
    project: Project, installer: UvInstaller
) -> None:
    project.write("pyproject.toml", pyproject("iniconfig==2.1.0", "Six==1.17.0"))
    before = project.contents()
    (note,) = await installer.install("fingerprint", strict=False)
    assert note.startswith("uv.lock lacks six: it was installed all the same")
    assert project.imports("six")
    assert project.contents() == before


async def test_packages_that_vanished_from_the_cache_are_fetched_by_the_forced_retry(
    project: Project, installer: UvInstaller, tmp_path: Path
) -> None:
    await installer.stage(project.tree())
    shutil.rmtree(tmp_path / "state/uv/cache")
    assert await installer.install("fingerprint", strict=True) == (FORCED,)
    assert project.imports("iniconfig")


async def test_when_force_does_not_help_both_outputs_are_told(
    project: Project, installer: UvInstaller, cut_network: Callable[[], None]
) -> None:
    cut_network()
    with pytest.raises(InstallError) as raised:
        await installer.install("fingerprint", strict=True)
    first, _, second = raised.value.detail.partition("tried again with force")
    assert "Network connectivity is disabled" in first
    assert "Network connectivity is disabled" not in second
    assert await installer.installed() is None
    assert (project.code / "uv.lock").exists()


async def test_an_install_that_takes_too_long_ends_with_all_of_its_children(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = tmp_path / "pid"
    imitate_uv(tmp_path / "slow", f"echo at work; (echo $$ >{pid}; exec sleep 60) & wait", monkeypatch)
    with pytest.raises(InstallError, match=r"`uv sync` did not end within 0.5 s") as raised:
        await build(project, tmp_path, install_timeout=0.5).install("fingerprint", strict=True)
    assert raised.value.detail == "at work"
    assert not Path("/proc", pid.read_text().strip()).exists()


async def test_a_cancelled_install_is_no_success(
    project: Project, installer: UvInstaller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await installer.install("before", strict=True)
    imitate_uv(tmp_path / "slow", f"touch {tmp_path}/started; exec sleep 60", monkeypatch)
    installing = asyncio.ensure_future(installer.install("after", strict=True))
    while not (tmp_path / "started").exists():  # another process has no event to wait for
        assert not installing.done(), installing
        await asyncio.sleep(0.01)
    installing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await installing
    assert project.imports("iniconfig")
    assert await installer.installed() is None


async def test_a_full_disk_is_called_by_its_name(
    project: Project, installer: UvInstaller, tmp_path: Path, calls: Callable[[], list[str]]
) -> None:
    """And not tried again: there is no room for that."""
    cache = tmp_path / "state/uv/cache"
    cache.mkdir(parents=True)
    tmpfs = ("mount", "-t", "tmpfs", "-o", "size=12k", "none", cache)
    if subprocess.run(tmpfs, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    try:
        with pytest.raises(NoSpaceError) as raised:
            await installer.stage(project.tree())
        assert raised.value.path == str(cache)
        assert len(calls()) == 1
    finally:
        subprocess.run(("umount", cache), check=True)


async def test_a_missing_uv_is_called_by_its_name(
    installer: UvInstaller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="'uv'"):
        await installer.install("fingerprint", strict=True)
