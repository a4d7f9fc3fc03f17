"""A small world for the engine: a real checkout, real snapshots and undo, and a source and an installer that obey."""

import asyncio
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from daemon.bad_targets import BadTargets
from daemon.check import Checker
from daemon.disk import Disk
from daemon.durable import flush
from daemon.engine import Engine
from daemon.errors import RefNotFoundError, RefreshdError
from daemon.head import Head
from daemon.journal import Journal
from daemon.keeper import Keeper
from daemon.lock import MachineLock
from daemon.machinery import Machinery
from daemon.models import Update, UpdateRequest
from daemon.pipeline import Pipeline
from daemon.recovery import Recovery
from daemon.refs import Ref, parse_ref
from daemon.snapshots import Snapshots
from daemon.sources import Staged
from daemon.sources.snapshot import SnapshotSource
from daemon.starts import Starts
from daemon.trees import Tree, blob_id
from daemon.undo import Undo


@dataclass
class FakeTree:
    files: dict[str, bytes]

    async def find(self, match: Callable[[str], bool], **_narrowed: object) -> dict[str, str]:
        return {path: blob_id(content) for path, content in self.files.items() if match(path)}

    async def read(self, path: str) -> bytes | None:
        return self.files.get(path)


@dataclass
class FakeSource:
    """Commits of a real checkout by name. `stage_error` and `apply_error` are raised once each."""

    repo: Path
    name: str = "git"
    refs: dict[str, str] = field(default_factory=dict)
    stage_error: Exception | None = None
    apply_error: Exception | None = None
    hold: asyncio.Event | None = None
    staged: list[str] = field(default_factory=list)

    async def prepare(self) -> None:
        return

    async def stage(self, ref: Ref) -> Staged:
        self.staged.append(ref.name)
        if self.hold:
            await self.hold.wait()
        _raise_once(self, "stage_error")
        commit = self.refs.get(ref.name, ref.name)
        if len(commit) != 40:
            raise RefNotFoundError(ref=ref.name, remote="the test")
        return await asyncio.to_thread(self._staged, commit)

    def _staged(self, commit: str) -> Staged:
        files = git(self.repo, "ls-tree", "-r", "--name-only", commit).split()
        tree = FakeTree({name: git(self.repo, "show", f"{commit}:{name}").encode() for name in files})
        return Staged(commit=commit, ref=None, tree=tree, current=commit == git(self.repo, "rev-parse", "HEAD"))

    async def apply(self, staged: Staged, **_found: object) -> None:
        if self.apply_error:
            await asyncio.to_thread((self.repo / "half").write_text, "applied")
        _raise_once(self, "apply_error")
        assert staged.commit
        await asyncio.to_thread(git, self.repo, "checkout", "--quiet", "--force", "--detach", staged.commit)


@dataclass
class FakeInstaller:
    """Depends on the file `deps`; "installs" by copying it to an ignored place."""

    repo: Path
    name: str = "fake"
    for_daemon: bool = False
    errors: list[Exception] = field(default_factory=list)
    installs: list[str] = field(default_factory=list)
    staged: int = 0

    async def fingerprint(self, tree: Tree) -> str | None:
        return (await tree.find(lambda path: path == "deps")).get("deps")

    async def installed(self) -> str | None:
        return await asyncio.to_thread(self._installed)

    def _installed(self) -> str | None:
        marker = self.repo / "installed"
        return marker.read_text() if marker.exists() else None

    async def tidy(self) -> None:
        await asyncio.to_thread((self.repo.parent / "left-over").unlink, missing_ok=True)

    async def stage(self, tree: Tree) -> None:
        assert await tree.read("deps") is not None
        self.staged += 1

    async def install(self, fingerprint: str, *, strict: bool) -> tuple[str, ...]:
        assert strict in {True, False}
        await asyncio.to_thread((self.repo / "installed").unlink, missing_ok=True)
        if self.errors:
            raise self.errors.pop(0)
        self.installs.append(fingerprint)
        await asyncio.to_thread((self.repo / "installed").write_text, fingerprint)
        return ()


