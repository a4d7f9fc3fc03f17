"""Edits inside of submodules: in snapshots, in the record of an update, and back in place after its way back."""

import asyncio
from pathlib import Path

import pytest

from daemon.errors import CheckError
from daemon.models import Update
from daemon.snapshots import Snapshots
from daemon.sources.git import GitSource
from daemon.states import State
from tests.support.repos import git
from tests.support.world import World

EDITED, ADDED, IGNORED = b"edited\r\n", b"only here\n", b"secret\n"


class Machine:
    """A world whose real remote has a submodule, `vendor/lib`, and in that another, `vendor/lib/inner`."""

    def __init__(self, folder: Path) -> None:
        self.inner = upstream(folder / "inner", {"deep": "1\n"})
        self.library = upstream(folder / "library", {"lib": "1\n", "kept": "1\n", ".gitignore": "*.log\n"})
        git(self.library, "submodule", "--quiet", "add", folder / "inner", "inner")
        commit(self.library, {})
        self.world = World(folder)
        self.repo = self.world.repo
        self.upstream = folder / "upstream"
        git(folder, "clone", "--quiet", self.repo, self.upstream)
        git(self.repo, "remote", "add", "origin", str(self.upstream))
        source = GitSource(
            repo=self.repo, url="", token=no_token, run_dir=folder / "run", stage_timeout=30, apply_timeout=30
        )
        self.world.source = source  # type: ignore[assignment]  # the real one in place of the obedient one
        self.world.new_process(self.world.first)

    async def update(self, target: str) -> Update:
        record = await self.world.update(target)
        if record.state is State.RESTARTING:
            await self.world.restart_well()
        return await self.world.journal.get(record.id)

    async def with_submodule(self) -> str:
        git(self.upstream, "submodule", "--quiet", "add", self.library, "vendor/lib")
        target = commit(self.upstream, {})
        assert (await self.update(target)).state is State.SUCCEEDED
        return target

    def moved(self) -> str:
        """A commit that names a newer one of the library."""
        newer = commit(self.library, {"lib": "2\n", "more": "2\n"})
        git(self.upstream / "vendor/lib", "pull", "--quiet")
        assert git(self.upstream / "vendor/lib", "rev-parse", "HEAD") == newer
        return commit(self.upstream, {})

    def edit(self) -> None:
        for name, content in (("lib", EDITED), ("new", ADDED), ("x.log", IGNORED), ("inner/deep", EDITED)):
            (self.repo / "vendor/lib" / name).write_bytes(content)

    def everything(self) -> object:
        folders = (self.repo, self.repo / "vendor/lib", self.repo / "vendor/lib/inner")
        there = [folder for folder in folders if (folder / ".git").exists()]
        states = [
            (git(f, "rev-parse", "HEAD"), git(f, "rev-parse", "--symbolic-full-name", "HEAD"), status(f)) for f in there
        ]
        files = (path for path in self.repo.rglob("*") if path.is_file() and ".git" not in path.parts)
        return states, {path: path.read_bytes() for path in files if path.name != "installed"}

    @property
    def snapshots(self) -> Snapshots:
        return self.world.machinery.snapshots

    def kept(self, update: Update, name: str) -> str:
        return git(self.snapshots.folder, "show", f"{update.snapshot}:{name}")


async def no_token() -> None:
    return None


def upstream(path: Path, files: dict[str, str]) -> Path:
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch=main")
    commit(path, files)
    return path


def commit(repo: Path, files: dict[str, str]) -> str:
    for name, content in files.items():
        (repo / name).write_text(content)
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--allow-empty", "--message", "change")
    return git(repo, "rev-parse", "HEAD")


def status(repo: Path) -> str:
    return git(repo, "status", "--porcelain", "--untracked-files=all", "--ignore-submodules=none")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_the_record_names_them_and_the_snapshot_holds_them_but_not_what_is_ignored(machine: Machine) -> None:
    await machine.with_submodule()
    machine.edit()
    record = await machine.update(machine.moved())
    assert record.state is State.SUCCEEDED
    assert record.preserved
    assert record.preserved.files == ("M vendor/lib/inner/deep", "M vendor/lib/lib", "A vendor/lib/new")
    assert machine.kept(record, "vendor/lib/lib") == "edited\r"
    assert machine.kept(record, "vendor/lib/inner/deep") == "edited\r"
    assert b"vendor/lib/x.log" not in await machine.snapshots.trees.names(record.snapshot or "")
    assert (machine.repo / "vendor/lib/lib").read_bytes() == b"2\n"


