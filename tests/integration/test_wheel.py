"""The package holds all that a machine or a host needs, and runs where nothing else of the project is."""

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from email.parser import Parser
from pathlib import Path

import pytest

import daemon

ROOT = Path(__file__).parents[2]
MACHINE_FILES = sorted(
    [ROOT / "entry.sh", ROOT / "Dockerfile", *(path for path in (ROOT / "s6-overlay").rglob("*") if path.is_file())]
)


@pytest.fixture(scope="module")
def cache() -> str:
    """Asked for before the home folder becomes an empty one: packages that are here need not be fetched again."""
    return subprocess.run(["uv", "cache", "dir"], capture_output=True, check=True, text=True).stdout.strip()


def elsewhere(command: Sequence[str | Path], home: Path, cache: str) -> str:
    """Standard output of a command that knows neither this checkout nor its virtual environment."""
    ours = ("PYTHON", "VIRTUAL_ENV", "UV_PROJECT", "REFRESHD_", "ITERATE_", "COV_")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    ran = subprocess.run(
        command,
        cwd=home,
        env=environ | {"HOME": str(home), "UV_CACHE_DIR": cache, "UV_PYTHON": sys.executable},
        capture_output=True,
        check=False,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, cache: str) -> Path:
    """A source distribution, and the wheel that was made from it and not from the checkout."""
    folder = tmp_path_factory.mktemp("built")
    elsewhere(["uv", "build", "--out-dir", folder, ROOT], folder, cache)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("path", MACHINE_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_wheel_holds_the_machine_byte_for_byte(path: Path, content: dict[str, bytes]) -> None:
    assert content[f"daemon/machine/{path.relative_to(ROOT)}"] == path.read_bytes()


def test_the_machine_is_more_than_its_entry_point() -> None:
    """The test above has a case for each file that is there; this one says that there are some."""
    names = {path.name for path in MACHINE_FILES}
    assert {"entry.sh", "Dockerfile", "run", "finish", "notification-fd"} <= names


def test_the_wheel_holds_every_module(content: dict[str, bytes]) -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "daemon").rglob("*.py")}
    assert {name for name in content if name.endswith(".py")} == modules


def test_the_wheel_holds_nothing_else(content: dict[str, bytes], wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in content}
    assert tops == {"daemon", "-".join(wheel.name.split("-")[:2]) + ".dist-info"}
    assert [name for name in content if "__pycache__" in name or name.endswith(".pyc")] == []


def test_the_wheel_is_typed_and_licensed(content: dict[str, bytes]) -> None:
    assert {"daemon/py.typed", "daemon/triggers/app_router.d.ts", "daemon/control/app_router.d.ts"} <= content.keys()
    assert [name for name in content if name.endswith(".dist-info/licenses/LICENSE")]


def test_the_wheel_names_the_version_and_the_command(content: dict[str, bytes], wheel: Path) -> None:
    info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    metadata = Parser().parsestr(content[f"{info}/METADATA"].decode())
    assert (metadata["Name"], metadata["Version"]) == ("refreshd", daemon.__version__)
    assert "refreshd = daemon.__main__:main" in content[f"{info}/entry_points.txt"].decode()


def test_the_source_distribution_holds_no_tests_and_no_hidden_files(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        tops = {name.split("/")[1] for name in source.getnames()}
    assert tops - {"PKG-INFO", ".gitignore"} == {
        "daemon",
        "s6-overlay",
        "entry.sh",
        "Dockerfile",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "pyproject.toml",
    }


def test_the_command_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path, cache: str) -> None:
    told = elsewhere(["uvx", "--from", wheel, "refreshd", "--help"], tmp_path, cache)
    assert told.startswith("usage: refreshd ")
    assert "update" in told


def test_the_wheel_lays_out_a_machine(wheel: Path, tmp_path: Path, cache: str) -> None:
    """Modes do not survive every way that files take, so they are set where the files arrive."""
    elsewhere(["uvx", "--from", wheel, "refreshd", "overlay", tmp_path / "root"], tmp_path, cache)
    for path in sorted((ROOT / "s6-overlay").rglob("*")):
        if path.is_file():
            laid_out = tmp_path / "root" / path.relative_to(ROOT / "s6-overlay")
            assert laid_out.read_bytes() == path.read_bytes()
            assert os.access(laid_out, os.X_OK) == path.read_bytes().startswith(b"#!")


def test_the_whole_package_imports_from_the_wheel_alone(wheel: Path, tmp_path: Path, cache: str) -> None:
    """What is not declared as a dependency would be missing here and nowhere else. The extra is another matter."""
    program = (
        "import importlib, pkgutil, daemon\n"
        "names = [m.name for m in pkgutil.walk_packages(daemon.__path__, 'daemon.') if m.name != 'daemon.__main__'\n"
        "         and not {'control', 'docker'} & {*m.name.split('.')}]\n"
        "for name in names: importlib.import_module(name)\n"
        "print(len(names), daemon.__file__)"
    )
    told = elsewhere(["uvx", "--from", wheel, "--with", wheel, "python", "-c", program], tmp_path, cache)
    count, path = told.split(maxsplit=1)
    assert int(count) > 20
    assert not Path(path.strip()).is_relative_to(ROOT)
