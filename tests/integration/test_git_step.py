"""A checkout without edits is moved without a look at all its files; where that is not true any more, with one."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.refs import parse_ref
from daemon.snapshots import Snapshots
from tests.support.git_lab import GitLab, git_lab

Change = Callable[[GitLab], None]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[GitLab]:
    with git_lab(tmp_path) as lab:
        yield lab


async def move(lab: GitLab, since: Change | None = None) -> str:
    """To a commit that changes `code`, brings `new` and takes `kept` away. `since` happens after the look."""
    lab.checkout.git("checkout", "--quiet", "--detach")
    commit = lab.publish({"code": "two\n", "new/file": "new\n", "kept": None})
    source = lab.source()
    staged = await source.stage(parse_ref("main"))
    if since:
        since(lab)
    await source.apply(staged, pristine=True)
    return commit


def is_at(lab: GitLab, commit: str) -> bool:
    files = (lab.checkout.read("code"), lab.checkout.read("new/file"), (lab.checkout.path / "kept").exists())
    return files == ("two\n", "new\n", False) and (lab.checkout.head, lab.checkout.branch) == (commit, None)


async def test_files_index_and_head_are_those_of_the_commit(lab: GitLab) -> None:
    assert is_at(lab, await move(lab))
    assert lab.checkout.status == ""


async def test_files_that_do_not_differ_are_not_looked_at(lab: GitLab) -> None:
    lab.publish({"other": "one\n"})
    await lab.refresh("main")

    def edit(lab: GitLab) -> None:
        lab.checkout.write("other", "mine, since\n")

    assert is_at(lab, await move(lab, edit))
    assert lab.checkout.read("other") == "mine, since\n"


def edit(lab: GitLab) -> None:
    lab.checkout.write("code", "since\n")


def stage(lab: GitLab) -> None:
    edit(lab)
    lab.checkout.git("add", "code")


def occupy(lab: GitLab) -> None:
    lab.checkout.write("new/file", "since\n")


def forget_times(lab: GitLab) -> None:
    for name in ("code", "kept"):
        os.utime(lab.checkout.path / name, ns=(1, 1))


def commit_something(lab: GitLab) -> None:
    lab.checkout.commit({"code": "committed since\n"})


def begin_a_branch(lab: GitLab) -> None:
    lab.checkout.git("checkout", "--quiet", "-b", "mine")


def begin_a_merge(lab: GitLab) -> None:
    (lab.checkout.path / ".git" / "MERGE_HEAD").write_text(f"{lab.checkout.head}\n")


@pytest.mark.parametrize("since", [edit, stage, occupy, forget_times, commit_something, begin_a_branch, begin_a_merge])
async def test_what_came_since_the_look_is_met_by_a_checkout(lab: GitLab, since: Change) -> None:
    assert is_at(lab, await move(lab, since))
    assert lab.checkout.status == ""
    assert not (lab.checkout.path / ".git" / "MERGE_HEAD").exists()


async def test_a_branch_that_somebody_has_begun_since_stays_where_it_is(lab: GitLab) -> None:
    before = lab.checkout.head
    await move(lab, begin_a_branch)
    assert lab.checkout.git("rev-parse", "mine") == before


async def test_a_lock_that_was_left_behind_is_no_obstacle(lab: GitLab) -> None:
    def lock(lab: GitLab) -> None:
        (lab.checkout.path / ".git" / "index.lock").touch()
        os.utime(lab.checkout.path / ".git" / "index.lock", ns=(1, 1))

    assert is_at(lab, await move(lab, lock))


def leave_alone(_lab: GitLab) -> None: ...


def add(lab: GitLab) -> None:
    lab.checkout.write("untracked", "x\n")


def stage_alone(lab: GitLab) -> None:
    stage(lab)
    lab.checkout.write("code", "one\n")


@pytest.mark.parametrize(
    ("before", "pristine"), [(leave_alone, True), (edit, False), (stage, False), (stage_alone, False), (add, False)]
)
async def test_a_snapshot_says_whether_anything_was_edited_or_staged(
    lab: GitLab, before: Change, *, pristine: bool
) -> None:
    before(lab)
    snapshots = Snapshots(folder=lab.folder / "snapshots", repo=lab.checkout.path, timeout=30)
    assert (await snapshots.take("before", head=lab.checkout.head)).pristine is pristine


async def test_of_a_checkout_without_a_commit_nothing_is_said(lab: GitLab) -> None:
    snapshots = Snapshots(folder=lab.folder / "snapshots", repo=lab.checkout.path, timeout=30)
    assert not (await snapshots.take("before")).pristine
