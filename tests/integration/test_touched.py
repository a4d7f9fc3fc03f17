"""After an update the files are looked at that it touched, and all of them only where those do not tell everything."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.difference import Difference
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
    _, changes = await snapshots.after(before, frozenset({b"code", b"dir/inner", b"new"}))
    assert changes.files == ("M code", "D dir/inner", "A new")


async def test_a_local_edit_that_was_overwritten_counts_as_touched(snapshots: Snapshots, repo: Path) -> None:
    (repo / "code").write_text("a local edit")
    before = await taken(snapshots, repo)
    git(repo, "checkout", "--quiet", "--force", "HEAD")
    after, _ = await snapshots.after(before, frozenset())
    assert after == git(repo, "rev-parse", "HEAD^{tree}")


async def test_where_nothing_was_touched_nothing_is_looked_at(snapshots: Snapshots, repo: Path) -> None:
    before = await taken(snapshots, repo)
    (repo / "other").write_text("by somebody else")
    assert (await snapshots.after(before, frozenset()))[0] == before.tree


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
    after, changes = await snapshots.after(before, None if names is None else frozenset(names))
    assert "M other" in changes.files
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


def committed(repo: Path, files: dict[str, str]) -> Difference:
    """What comes in with a commit, as a source tells it."""
    for name, content in files.items():
        (repo / name).write_text(content)
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "second")
    raw = git(repo, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", "HEAD~", "HEAD")
    return Difference(git(repo, "rev-parse", "HEAD^{tree}"), os.fsencode(raw))


async def test_where_the_disk_holds_the_commit_its_tree_is_told_and_whoever_edits_it_is_found(
    snapshots: Snapshots, repo: Path
) -> None:
    before = await taken(snapshots, repo)
    step = committed(repo, {"code": "after", "new": "after"})
    tree, changes = await snapshots.after(before, step.names, step)
    assert (tree, changes.files) == (git(repo, "rev-parse", "HEAD^{tree}"), ("M code", "A new"))
    assert await snapshots.trees.reached(before.tree, tree)
    assert not await snapshots.trees.edited(tree)
    (repo / "new").write_text("edited")
    assert not await snapshots.trees.reached(before.tree, tree)
    assert await snapshots.trees.edited(tree)
    assert await snapshots.trees.differing(tree, await snapshots.tree()) == frozenset({b"new"})


def write_otherwise(repo: Path) -> None:
    """As a filter of git does it: the bytes on disk are not the commit's."""
    (repo / "code").write_text("after\r\n")


async def test_what_is_on_disk_counts_where_it_is_not_what_the_commit_has(snapshots: Snapshots, repo: Path) -> None:
    before = await taken(snapshots, repo)
    step = committed(repo, {"code": "after\n"})
    write_otherwise(repo)
    tree, _ = await snapshots.after(before, step.names, step)
    assert tree == await snapshots.tree() != step.tree


async def test_what_was_touched_beside_the_commit_counts(snapshots: Snapshots, repo: Path) -> None:
    before = await taken(snapshots, repo)
    step = committed(repo, {"code": "after\n"})
    (repo / "untracked").write_text("came with it")
    tree, changes = await snapshots.after(before, step.names | {b"untracked"}, step)
    assert tree == await snapshots.tree() != step.tree
    assert "A untracked" in changes.files


async def test_local_edits_are_part_of_what_is_there_after_it(snapshots: Snapshots, repo: Path) -> None:
    (repo / "other").write_text("edited")
    before = await taken(snapshots, repo)
    git(repo, "stash", "--quiet")
    step = committed(repo, {"code": "after"})
    git(repo, "stash", "pop", "--quiet")
    tree, changes = await snapshots.after(before, step.names, step)
    assert (tree, changes.files) == (await snapshots.tree(), ("M code",))


async def test_new_rules_of_git_need_a_look_at_everything(snapshots: Snapshots, repo: Path) -> None:
    before = await taken(snapshots, repo)
    (repo / "secret").rename(repo / "kept-secret")
    step = committed(repo, {".gitignore": "other\n"})
    (repo / "secret").write_text("not ignored any more")
    tree, changes = await snapshots.after(before, step.names, step)
    assert tree == await snapshots.tree()
    assert "A secret" in changes.files
