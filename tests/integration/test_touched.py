"""After an update the files are looked at that it touched, and all of them only where those do not tell everything."""

from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.snapshots import Snapshot, Snapshots
from tests.support.repos import git

Change = Callable[[Path], None]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for name in ("code", "other", "dir/inner"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("before")
    (folder / ".gitignore").write_text("secret\n")
    (folder / "secret").write_text("nobody's business")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


@pytest.fixture
def snapshots(repo: Path, tmp_path: Path) -> Snapshots:
    return Snapshots(folder=tmp_path / "snapshots", repo=repo, timeout=30)


async def taken(snapshots: Snapshots, repo: Path) -> Snapshot:
    return await snapshots.take("before", head=git(repo, "rev-parse", "HEAD"))


async def test_what_was_touched_is_found_and_nothing_else_is_looked_at(snapshots: Snapshots, repo: Path) -> None:
    before = await taken(snapshots, repo)
    (repo / "code").write_text("after")
    (repo / "dir" / "inner").unlink()
    (repo / "new").write_text("after")
    (repo / "other").write_text("by somebody else")
    after = await snapshots.tree_after(before, frozenset({b"code", b"dir/inner", b"new"}))
    assert (await snapshots.changes(before.tree, after)).files == ("M code", "D dir/inner", "A new")


async def test_a_local_edit_that_was_overwritten_counts_as_touched(snapshots: Snapshots, repo: Path) -> None:
    (repo / "code").write_text("a local edit")
    before = await taken(snapshots, repo)
    git(repo, "checkout", "--quiet", "--force", "HEAD")
    after = await snapshots.tree_after(before, frozenset())
    assert after == git(repo, "rev-parse", "HEAD^{tree}")


async def test_where_nothing_was_touched_nothing_is_looked_at(snapshots: Snapshots, repo: Path) -> None:
    before = await taken(snapshots, repo)
    (repo / "other").write_text("by somebody else")
    assert await snapshots.tree_after(before, frozenset()) == before.tree


def new_rules(repo: Path) -> None:
    (repo / ".gitignore").write_text("")


def link_for_folder(repo: Path) -> None:
    (repo / "dir" / "inner").unlink()
    (repo / "dir").rmdir()
    (repo / "dir").symlink_to("/")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (new_rules, {b".gitignore"}),
        (link_for_folder, {b"dir", b"dir/inner"}),
        (new_rules, {b"%d" % number for number in range(2000)}),
        (new_rules, None),
    ],
    ids=["rules of git", "link for a folder", "many names", "no telling"],
)
async def test_what_was_touched_may_say_too_little_and_then_everything_is_looked_at(
    snapshots: Snapshots, repo: Path, change: Change, names: set[bytes] | None
) -> None:
    before = await taken(snapshots, repo)
    change(repo)
    (repo / "other").write_text("by somebody else")
    after = await snapshots.tree_after(before, None if names is None else frozenset(names))
    assert "M other" in (await snapshots.changes(before.tree, after)).files
    assert after == await snapshots.tree()


async def test_the_first_files_of_an_empty_checkout_are_stored_in_one_pack(tmp_path: Path) -> None:
    repo = tmp_path / "checkout"
    repo.mkdir()
    git(repo, "init", "--quiet")
    snapshots = Snapshots(folder=tmp_path / "snapshots", repo=repo, timeout=30)
    await snapshots.take("while it is empty")
    for number in range(50):
        (repo / str(number)).write_text(f"number {number}")
    await snapshots.tree()
    objects = tmp_path / "snapshots" / "objects"
    assert len(list((objects / "pack").glob("*.pack"))) == 1
    assert len(list(objects.glob("??/*"))) < 10
