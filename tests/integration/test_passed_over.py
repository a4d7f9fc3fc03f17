"""A file that is tracked is in a snapshot also where a rule ignores it, and one that is not tracked is not."""

from pathlib import Path

import pytest

from daemon.snapshots import Snapshot, Snapshots
from tests.support.repos import git


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / ".gitignore").write_text("*.env\n")
    for name in ("tracked.env", "dropped.env", "code"):
        (folder / name).write_text("before")
    git(folder, "add", "--force", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


@pytest.fixture
def snapshots(repo: Path, tmp_path: Path) -> Snapshots:
    return Snapshots(folder=tmp_path / "snapshots", repo=repo, timeout=30)


async def taken(snapshots: Snapshots, repo: Path) -> Snapshot:
    """As an update does it: a look, and then the snapshot."""
    head = git(repo, "rev-parse", "HEAD")
    snapshot = await snapshots.take("before", head=head, draft=await snapshots.look(head))
    # without a commit to compare with git lists all of them
    assert await snapshots.tree() == snapshot.tree
    return snapshot


async def names(snapshots: Snapshots, snapshot: Snapshot) -> set[bytes]:
    return set(await snapshots.trees.names(snapshot.tree)) - {b".gitignore", b"code"}


async def test_a_committed_file_that_is_ignored_is_kept_with_its_edit(snapshots: Snapshots, repo: Path) -> None:
    (repo / "tracked.env").write_text("edited")
    snapshot = await taken(snapshots, repo)
    assert await names(snapshots, snapshot) == {b"tracked.env", b"dropped.env"}
    assert snapshot.edits
    assert snapshot.edits.files == ("M tracked.env",)


async def test_a_file_that_is_staged_alone_is_kept(snapshots: Snapshots, repo: Path) -> None:
    (repo / "new.env").write_text("new")
    git(repo, "add", "--force", "new.env")
    snapshot = await taken(snapshots, repo)
    assert snapshot.edited == frozenset({b"new.env"})


async def test_a_file_that_came_to_be_tracked_and_ignored_since_the_last_look_is_kept(
    snapshots: Snapshots, repo: Path
) -> None:
    """What the last look has seen does not say: it was not there then, and no rule was."""
    (repo / "later").write_text("committed")
    git(repo, "add", "later")
    git(repo, "commit", "--quiet", "--message", "second")
    (repo / "later").unlink()
    await taken(snapshots, repo)
    (repo / ".gitignore").write_text("*.env\nlater\n")
    (repo / "later").write_text("mine")
    snapshot = await taken(snapshots, repo)
    assert snapshot.edited == frozenset({b".gitignore", b"later"})


async def test_an_ignored_file_that_nobody_tracks_stays_out(snapshots: Snapshots, repo: Path) -> None:
    git(repo, "rm", "--quiet", "--cached", "dropped.env")
    (repo / "secret.env").write_text("nobody's business")
    assert await names(snapshots, await taken(snapshots, repo)) == {b"tracked.env"}


async def test_a_folder_in_the_place_of_such_a_file_is_not_taken_for_it(snapshots: Snapshots, repo: Path) -> None:
    (repo / "tracked.env").unlink()
    (repo / "tracked.env").mkdir()
    (repo / "tracked.env" / "secret.env").write_text("nobody's business")
    assert await names(snapshots, await taken(snapshots, repo)) == {b"dropped.env"}
