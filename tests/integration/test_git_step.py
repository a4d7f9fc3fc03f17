"""A checkout without edits is moved without a look at all its files; else nothing is done."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.gitdir import GitDir
from daemon.refs import parse_ref
from daemon.snapshots import Snapshots
from daemon.sources import EditedSinceError, Paths, Staged
from daemon.sources.checkout import Repository
from daemon.sources.git import GitSource
from daemon.sources.git import step as step_module
from daemon.states import State
from tests.support.git_lab import GitLab, git_lab
from tests.support.world import World, git

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


async def refuse(lab: GitLab, since: Change) -> None:
    """Nothing is touched then: what `since` left is what is there."""
    found: list[object] = []

    def do(lab: GitLab) -> None:
        since(lab)
        found.append(everything(lab))

    with pytest.raises(EditedSinceError):
        await move(lab, do)
    assert found == [everything(lab)]


def everything(lab: GitLab) -> object:
    files = (path for path in lab.checkout.path.rglob("*") if path.is_file() and ".git" not in path.parts)
    return (
        {path: path.read_bytes() for path in files},
        (lab.checkout.head, lab.checkout.branch, lab.checkout.git("ls-files", "--stage")),
    )


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


def leave_a_lock(lab: GitLab) -> None:
    (lab.checkout.path / ".git" / "index.lock").touch()
    os.utime(lab.checkout.path / ".git" / "index.lock", ns=(1, 1))


@pytest.mark.parametrize(
    "since", [edit, stage, occupy, forget_times, commit_something, begin_a_branch, begin_a_merge, leave_a_lock]
)
async def test_what_came_since_the_look_is_a_refusal_that_touches_nothing(lab: GitLab, since: Change) -> None:
    await refuse(lab, since)


async def test_a_branch_that_is_begun_at_the_last_moment_stays_where_it_is(
    lab: GitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = step_module._where_it_was

    def look_and_begin(repository: Repository) -> GitDir:
        found = original(repository)
        begin_a_branch(lab)
        return found

    monkeypatch.setattr(step_module, "_where_it_was", look_and_begin)
    before = lab.checkout.head
    with pytest.raises(EditedSinceError):
        await move(lab)
    assert lab.checkout.git("rev-parse", "mine") == before


@pytest.mark.parametrize("there", [True, False])
async def test_what_somebody_put_aside_by_a_reset_keeps_its_name(lab: GitLab, *, there: bool) -> None:
    mine = lab.checkout.commit({"code": "mine\n"})
    lab.checkout.git("reset", "--quiet", "--hard", "HEAD~1")
    original = lab.checkout.path / ".git" / "ORIG_HEAD"
    if not there:
        original.unlink()
    await move(lab)
    assert (original.read_text().strip() == mine) if there else not original.exists()


@pytest.mark.parametrize(("since", "kept"), [(edit, "since"), (forget_times, None)])
async def test_an_update_keeps_what_was_edited_while_it_began(
    lab: GitLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, since: Change, kept: str | None
) -> None:
    (tmp_path / "machine").mkdir()
    world = World(tmp_path / "machine")
    lab.publish({"kept": "one\n"})
    for words in (
        ("fetch", lab.url, "main"),
        ("checkout", "--detach", "FETCH_HEAD"),
        ("remote", "add", "origin", lab.url),
    ):
        git(world.repo, *words)
    lab.checkout = type(lab.checkout)(world.repo)
    world.source = lab.source()  # type: ignore[assignment] # the real one
    await world.restart_well()
    apply = GitSource.apply

    async def late(source: GitSource, staged: Staged, *, pristine: bool = False) -> Paths | None:
        if pristine:
            await asyncio.to_thread(since, lab)
        return await apply(source, staged, pristine=pristine)

    monkeypatch.setattr(GitSource, "apply", late)
    lab.publish({"code": "two\n"})
    update = await world.update("main")
    assert update.state is State.RESTARTING, update.message
    assert lab.checkout.read("code") == "two\n"
    ids = [note.split()[-2] for note in update.notes if "edits made while the update began" in note]
    found = [git(world.machinery.snapshots.folder, "show", f"{commit}:code") for commit in ids]
    assert found == ([kept] if kept else [])


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
