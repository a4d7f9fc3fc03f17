"""What a snapshot would find is made ready while the remote is asked, and counts only where nobody touched anything."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import daemon.git
from daemon.process import Command, Result, run
from daemon.snapshots import Snapshot, Snapshots
from daemon.snapshots.foresight import Foreseen
from tests.support.repos import git

LABEL, UPDATE = "before update 1", "1"
Change = Callable[[Path], None]


def let_time_pass(repo: Path) -> None:
    """A file as young as the index may be changed without its times showing it: git looks into it and notes that."""
    for path in repo.iterdir():
        if path.is_file():
            os.utime(path, (1, 1))


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / ".gitignore").write_text("*.env\n")
    for name in ("code", "other", "tracked.env"):
        (folder / name).write_text("before")
    git(folder, "add", "--force", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    let_time_pass(folder)
    return folder


@pytest.fixture
def snapshots(repo: Path, tmp_path: Path) -> Snapshots:
    return Snapshots(folder=tmp_path / "snapshots", repo=repo, timeout=30)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What git is asked, by its verbs."""
    verbs: list[str] = []

    async def noted(command: Command) -> Result:
        verbs.append(command.shown.removeprefix("git "))
        return await run(command)

    monkeypatch.setattr(daemon.git, "run", noted)
    return verbs


def head(repo: Path) -> str:
    return git(repo, "rev-parse", "HEAD")


async def foreseen_by(snapshots: Snapshots, repo: Path) -> Foreseen | None:
    return await snapshots.foresee(LABEL, update=UPDATE, head=head(repo))


async def taken(snapshots: Snapshots, repo: Path, foreseen: Foreseen | None, label: str = LABEL) -> Snapshot:
    now = head(repo)
    draft = await snapshots.look(now, foreseen)
    snapshot = await snapshots.take(label, update=UPDATE, head=now, draft=draft)
    kept = git(snapshots.folder, "log", "-1", "--format=%T %s", snapshot.commit)
    assert kept == f"{snapshot.tree} {label}"
    return snapshot


async def test_where_nothing_was_touched_the_look_asks_nothing_more(
    snapshots: Snapshots, repo: Path, asked: list[str]
) -> None:
    (repo / "code").write_text("edited")
    let_time_pass(repo)
    first = await taken(snapshots, repo, None)
    foreseen = await foreseen_by(snapshots, repo)
    asked.clear()
    second = await taken(snapshots, repo, foreseen)
    assert sorted(asked) == ["add", "commit-tree", "diff-index", "update-ref"]
    assert (second.tree, second.edits, second.pristine) == (first.tree, first.edits, False)


async def test_files_of_a_commit_that_came_since_the_last_look_are_foreseen(
    snapshots: Snapshots, repo: Path, asked: list[str]
) -> None:
    await taken(snapshots, repo, None)
    (repo / "other").unlink()
    (repo / "new").write_text("new")
    let_time_pass(repo)
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "second")
    foreseen = await foreseen_by(snapshots, repo)
    asked.clear()
    snapshot = await taken(snapshots, repo, foreseen)
    assert "write-tree" not in asked
    assert (snapshot.pristine, snapshot.tree) == (True, git(repo, "rev-parse", "HEAD^{tree}"))


def edit(repo: Path) -> None:
    (repo / "code").write_text("edited since")


def add(repo: Path) -> None:
    (repo / "new").write_text("added since")


def remove(repo: Path) -> None:
    (repo / "code").unlink()


def edit_what_is_ignored(repo: Path) -> None:
    (repo / "tracked.env").write_text("edited since")


@pytest.mark.parametrize("change", [edit, add, remove, edit_what_is_ignored])
async def test_what_was_edited_since_is_in_the_snapshot(snapshots: Snapshots, repo: Path, change: Change) -> None:
    await taken(snapshots, repo, None)
    foreseen = await foreseen_by(snapshots, repo)
    change(repo)
    snapshot = await taken(snapshots, repo, foreseen)
    assert (snapshot.tree, snapshot.pristine) == (await snapshots.tree(), False)
    assert snapshot.edits
    assert snapshot.edits.total == 1


async def test_what_was_staged_since_makes_the_checkout_no_pristine_one(snapshots: Snapshots, repo: Path) -> None:
    await taken(snapshots, repo, None)
    foreseen = await foreseen_by(snapshots, repo)
    git(repo, "rm", "--quiet", "--cached", "code")
    snapshot = await taken(snapshots, repo, foreseen)
    assert (snapshot.edits and snapshot.edits.total, snapshot.pristine) == (0, False)


async def test_of_another_commit_nothing_was_foreseen(snapshots: Snapshots, repo: Path) -> None:
    await taken(snapshots, repo, None)
    foreseen = await foreseen_by(snapshots, repo)
    git(repo, "commit", "--quiet", "--allow-empty", "--message", "second")
    draft = await snapshots.look(head(repo), foreseen)
    assert draft
    assert draft.foreseen is None


async def test_a_snapshot_for_another_reason_says_its_own(snapshots: Snapshots, repo: Path) -> None:
    await taken(snapshots, repo, None)
    await taken(snapshots, repo, await foreseen_by(snapshots, repo), label="by hand")


async def test_before_the_first_look_nothing_is_foreseen(snapshots: Snapshots, repo: Path) -> None:
    assert await foreseen_by(snapshots, repo) is None


async def test_where_the_repository_is_damaged_the_snapshot_finds_out(snapshots: Snapshots, repo: Path) -> None:
    await taken(snapshots, repo, None)
    (repo / "code").write_text("two")
    shutil.rmtree(snapshots.folder / "objects")
    foreseen = await foreseen_by(snapshots, repo)
    assert foreseen is None
    snapshot = await taken(snapshots, repo, foreseen)
    assert "was damaged" in snapshot.notes[0]
