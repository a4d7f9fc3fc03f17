"""Code that this process runs already needs no other proof; whatever differs from it does."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import daemon
from daemon import own_code
from daemon.check import Checker
from daemon.own_code import OwnCode
from daemon.trees import FolderTree

HERE = Path()


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OwnCode:
    """Of a process that runs from a small checkout."""
    package = tmp_path / "daemon"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "engine.py", "inner/page.html"):
        (package / name).write_text(f"# {name}\n")
    monkeypatch.setattr(daemon, "__file__", str(package / "__init__.py"))
    found = own_code.look(tmp_path, HERE)
    assert found
    return found


def tree(repo: Path) -> FolderTree:
    paths = (path for path in repo.rglob("*") if path.is_file())
    return FolderTree(repo, [str(path.relative_to(repo)).encode() for path in paths])


def checker(own: OwnCode, program: str) -> Checker:
    """`program` stands for the daemon in a child."""
    launcher = own.repo.parent / f"{own.repo.name}-launcher"
    launcher.write_text(f"#!{sys.executable}\n{program}\n")
    launcher.chmod(0o755)
    return Checker(code_path=own.repo, launcher=launcher, environment={}, timeout=20, patience=20, own=own)


async def test_code_that_runs_is_not_tried_in_a_child(code: OwnCode) -> None:
    check = checker(code, "raise SystemExit('a child was started')")
    await check.warm(tree(code.repo))
    check.begin()
    assert await check.check(new_libraries=False) == daemon.__version__


async def test_new_libraries_are_tried_even_with_the_same_code(code: OwnCode) -> None:
    check = checker(code, 'print(\'{"version": "from a child"}\')')
    assert await check.check(new_libraries=True) == "from a child"


async def test_code_that_changed_is_tried_in_a_child(code: OwnCode) -> None:
    check = checker(code, 'print(\'{"version": "from a child"}\')')
    _changed(code.repo)
    assert await check.check(new_libraries=False) == "from a child"


def _changed(repo: Path) -> None:
    (repo / "daemon" / "engine.py").write_text("# engine_py\n")


def _new(repo: Path) -> None:
    (repo / "daemon" / "new.py").touch()


def _gone(repo: Path) -> None:
    (repo / "daemon" / "engine.py").unlink()


def _shadowed(repo: Path) -> None:
    (repo / "aiohttp").mkdir()


def _other_interpreter(repo: Path) -> None:
    (repo / ".venv" / "bin").mkdir(parents=True)
    (repo / ".venv" / "bin" / "python").touch()


@pytest.mark.parametrize("change", [_changed, _new, _gone, _shadowed, _other_interpreter])
async def test_what_could_be_imported_otherwise_is_not_what_runs(code: OwnCode, change: Callable[[Path], None]) -> None:
    assert await code.unchanged()
    change(code.repo)
    assert not await code.unchanged()


async def test_byte_code_and_other_files_of_the_checkout_do_not_count(code: OwnCode) -> None:
    (code.repo / "daemon" / "__pycache__").mkdir()
    (code.repo / "daemon" / "__pycache__" / "engine.cpython-311.pyc").touch()
    (code.repo / "README").touch()
    assert await code.unchanged()


async def test_a_tree_with_the_same_daemon_is_known(code: OwnCode) -> None:
    (code.repo / "README").write_text("another\n")
    assert await code.is_in(tree(code.repo))


@pytest.mark.parametrize("change", [_changed, _new, _gone])
async def test_a_tree_with_another_daemon_is_known(
    code: OwnCode, tmp_path_factory: pytest.TempPathFactory, change: Callable[[Path], None]
) -> None:
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(code.repo, other, dirs_exist_ok=True)
    change(other)
    assert not await code.is_in(tree(other))


async def test_code_that_somebody_removed_here_does_not_keep_an_update_away(
    code: OwnCode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(code.repo, other, dirs_exist_ok=True)
    _gone(code.repo)
    assert not await code.is_in(tree(other))


def test_a_process_of_other_code_has_none_in_the_checkout(tmp_path: Path) -> None:
    shutil.copytree(Path(daemon.__file__).parent / "triggers", tmp_path / "daemon")
    assert own_code.look(tmp_path, HERE) is None
