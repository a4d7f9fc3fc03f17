"""Which code and which interpreter the launcher runs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machine_root import MachineRoot, write_fake_daemon

CHECK = ("check", "--anything")


@pytest.fixture
def machine(tmp_path: Path) -> MachineRoot:
    """With an image that has a daemon of its own installed beside its interpreter."""
    machine = MachineRoot(tmp_path)
    image = machine.root / "opt/refreshd/.venv"
    image.unlink()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", image], check=True)
    (site_packages,) = image.glob("lib/python*/site-packages")
    write_fake_daemon(site_packages)
    return machine


def image_python(machine: MachineRoot) -> str:
    return str(machine.root / "opt/refreshd/.venv/bin/python")


def image_daemon(machine: MachineRoot) -> str:
    (path,) = (machine.root / "opt/refreshd/.venv").glob("lib/python*/site-packages/daemon/__main__.py")
    return str(path)


def launched(machine: MachineRoot, **extra: str) -> tuple[str, str]:
    """The interpreter and the program that ran."""
    done = machine.launch(*CHECK, cwd=machine.folder, env=machine.env | extra)
    assert done.returncode == 0, done.stderr
    (start,) = machine.starts()
    assert start["arguments"] == list(CHECK)
    return start["executable"], start["file"]


def test_checkout_with_venv_runs_its_code_by_its_interpreter(machine: MachineRoot) -> None:
    python = machine.link_interpreter(machine.repo)
    assert launched(machine) == (str(python), str(machine.repo / "daemon/__main__.py"))


def test_checkout_without_venv_runs_its_code_by_the_images_interpreter(machine: MachineRoot) -> None:
    assert launched(machine) == (image_python(machine), str(machine.repo / "daemon/__main__.py"))


def test_checkout_whose_venv_points_nowhere_runs_by_the_images_interpreter(machine: MachineRoot) -> None:
    (machine.repo / ".venv/bin").mkdir(parents=True)
    (machine.repo / ".venv/bin/python").symlink_to(machine.folder / "gone")
    assert launched(machine)[0] == image_python(machine)


def test_code_folder_inside_the_checkout_is_found(machine: MachineRoot) -> None:
    code = machine.repo / "tools/refreshd"
    code.mkdir(parents=True)
    shutil.move(machine.repo / "daemon", code / "daemon")
    assert launched(machine, REFRESHD_CODE_DIR="tools/refreshd")[1] == str(code / "daemon/__main__.py")


def test_checkout_without_daemon_runs_the_images(machine: MachineRoot) -> None:
    shutil.rmtree(machine.repo / "daemon")
    assert launched(machine) == (image_python(machine), image_daemon(machine))


def test_checkout_that_does_not_exist_yet_runs_the_images(machine: MachineRoot) -> None:
    shutil.rmtree(machine.repo)
    assert launched(machine)[1] == image_daemon(machine)


def test_checkout_with_half_a_daemon_runs_the_images(machine: MachineRoot) -> None:
    (machine.repo / "daemon/__init__.py").unlink()
    assert launched(machine)[1] == image_daemon(machine)


def test_images_daemon_does_not_lose_against_the_current_folder(machine: MachineRoot) -> None:
    shutil.rmtree(machine.repo / "daemon")
    write_fake_daemon(machine.folder)
    assert launched(machine)[1] == image_daemon(machine)


def test_python_path_of_the_container_does_not_replace_the_images_daemon(machine: MachineRoot) -> None:
    shutil.rmtree(machine.repo / "daemon")
    elsewhere = machine.folder / "elsewhere"
    write_fake_daemon(elsewhere)
    assert launched(machine, PYTHONPATH=str(elsewhere))[1] == image_daemon(machine)


@pytest.mark.parametrize("name", ["PYTHONHOME", "PYTHONSAFEPATH"])
def test_python_variables_of_the_container_decide_nothing(machine: MachineRoot, name: str) -> None:
    elsewhere = machine.folder / "elsewhere"
    write_fake_daemon(elsewhere)
    assert launched(machine, **{name: str(elsewhere)})[1] == str(machine.repo / "daemon/__main__.py")


def test_daemon_is_told_its_launcher(machine: MachineRoot) -> None:
    launched(machine)
    assert machine.starts()[0]["environment"]["REFRESHD_LAUNCHER"] == str(machine.libexec / "launch")


def test_exit_code_of_the_daemon_is_the_launchers(machine: MachineRoot) -> None:
    machine.behave(check={"exit": 7})
    assert machine.launch(*CHECK, cwd=machine.folder, env=machine.env).returncode == 7


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"ITERATE_REPO": ""}, "ITERATE_REPO is not set"),
        ({"ITERATE_REPO": "home/repo"}, "ITERATE_REPO must be an absolute path, not home/repo"),
        ({"ITERATE_REPO": "/dev/null"}, "ITERATE_REPO must be a folder, and /dev/null is none"),
        ({"REFRESHD_CODE_DIR": "/tools"}, "REFRESHD_CODE_DIR must be a path inside the checkout, not /tools"),
        ({"REFRESHD_CODE_DIR": "tools/../.."}, "must be a path inside the checkout, not tools/../.."),
        ({"REFRESHD_CODE_DIR": ".."}, "must be a path inside the checkout, not .."),
    ],
)
def test_unusable_setting_ends_with_100_and_says_which(
    machine: MachineRoot, environment: dict[str, str], sentence: str
) -> None:
    done = machine.launch(*CHECK, cwd=machine.folder, env=machine.env | environment)
    assert done.returncode == 100
    assert sentence in done.stderr
    assert machine.starts() == []


def test_missing_setting_ends_with_100(machine: MachineRoot) -> None:
    env = {name: value for name, value in machine.env.items() if name != "ITERATE_REPO"}
    done = machine.launch(*CHECK, cwd=machine.folder, env=env)
    assert done.returncode == 100
    assert "ITERATE_REPO is not set" in done.stderr


def test_neither_interpreter_ends_with_100(machine: MachineRoot) -> None:
    shutil.rmtree(machine.root / "opt")
    done = machine.launch(*CHECK, cwd=machine.folder, env=machine.env)
    assert done.returncode == 100
    assert "there is no interpreter for" in done.stderr


def test_no_daemon_anywhere_ends_with_100(machine: MachineRoot) -> None:
    shutil.rmtree(machine.root / "opt")
    shutil.rmtree(machine.repo / "daemon")
    done = machine.launch(*CHECK, cwd=machine.folder, env=machine.env)
    assert done.returncode == 100
    assert "there is no daemon in" in done.stderr
