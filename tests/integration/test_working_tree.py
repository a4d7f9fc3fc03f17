"""What `dirty` and `treeId` say of a real checkout."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon import working_tree
from daemon.working_tree import Look, WorkingTree
from tests.support.running import new_checkout
from tests.support.world import git


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_checkout(tmp_path)


async def look(repo: Path) -> Look:
    """Not one that served somebody before."""
    return await WorkingTree(repo).look(git(repo, "rev-parse", "HEAD"))


async def tree_id(repo: Path) -> str | None:
    return (await look(repo)).tree_id


@pytest.mark.parametrize("change", ["tracked", "staged", "untracked"])
async def test_each_kind_of_edit_is_noticed(repo: Path, change: str) -> None:
    assert (await look(repo)).dirty is False
    (repo / ("new" if change == "untracked" else "file")).write_text("changed")
    if change == "staged":
        git(repo, "add", "file")
    assert (await look(repo)).dirty is True


async def test_the_id_is_that_of_the_commits_tree_while_nothing_differs(repo: Path) -> None:
    assert await tree_id(repo) == git(repo, "rev-parse", "HEAD^{tree}")


async def test_equal_edits_have_equal_ids_staged_or_not_and_in_another_checkout(repo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(tmp_path / "remote.git"), str(other))
    for checkout in (repo, other):
        (checkout / "file").write_text("edited")
        (checkout / "folder").mkdir()
        (checkout / "folder" / "new").write_text("new")
    git(other, "add", "--all")
    assert await tree_id(repo) == await tree_id(other) != git(repo, "rev-parse", "HEAD^{tree}")


EDITS: dict[str, Callable[[Path], object]] = {
    "content": lambda repo: (repo / "file").write_text("two"),
    "other content": lambda repo: (repo / "file").write_text("three"),
    "mode": lambda repo: (repo / "file").chmod(0o755),
    "gone": lambda repo: (repo / "file").unlink(),
    "link": lambda repo: _link(repo / "file", "one"),
    "another name": lambda repo: (repo / "file").rename(repo / "name"),
    "another file": lambda repo: (repo / "second").write_text("one"),
}


def _link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


async def test_different_edits_have_different_ids(repo: Path) -> None:
    ids = [await tree_id(repo)]
    for edit in EDITS.values():
        edit(repo)
        ids.append(await tree_id(repo))
        git(repo, "reset", "--quiet", "--hard")
        git(repo, "clean", "-fdq")
    assert None not in ids
    assert len(set(ids)) == len(EDITS) + 1
    assert await tree_id(repo) == ids[0]


async def test_what_git_ignores_does_not_count(repo: Path) -> None:
    (repo / ".git/info/exclude").write_text("ignored\n")
    before = await tree_id(repo)
    (repo / "ignored").write_text("x")
    assert await tree_id(repo) == before


@pytest.mark.parametrize("bound", ["MOST_FILES", "MOST_BYTES"])
async def test_more_than_is_worth_reading_is_dirty_without_an_id(
    repo: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(working_tree, bound, 1)
    for name in ("a", "b"):
        (repo / name).write_text("x")
    assert ((await look(repo)).dirty, await tree_id(repo)) == (True, None)


async def test_another_repository_inside_has_no_id(repo: Path) -> None:
    git(repo, "init", "--quiet", "inner")
    (repo / "inner" / "x").write_text("x")
    assert ((await look(repo)).dirty, await tree_id(repo)) == (True, None)


async def test_many_callers_share_one_look(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = WorkingTree(repo)
    asked: list[str] = []
    really = files._look

    async def counted(sha: str) -> Look:
        asked.append(sha)
        return await really(sha)

    monkeypatch.setattr(files, "_look", counted)
    first = git(repo, "rev-parse", "HEAD")
    assert len({*await asyncio.gather(*(files.look(first) for _ in range(50)))}) == 1
    await files.look("f" * 40)
    assert asked == [first, "f" * 40]


async def test_a_look_that_git_cannot_take_is_none(tmp_path: Path) -> None:
    found = await WorkingTree(tmp_path).look("f" * 40)
    assert (found.dirty, found.tree_id) == (None, None)


async def test_a_look_that_met_a_defect_is_not_remembered(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = WorkingTree(repo)
    sha = git(repo, "rev-parse", "HEAD")
    with monkeypatch.context() as broken:
        broken.setattr(files, "_tree_of", None)
        with pytest.raises(TypeError):
            await files.look(sha)
    assert (await files.look(sha)).dirty is False
