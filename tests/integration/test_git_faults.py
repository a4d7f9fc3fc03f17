"""What goes wrong on the way to a remote and on the disk: each fault has its own sentence, and nothing stays behind."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from daemon.errors import CheckoutError, CommandTimeoutError, NoSpaceError, RemoteError
from daemon.refs import parse_ref
from tests.support.git_lab import GitLab, git_lab
from tests.support.git_server import Fault
from tests.support.repos import Repo


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[GitLab]:
    with git_lab(tmp_path) as lab:
        lab.publish({"code": "two\n"})
        yield lab


def gits_in(folder: Path) -> list[int]:
    """Living processes of git, or started by it, whose working directory is there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
    return found


class TestTheRemote:
    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            ("error", "the server answered 500"),
            ("unauthorized", "authentication failed"),
            ("forbidden", r"access denied \(403\)"),
            ("missing", r"not found \(404\)"),
            ("too-many", r"too many requests \(429\)"),
            ("cut", "the connection broke"),
        ],
    )
    @pytest.mark.parametrize("options", [(), ("--depth=1",)], ids=["full", "shallow"])
    async def test_each_answer_has_its_reason(
        self, lab: GitLab, fault: Fault, reason: str, options: tuple[str, ...]
    ) -> None:
        lab.clone(*options)
        before = lab.checkout.refs
        lab.server.fault = fault
        with pytest.raises(RemoteError, match=rf"cannot fetch 'main' from {lab.url}: {reason}"):
            await lab.stage("main")
        assert lab.checkout.refs == before

    async def test_a_repository_that_is_not_there(self, lab: GitLab) -> None:
        lab.checkout.git("remote", "set-url", "origin", f"{lab.server.url}/nothing.git")
        with pytest.raises(RemoteError, match=r"not found \(404\)"):
            await lab.stage("main")

    async def test_a_folder_that_is_no_repository(self, lab: GitLab) -> None:
        lab.checkout.git("remote", "set-url", "origin", str(lab.folder))
        with pytest.raises(RemoteError, match="no git repository at this address"):
            await lab.stage("main")

    async def test_nobody_listens(self, lab: GitLab) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        lab.checkout.git("remote", "set-url", "origin", f"http://127.0.0.1:{port}/project.git")
        with pytest.raises(RemoteError, match="could not connect"):
            await lab.stage("main")

    async def test_a_transport_that_runs_programs_is_refused(self, lab: GitLab) -> None:
        lab.checkout.git("remote", "set-url", "origin", f"ext::touch {lab.folder}/ran")
        with pytest.raises(RemoteError, match="does not allow the transport ext"):
            await lab.stage("main")
        assert not (lab.folder / "ran").exists()

    async def test_no_answer_within_the_limit(self, lab: GitLab) -> None:
        lab.server.fault = "hang"
        began = time.monotonic()
        with pytest.raises(RemoteError, match=r"no answer within 0\.5 s"):
            await lab.stage("main", stage_timeout=0.5)
        assert time.monotonic() - began < 5
        assert gits_in(lab.checkout.path) == []

    async def test_a_cancelled_stage_leaves_no_process(self, lab: GitLab) -> None:
        lab.server.fault = "hang"
        staging = asyncio.create_task(lab.stage("main"))
        assert await asyncio.to_thread(lab.server.holding.wait, 10)
        staging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await staging
        assert gits_in(lab.checkout.path) == []

    async def test_after_a_failure_the_next_stage_works(self, lab: GitLab) -> None:
        lab.server.fault = "hang"
        with pytest.raises(RemoteError):
            await lab.stage("main", stage_timeout=0.5)
        lab.server.fault = ""
        assert (await lab.stage("main")).commit == lab.work.head


@contextlib.asynccontextmanager
async def living_git(folder: Path) -> AsyncIterator[int]:
    """A real git at work in the folder: it waits for input."""
    child = await asyncio.create_subprocess_exec("git", "cat-file", "--batch", cwd=folder, stdin=subprocess.PIPE)
    while not gits_in(folder):  # noqa: ASYNC110 - the kernel has no event for it
        await asyncio.sleep(0.01)
    try:
        yield child.pid
    finally:
        child.send_signal(signal.SIGKILL)
        await child.wait()


