"""When a lock file may be removed, and above all when not."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from daemon.errors import CheckoutError, CommandFailedError, CommandTimeoutError
from daemon.sources.locks import Locks

LONG_AGO = 1_000_000_000


@pytest.fixture
def git_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout" / ".git"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def locks(git_dir: Path) -> Locks:
    return Locks(folder=git_dir.parent, git_dirs=(git_dir,), patience=0.3)


@pytest.fixture
def lock(git_dir: Path) -> Path:
    path = git_dir / "index.lock"
    path.touch()
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def complaint(lock: Path | str) -> CommandFailedError:
    said = f"fatal: Unable to create '{lock}': File exists.\n\nAnother git process seems to be running"
    return CommandFailedError(command="git", exit_code=128, detail=said)


class Work:
    """A command that fails with each of the errors in turn, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.runs = 0

    async def __call__(self) -> str:
        self.runs += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


async def test_a_stale_lock_is_removed_and_the_command_runs_again(locks: Locks, lock: Path) -> None:
    work = Work(complaint(lock))
    assert await locks.guarded(work) == "done"
    assert (work.runs, lock.exists()) == (2, False)


async def test_the_command_runs_again_only_once(locks: Locks, lock: Path) -> None:
    work = Work(complaint(lock), complaint(lock))
    with pytest.raises(CommandFailedError):
        await locks.guarded(work)
    assert work.runs == 2


async def test_a_lock_that_vanishes_by_itself_is_waited_for(locks: Locks, git_dir: Path) -> None:
    work = Work(complaint(git_dir / "index.lock"))
    assert await locks.guarded(work) == "done"


async def test_no_while_a_process_has_it_open(locks: Locks, lock: Path) -> None:
    with lock.open("rb"), pytest.raises(CheckoutError, match=rf"{lock} is in the way .* process {os.getpid()} "):
        await locks.guarded(Work(complaint(lock)))
    assert lock.exists()


@pytest.mark.parametrize("where", ["in it", "told on the command line", "told in the environment"])
async def test_no_while_a_git_works_in_the_repository(locks: Locks, lock: Path, git_dir: Path, where: str) -> None:
    subprocess.run(("git", "init", "--quiet", str(git_dir.parent)), check=True)
    words = ["git", "cat-file", "--batch"]
    env = dict(os.environ)
    if where == "told on the command line":
        words[1:1] = [f"--git-dir={git_dir}"]
    elif where == "told in the environment":
        env["GIT_DIR"] = str(git_dir)
    cwd = git_dir.parent if where == "in it" else git_dir.parent.parent
    with subprocess.Popen(words, cwd=cwd, env=env, stdin=subprocess.PIPE) as child:
        with pytest.raises(CheckoutError, match=rf"may be held by process {child.pid} \(git\)"):
            await locks.guarded(Work(complaint(lock)))
        assert lock.exists()
        child.kill()


async def test_yes_while_a_git_works_elsewhere(locks: Locks, lock: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    subprocess.run(("git", "init", "--quiet", str(elsewhere)), check=True)
    with subprocess.Popen(("git", "cat-file", "--batch"), cwd=elsewhere, stdin=subprocess.PIPE) as child:
        assert await locks.guarded(Work(complaint(lock))) == "done"
        child.kill()


async def test_yes_when_the_git_is_a_zombie(locks: Locks, lock: Path, git_dir: Path) -> None:
    subprocess.run(("git", "init", "--quiet", str(git_dir.parent)), check=True)
    child = subprocess.Popen(("git", "cat-file", "--batch"), cwd=git_dir.parent, stdin=subprocess.PIPE)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert await locks.guarded(Work(complaint(lock))) == "done"
    child.communicate()


async def test_no_when_it_is_younger_than_the_command(locks: Locks, lock: Path) -> None:
    os.utime(lock, (time.time() + 60,) * 2)
    with pytest.raises(CheckoutError, match="younger than the command"):
        await locks.guarded(Work(complaint(lock)))
    assert lock.exists()


async def test_no_when_it_is_no_regular_file(locks: Locks, git_dir: Path) -> None:
    lock = git_dir / "index.lock"
    lock.symlink_to("/etc/hostname")
    with pytest.raises(CheckoutError, match="no regular file"):
        await locks.guarded(Work(complaint(lock)))
    assert lock.is_symlink()


async def test_no_where_processes_cannot_be_listed(
    locks: Locks, lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.sources.locks._PROC", tmp_path / "no-proc")
    with pytest.raises(CheckoutError, match="cannot be found out"):
        await locks.guarded(Work(complaint(lock)))
    assert lock.exists()


@pytest.mark.parametrize(
    "said",
    [
        "fatal: something else",
        "fatal: Unable to create '/etc/passwd.lock': File exists.",
        "fatal: Unable to create '{git_dir}/../../outside.lock': File exists.",
        "fatal: Unable to create '{git_dir}/index': File exists.",
        "remote: fatal: Unable to create '{git_dir}/index.lock': File exists.",
        "fatal: Unable to create '{git_dir}/index.lock': Permission denied",
    ],
)
async def test_no_when_git_did_not_complain_of_a_lock_of_this_repository(
    locks: Locks, lock: Path, git_dir: Path, said: str
) -> None:
    work = Work(CommandFailedError(command="git", exit_code=128, detail=said.format(git_dir=git_dir)))
    with pytest.raises(CommandFailedError):
        await locks.guarded(work)
    assert (work.runs, lock.exists()) == (1, True)


def test_what_git_says_of_its_configuration_names_a_lock_too(locks: Locks, git_dir: Path) -> None:
    said = "error: could not lock config file .git/config: File exists"
    assert locks.complained_of(said) == git_dir / "config.lock"


async def test_after_a_time_limit_what_the_killed_command_left_is_removed(locks: Locks, git_dir: Path) -> None:
    left = git_dir / "index.lock"
    left.touch()
    work = Work(CommandTimeoutError(command="git", seconds=1))
    with pytest.raises(CommandTimeoutError):
        await locks.guarded(work)
    assert (work.runs, left.exists()) == (1, False)


async def test_after_a_time_limit_a_lock_that_is_held_stays(locks: Locks, lock: Path) -> None:
    with lock.open("rb"), pytest.raises(CommandTimeoutError):
        await locks.guarded(Work(CommandTimeoutError(command="git", seconds=1)))
    assert lock.exists()
