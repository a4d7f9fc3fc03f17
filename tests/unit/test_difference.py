"""Whether the disk holds a commit is asked of its files, and answered with yes only where that is proven."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon import difference
from daemon.difference import Difference
from tests.support.repos import git

Change = Callable[[Path], None]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """At a commit that changes, adds and removes files, a program and a link."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for name in ("code", "gone", "dir/gone"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("before")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    git(folder, "rm", "--quiet", "-r", "gone", "dir")
    (folder / "code").write_text("after")
    (folder / "program").write_text("#!/bin/sh\n")
    (folder / "program").chmod(0o755)
    (folder / "link").symlink_to("code")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "second")
    return folder


def step(repo: Path) -> Difference:
    raw = git(repo, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", "HEAD~", "HEAD")
    return Difference(git(repo, "rev-parse", "HEAD^{tree}"), os.fsencode(raw))


def test_a_checkout_of_the_commit_holds_it(repo: Path) -> None:
    told = step(repo)
    assert told.is_on_disk(repo)
    assert told.names == {b"code", b"gone", b"dir/gone", b"program", b"link"}
    assert (told.changes.added, told.changes.changed, told.changes.deleted) == (2, 1, 2)


def edit(repo: Path) -> None:
    (repo / "code").write_text("edited")


def take_away(repo: Path) -> None:
    (repo / "code").unlink()


def bring_back(repo: Path) -> None:
    (repo / "gone").write_text("before")


def take_the_right_to_run(repo: Path) -> None:
    (repo / "program").chmod(0o644)


def give_a_right_to_run(repo: Path) -> None:
    (repo / "code").chmod(0o755)


def lead_elsewhere(repo: Path) -> None:
    (repo / "link").unlink()
    (repo / "link").symlink_to("program")


def put_a_file_in_place_of_the_link(repo: Path) -> None:
    (repo / "link").unlink()
    (repo / "link").write_text("code")


def put_a_link_in_place_of_the_file(repo: Path) -> None:
    (repo / "code").rename(repo / "elsewhere")
    (repo / "code").symlink_to("elsewhere")


def put_a_fifo_in_place_of_the_file(repo: Path) -> None:
    (repo / "code").unlink()
    os.mkfifo(repo / "code")


def put_a_folder_in_place_of_the_file(repo: Path) -> None:
    (repo / "code").unlink()
    (repo / "code").mkdir()


@pytest.mark.parametrize(
    "change",
    [
        edit,
        take_away,
        bring_back,
        take_the_right_to_run,
        give_a_right_to_run,
        lead_elsewhere,
        put_a_file_in_place_of_the_link,
        put_a_link_in_place_of_the_file,
        put_a_fifo_in_place_of_the_file,
        put_a_folder_in_place_of_the_file,
    ],
)
def test_a_checkout_in_which_something_was_done_does_not(repo: Path, change: Change) -> None:
    told = step(repo)
    change(repo)
    assert not told.is_on_disk(repo)


def test_of_a_submodule_there_is_no_telling(repo: Path) -> None:
    git(repo, "update-index", "--add", "--cacheinfo", f"160000,{git(repo, 'rev-parse', 'HEAD')},module")
    git(repo, "commit", "--quiet", "--message", "third")
    (repo / "module").mkdir()
    assert not step(repo).is_on_disk(repo)


def test_more_than_fits_in_little_memory_is_not_read(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(difference, "MOST_BYTES", 3)
    assert not step(repo).is_on_disk(repo)