async def test_a_clean_submodule_is_no_edit(machine: Machine) -> None:
    await machine.with_submodule()
    record = await machine.update(machine.moved())
    assert (record.state, record.preserved) == (State.SUCCEEDED, None)
    assert record.changes
    assert {"M vendor/lib/lib", "A vendor/lib/more"} <= set(record.changes.files)


async def test_one_file_can_be_taken_out_again(machine: Machine) -> None:
    await machine.with_submodule()
    machine.edit()
    record = await machine.update(machine.moved())
    tree = await machine.snapshots.trees.of(record.snapshot or "")
    await machine.snapshots.trees.restore_files(tree or "", [b"vendor/lib/inner/deep"])
    assert (machine.repo / "vendor/lib/inner/deep").read_bytes() == EDITED
    assert (machine.repo / "vendor/lib/lib").read_bytes() == b"2\n"


@pytest.mark.parametrize("on_branch", [True, False])
async def test_an_update_that_is_undone_leaves_no_trace_in_them(machine: Machine, on_branch: bool) -> None:  # noqa: FBT001 - a case
    await machine.with_submodule()
    if on_branch:
        git(machine.repo / "vendor/lib", "checkout", "--quiet", "-b", "mine")
        commit(machine.repo / "vendor/lib", {"kept": "committed here\n"})
    machine.edit()
    git(machine.repo / "vendor/lib", "add", "new")
    before = machine.everything()
    machine.world.checker.error = CheckError(reason="the test says so")
    assert (await machine.update(machine.moved())).state is State.ROLLED_BACK
    assert machine.everything() == before


async def test_one_that_an_update_brought_goes_when_it_is_undone(machine: Machine) -> None:
    git(machine.upstream, "submodule", "--quiet", "add", machine.library, "vendor/lib")
    target = commit(machine.upstream, {})
    before = machine.everything()
    machine.world.checker.error = CheckError(reason="the test says so")
    assert (await machine.update(target)).state is State.ROLLED_BACK
    assert machine.everything() == before
    assert not (machine.repo / "vendor").exists()


async def test_one_that_an_update_removed_is_there_again_when_it_is_undone(machine: Machine) -> None:
    await machine.with_submodule()
    before = machine.everything()
    git(machine.upstream, "rm", "--quiet", "-r", "vendor/lib")
    target = commit(machine.upstream, {})
    machine.world.checker.error = CheckError(reason="the test says so")
    assert (await machine.update(target)).state is State.ROLLED_BACK
    assert machine.everything() == before


async def test_a_rollback_brings_their_commits_and_their_edits_back(machine: Machine) -> None:
    await machine.with_submodule()
    machine.edit()
    before = machine.everything()
    record = await machine.update(machine.moved())
    back = await machine.world.engine.rollback(record.id, trigger="test")
    await machine.world.engine.wait(back.id)
    running = machine.world.engine._running
    assert running
    await asyncio.wait({running})
    await machine.world.restart_well()
    assert (await machine.world.journal.get(back.id)).state is State.SUCCEEDED
    assert machine.everything() == before


async def test_rules_of_their_own_repository_keep_files_out(machine: Machine) -> None:
    await machine.with_submodule()
    exclude = machine.repo / ".git/modules/vendor/lib/info/exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text("# mine\n/top-only\nanywhere\n!sub/anywhere\n")
    for name in ("top-only", "sub/top-only", "anywhere", "sub/anywhere", "sub/deep/anywhere"):
        path = machine.repo / "vendor/lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    names = set(await machine.snapshots.trees.names(await machine.snapshots.tree()))
    kept = {name for name in names if name.endswith((b"anywhere", b"top-only"))}
    assert kept == {b"vendor/lib/sub/top-only", b"vendor/lib/sub/anywhere"}