class FakeChecker(Checker):
    def __init__(self) -> None:
        self.error: RefreshdError | None = None

    async def foresee(self) -> None:
        return

    async def warm(self, tree: Tree) -> None:
        assert not await tree.find(lambda _: False)

    def begin(self) -> None:
        return

    async def cool(self) -> None:
        return

    async def check(self, *, new_libraries: bool) -> str:
        assert new_libraries in {True, False}
        if self.error:
            raise self.error
        return "1"


async def answers() -> None:
    return


def _raise_once(source: FakeSource, name: str) -> None:
    error = getattr(source, name)
    setattr(source, name, None)
    if error:
        raise error


def git(repo: Path, *words: str) -> str:
    return subprocess.run(("git", "-C", str(repo), *words), check=True, capture_output=True, text=True).stdout.strip()


class World:
    """One machine. `restart()` makes its next process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repo = folder / "checkout"
        self.repo.mkdir()
        git(self.repo, "init", "--quiet", "--initial-branch=main")
        for name, value in (("user.name", "t"), ("user.email", "t@example.invalid")):
            git(self.repo, "config", name, value)
        (self.repo / ".gitignore").write_text("installed\n")
        self.first = self.commit({"code": "A", "deps": "one"})
        self.source = FakeSource(self.repo)
        self.installer = FakeInstaller(self.repo)
        self.checker = FakeChecker()
        self.disk = Disk()
        self.restarts = 0
        self.new_process(self.first)

    def commit(self, files: dict[str, str], message: str = "change") -> str:
        for name, content in files.items():
            (self.repo / name).write_text(content)
        git(self.repo, "add", "--all")
        git(self.repo, "commit", "--quiet", "--message", message)
        return git(self.repo, "rev-parse", "HEAD")

    def upstream(self, files: dict[str, str]) -> str:
        """A commit that the checkout does not hold yet."""
        commit = self.commit(files)
        git(self.repo, "reset", "--quiet", "--hard", "HEAD~1")
        return commit

    async def restart(self) -> Recovery:
        """A new process of what is on disk; the old one's lock went with it."""
        self.machinery.lock.release()
        self.new_process(await Head(self.repo).read())
        return self.recovery

    async def restart_well(self) -> None:
        """A new process that recovers, answers itself and is ready."""
        await self.restart()
        assert await self.recovery.recover() is False
        assert await self.recovery.verify(answers) is False

    async def update(self, target: str, **more: str) -> Update:
        ref = parse_ref(target)
        update = await self.engine.submit(UpdateRequest(target_ref=target, trigger="test", **more), ref)
        update = await self.engine.wait(update.id)
        running = self.engine._running
        if running:
            await asyncio.wait({running})
        return update

    async def chain(self, update_id: str) -> list[str]:
        """How it began, and the exact events after that."""
        first, *entries = (await asyncio.to_thread(self.journal._read, update_id)).entries
        return [first.state, *(entry.event for entry in entries if entry.event)]

    def head(self) -> str:
        return git(self.repo, "rev-parse", "HEAD")

    def status(self) -> str:
        return git(self.repo, "status", "--porcelain")

    def new_process(self, running_sha: str | None) -> None:
        """As a process finds it that started from `running_sha`."""
        self.machinery = self._machinery(running_sha)
        self.journal = self.machinery.journal
        pipeline = Pipeline(self.machinery)
        self.engine = Engine(self.machinery, pipeline)
        self.recovery = Recovery(self.machinery, pipeline)

    def _machinery(self, running_sha: str | None) -> Machinery:
        state = self.folder / "state"
        snapshots = Snapshots(folder=state / "snapshots", repo=self.repo, timeout=30)
        return Machinery(
            journal=Journal(state / "updates"),
            lock=MachineLock(state / "update.lock"),
            source=self.source,
            rollback_source=lambda update: SnapshotSource(
                repo=self.repo, snapshots=snapshots, update=update, timeout=30
            ),
            installers=(self.installer,),
            snapshots=snapshots,
            undo=Undo(folder=state / "undo", repo=self.repo, snapshots=snapshots, timeout=30),
            checker=self.checker,
            bad_targets=BadTargets(state / "bad-targets.json"),
            starts=Starts(state),
            head=Head(self.repo),
            keeper=Keeper(self.repo),
            disk=self.disk,
            running_sha=running_sha,
            restart=self._count_restart,
            flush=partial(flush, self.repo, 30),
        )

    def _count_restart(self) -> None:
        self.restarts += 1
