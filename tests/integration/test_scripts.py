"""The project's own scripts: what they install, what they refuse, and that each gate can say no."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = (
    *("git", "rsync", "s6-svscan", "execlineb", "node", "npm", "curl", "pnpm", "uv", "apt-get"),
    *("shellcheck", "systemd-analyze", "chromium", "postgres"),
)
SHELL_NEEDS = ("bash", "env", "dirname", "basename", "cat", "mkdir", "ln", "touch")

Ran = subprocess.CompletedProcess[str]


class Machine:
    """A PATH on which only certain programs are; each writes down how it was called."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self._calls = folder / "calls"
        self._home = folder / "home"
        self.bin.mkdir(parents=True)
        self._home.mkdir()
        for name in SHELL_NEEDS:
            (self.bin / name).symlink_to(shutil.which(name) or name)
        for name in TOOLS:
            self.has(name)
        self.has("id", "echo 0")
        self.has("python3", f'exec "{sys.executable}" "$@"')

    def has(self, name: str, body: str = "exit 0") -> None:
        program = self.bin / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self._calls}"\n{body}\n')
        program.chmod(0o755)

    def lacks(self, *names: str) -> None:
        for name in names:
            (self.bin / name).unlink()

    def install(self, *options: str) -> Ran:
        return subprocess.run(
            [ROOT / "scripts/install", *options],
            env={"PATH": str(self.bin), "HOME": str(self._home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
        )

    def calls(self, *names: str) -> list[str]:
        lines = self._calls.read_text().splitlines() if self._calls.exists() else []
        return [line for line in lines if line.split()[0] in names]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def adds(machine: Machine, *packages: str) -> str:
    """The body of an apt-get that brings programs of these names."""
    words = " ".join(f'"{machine.bin}/{package}"' for package in packages)
    return f'case "$*" in *" install "*) for p in {words}; do printf "#!/bin/sh\\n" >$p; chmod +x $p; done ;; esac'


def test_a_machine_that_has_all_is_left_alone(machine: Machine) -> None:
    ran = machine.install("--dev", "--quiet")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert machine.calls("apt-get", "npm", "sudo") == []


def test_without_quiet_it_says_that_all_is_there(machine: Machine) -> None:
    assert machine.install().stderr == "install: everything is there\n"


def test_only_what_is_missing_is_installed(machine: Machine) -> None:
    machine.has("chmod", 'exec /bin/chmod "$@"')
    machine.has("apt-get", adds(machine, "rsync", "s6-svscan"))
    machine.lacks("rsync", "s6-svscan")
    ran = machine.install()
    assert ran.returncode == 0, ran.stderr
    update, install = machine.calls("apt-get")
    assert update.endswith(" update")
    assert install.endswith(" install --no-install-recommends rsync s6")


def test_a_dry_run_says_what_would_be_done_and_does_nothing(machine: Machine) -> None:
    machine.lacks("git", "npm", "pnpm", "uv", "shellcheck")
    ran = machine.install("--dev", "--dry-run")
    assert ran.returncode == 0
    assert [line.removeprefix("install: would be ") for line in ran.stderr.splitlines()][:3] == [
        "adding git shellcheck (apt)",
        "adding npm (apt)",
        "adding pnpm 12 (npm)",
    ]
    assert "adding uv" in ran.stderr
    assert machine.calls("apt-get", "npm", "uv") == []


def test_shellcheck_is_for_those_who_lint(machine: Machine) -> None:
    machine.lacks("shellcheck")
    assert machine.install().returncode == 0
    assert machine.calls("apt-get") == []


def test_npm_that_comes_with_nodejs_is_not_installed_again(machine: Machine) -> None:
    """Some repositories' nodejs brings npm and conflicts with Debian's package of that name."""
    machine.has("chmod", 'exec /bin/chmod "$@"')
    machine.has("apt-get", adds(machine, "node", "npm"))
    machine.lacks("node", "npm")
    ran = machine.install()
    assert ran.returncode == 0, ran.stderr
    assert [call.split("--no-install-recommends ")[1] for call in machine.calls("apt-get")[1:]] == ["nodejs"]


def test_a_failed_installation_shows_why_and_stops(machine: Machine) -> None:
    machine.lacks("rsync", "pnpm")
    machine.has("apt-get", "echo 'no such package' >&2; exit 100")
    ran = machine.install()
    assert ran.returncode != 0
    assert "no such package" in ran.stderr
    assert machine.calls("npm") == []


def test_where_there_is_no_apt_it_says_what_to_install(machine: Machine) -> None:
    machine.lacks("apt-get", "rsync", "npm")
    ran = machine.install()
    assert ran.returncode == 1
    assert "without apt: rsync npm" in ran.stderr


def test_where_there_is_no_apt_and_all_is_there_it_is_not_missed(machine: Machine) -> None:
    machine.lacks("apt-get")
    assert machine.install().returncode == 0


def test_an_old_python_is_refused_before_anything_is_changed(machine: Machine) -> None:
    machine.lacks("rsync")
    machine.has("python3", 'case "$1" in --version) echo Python 3.9.2 ;; *) exit 1 ;; esac')
    ran = machine.install()
    assert ran.returncode == 1
    assert ran.stderr.startswith("install: cannot use Python 3.9.2: have Python 3.11 or later")
    assert machine.calls("apt-get") == []


def test_a_newer_python_beside_an_old_one_is_found(machine: Machine) -> None:
    machine.has("python3", "exit 1")
    machine.has("python3.13", f'exec "{sys.executable}" "$@"')
    assert machine.install().returncode == 0


def test_without_root_and_sudo_it_says_so(machine: Machine) -> None:
    machine.has("id", "echo 1000")
    machine.lacks("rsync")
    ran = machine.install()
    assert ran.returncode == 1
    assert "be root, or install sudo" in ran.stderr
    assert machine.calls("apt-get") == []


def test_without_root_and_with_nothing_missing_sudo_is_not_asked(machine: Machine) -> None:
    machine.has("id", "echo 1000")
    machine.has("sudo", "exit 1")
    assert machine.install().returncode == 0
    assert machine.calls("sudo") == []


def test_a_user_installs_through_sudo(machine: Machine) -> None:
    machine.has("chmod", 'exec /bin/chmod "$@"')
    machine.has("true")
    machine.has("id", "echo 1000")
    machine.has("sudo", 'exec "$@"')
    machine.has("apt-get", adds(machine, "rsync"))
    machine.lacks("rsync")
    ran = machine.install()
    assert ran.returncode == 0, ran.stderr
    assert len(machine.calls("apt-get")) == 2
    assert [call for call in machine.calls("sudo") if "apt-get" in call and "install" in call]


def test_a_shim_with_nothing_behind_it_is_no_uv(machine: Machine) -> None:
    machine.has("uv", "exit 127")
    assert "adding uv" in machine.install("--dry-run").stderr


def test_an_unknown_option_is_wrong_usage(machine: Machine) -> None:
    ran = machine.install("--everything")
    assert ran.returncode == 2
    assert ran.stderr.startswith("Usage: scripts/install")


class Tree:
    """A small project with the real lint script and its rules; nothing is to be installed in it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        for name in ("scripts/lint", "scripts/_lib.sh", "pyproject.toml", "uv.lock"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
        self.write("scripts/install", "#!/bin/sh\n")
        (root / "scripts/install").chmod(0o755)
        self.write("daemon/__init__.py", '"""A module."""\n')
        self.write("tests/test_x.py", '"""A test."""\n')
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)

    def write(self, name: str, content: str) -> None:
        (self._root / name).parent.mkdir(parents=True, exist_ok=True)
        (self._root / name).write_text(content)

    def lint(self, *arguments: str) -> Ran:
        return subprocess.run(
            [self._root / "scripts/lint", *arguments],
            env=os.environ | {"UV_PROJECT_ENVIRONMENT": sys.prefix},
            capture_output=True,
            check=False,
            text=True,
        )


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_clean_tree_passes_every_check(tree: Tree) -> None:
    ran = tree.lint()
    assert ran.returncode == 0, ran.stdout + ran.stderr


UNUSED = '"""A module."""\n\nimport os\n'
UNFORMATTED = '"""A module."""\n\nX = [ 1 ]\n'
MISTYPED = '"""A module."""\n\nX: int = "one"\n'
LOCAL = str(Path("/") / "work" / "main")
BESIDE = str(Path("..") / "shared" / "notes")


@pytest.mark.parametrize(
    ("check", "name", "content"),
    [
        ("ruff", "daemon/a.py", UNUSED),
        ("ruff", "scripts/bench/a", f"#!/usr/bin/env python3\n{UNUSED}"),
        ("format", "daemon/a.py", UNFORMATTED),
        ("format", "scripts/a", f"#!/usr/bin/env -S uv run python\n{UNFORMATTED}"),
        ("types", "daemon/a.py", MISTYPED),
        ("types", "scripts/a", f"#!/usr/bin/env python3\n{MISTYPED}"),
        ("shell", "scripts/a", "#!/usr/bin/env bash\ncd $1\n"),
        ("shell", "entry.sh", "#!/bin/sh\ncd $1\n"),
        ("shell", "s6-overlay/etc/s6-overlay/s6-rc.d/x/run", "#!/command/with-contenv sh\ncd $1\n"),
        ("shell", "scripts/a", "#!/bin/sh\n[[ a == b ]]\n"),
        ("paths", "README.md", f"See {LOCAL} for more.\n"),
        ("paths", "daemon/a.py", f'HERE = "{LOCAL}"\n'),
        ("paths", "README.md", f"See {BESIDE}.\n"),
    ],
)
def test_each_check_can_say_no(tree: Tree, check: str, name: str, content: str) -> None:
    tree.write(name, content)
    ran = tree.lint(check)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert name in ran.stdout
    assert ran.stderr.endswith(f"lint: failed: {check}\n")


@pytest.mark.parametrize(
    "content", ["https://example.test/work/", "/workspace/x", "teamwork/main", "./work/", "/var/work/", "shared/x"]
)
def test_a_path_that_only_looks_like_one_of_a_developers_machine_is_fine(tree: Tree, content: str) -> None:
    tree.write("README.md", f"{content}\n")
    ran = tree.lint("paths")
    assert (ran.returncode, ran.stdout) == (0, "")


def test_only_the_entry_of_ci_may_look_beside_the_checkout(tree: Tree) -> None:
    tree.write(".ci/run", f"{BESIDE}\n")
    assert tree.lint("paths").returncode == 0


def test_a_failed_check_does_not_hide_the_others(tree: Tree) -> None:
    tree.write("daemon/a.py", f'"""See {LOCAL}."""\n\nimport os\n')
    ran = tree.lint("ruff", "shell", "paths")
    assert ran.stderr.endswith("lint: failed: ruff paths\n")


def test_what_is_ignored_is_not_checked(tree: Tree) -> None:
    tree.write(".gitignore", "scratch/\n")
    tree.write("scratch/a.sh", f"#!/bin/sh\ncd $1 {LOCAL}\n")
    assert tree.lint("shell", "paths").returncode == 0


def test_a_git_that_lists_nothing_is_a_failure_and_no_pass(tree: Tree, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / ".git")
    assert tree.lint("shell").returncode != 0
    assert tree.lint("paths").returncode != 0


def test_fix_repairs_what_ruff_can(tree: Tree, tmp_path: Path) -> None:
    tree.write("daemon/a.py", UNUSED + UNFORMATTED.split("\n", 1)[1])
    ran = tree.lint("--fix", "ruff", "format")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "daemon/a.py").read_text() == '"""A module."""\n\nX = [1]\n'


def test_an_unknown_check_is_wrong_usage(tree: Tree) -> None:
    assert tree.lint("everything").returncode == 2


class Continuous:
    """The entry of CI in a checkout whose lint and tests only say that they ran."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / "checkout"
        self.program("lint", "exit 0", "scripts")
        self.program("test", "exit 0", "scripts")
        self.program("run", (ROOT / ".ci/run").read_text(), ".ci")

    def program(self, name: str, body: str, folder: str) -> None:
        path = self._root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body if body.startswith("#!") else f'#!/bin/sh\necho "{name} CI=$CI at $DOCKER_HOST"\n{body}\n')
        path.chmod(0o755)

    def run(self) -> tuple[int, list[str]]:
        ran = subprocess.run(
            [self._root / ".ci/run"],
            env={"PATH": os.environ["PATH"], "DOCKER_HOST": "inherited"},
            capture_output=True,
            check=False,
            text=True,
        )
        return ran.returncode, [line for line in ran.stdout.splitlines() if not line.startswith("ci: ")]


@pytest.fixture
def continuous(tmp_path: Path) -> Continuous:
    return Continuous(tmp_path)


def test_ci_lints_and_tests(continuous: Continuous) -> None:
    assert continuous.run() == (0, ["lint CI=true at inherited", "test CI=true at inherited"])


@pytest.mark.parametrize("name", ["lint", "test"])
def test_ci_runs_both_and_fails_when_either_fails(continuous: Continuous, name: str) -> None:
    continuous.program(name, "exit 3", "scripts")
    code, ran = continuous.run()
    assert code == 1
    assert [line.split()[0] for line in ran] == ["lint", "test"]


def test_ci_uses_the_engine_that_a_helper_beside_the_checkout_names(continuous: Continuous) -> None:
    continuous.program(
        "docker-engine", "#!/bin/sh\necho export DOCKER_HOST=started\n", str(Path(BESIDE).parent / "tools")
    )
    assert continuous.run() == (0, ["lint CI=true at started", "test CI=true at started"])


def test_ci_fails_when_that_helper_fails(continuous: Continuous) -> None:
    continuous.program("docker-engine", "#!/bin/sh\nexit 1\n", str(Path(BESIDE).parent / "tools"))
    assert continuous.run() == (1, [])