def age(path: Path, seconds: float = 60) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


class TestLocks:
    @pytest.mark.parametrize("name", ["index.lock", "HEAD.lock", "refs/refreshd/fetched.lock"])
    async def test_one_that_a_killed_git_left_is_removed(self, lab: GitLab, name: str) -> None:
        lock = lab.checkout.path / ".git" / name
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
        age(lock)
        await lab.refresh("main")
        assert lab.checkout.read("code") == "two\n"
        assert not lock.exists()

    async def test_a_lock_of_the_shallow_file(self, lab: GitLab) -> None:
        lab.clone("--depth=1")
        commit = lab.publish({"code": "three\n"})
        lock = lab.checkout.path / ".git" / "shallow.lock"
        lock.touch()
        age(lock)
        assert (await lab.stage("main")).commit == commit
        assert not lock.exists()

    async def test_one_in_a_linked_worktree(self, lab: GitLab) -> None:
        lab.checkout.git("worktree", "add", "--quiet", "--detach", lab.folder / "linked")
        lab.checkout = Repo(lab.folder / "linked")
        lock = Path(lab.checkout.git("rev-parse", "--absolute-git-dir")) / "index.lock"
        lock.touch()
        age(lock)
        await lab.refresh("main")
        assert lab.checkout.read("code") == "two\n"

    async def test_one_beside_a_living_git_stays_and_is_named(self, lab: GitLab) -> None:
        lock = lab.checkout.path / ".git" / "index.lock"
        lock.touch()
        age(lock)
        async with living_git(lab.checkout.path) as pid:
            with pytest.raises(CheckoutError, match=rf"lock file {lock} is in the way .* process {pid} \(git\)"):
                await lab.refresh("main")
        assert lock.exists()

    async def test_a_git_that_is_killed_in_the_middle_of_a_checkout(self, lab: GitLab) -> None:
        """A filter makes the checkout slow; SIGKILL leaves its index.lock, and the next apply gets over it."""
        lab.checkout.git("config", "filter.slow.smudge", "sleep 30; cat")
        lab.publish({".gitattributes": "slow filter=slow\n", "slow": "x\n"})
        source = lab.source()
        staged = await source.stage(parse_ref("main"))
        applying = asyncio.create_task(source.apply(staged))
        lock = lab.checkout.path / ".git" / "index.lock"
        while not lock.exists():  # noqa: ASYNC110 - the kernel has no event for it
            await asyncio.sleep(0.01)
        for process in gits_in(lab.checkout.path):
            os.kill(process, signal.SIGKILL)
        with pytest.raises(CheckoutError):
            await applying
        assert lock.exists()
        age(lock, 1)
        lab.checkout.git("config", "filter.slow.smudge", "cat")
        await source.apply(staged)
        assert (lab.checkout.read("slow"), lab.checkout.status) == ("x\n", "")

    async def test_a_checkout_that_takes_too_long_leaves_no_lock(self, lab: GitLab) -> None:
        lab.checkout.git("config", "filter.slow.smudge", "sleep 30; cat")
        lab.publish({".gitattributes": "slow filter=slow\n", "slow": "x\n"})
        source = lab.source(apply_timeout=1)
        staged = await source.stage(parse_ref("main"))
        with pytest.raises(CommandTimeoutError):
            await source.apply(staged)
        assert list((lab.checkout.path / ".git").rglob("*.lock")) == []
        assert gits_in(lab.checkout.path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    words = ("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("this container may not mount")
    yield folder
    subprocess.run(("umount", str(folder)), check=True)


class TestAFullDisk:
    async def test_in_staging(self, lab: GitLab, small_disk: Path) -> None:
        lab.checkout = Repo.clone(lab.url, small_disk / "checkout")
        lab.publish({"big": os.urandom(2_000_000)})
        with pytest.raises(NoSpaceError, match="the disk is full"):
            await lab.stage("main")

    async def test_in_applying(self, lab: GitLab, small_disk: Path) -> None:
        lab.checkout = Repo.clone(lab.url, small_disk / "checkout")
        lab.publish({"big": b"0" * 2_000_000})
        with pytest.raises(NoSpaceError, match="the disk is full"):
            await lab.refresh("main")
