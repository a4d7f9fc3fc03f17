"""What `sha` says of a real checkout, beside what git says, and what it costs when nothing changed."""

import asyncio
from pathlib import Path

import pytest

from daemon import head as head_module
from daemon import working_tree
from daemon.head import Head, look
from daemon.version import VersionReporter
from tests.support.world import git


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "config", "user.name", "t")
    git(folder, "config", "user.email", "t@example.invalid")
    commit(folder, "one")
    return folder


def commit(repo: Path, content: str) -> str:
    (repo / "file").write_text(content)
    git(repo, "add", "file")
    git(repo, "commit", "--quiet", "--message", content)
    return git(repo, "rev-parse", "HEAD")


async def agrees(head: Head, repo: Path) -> None:
    assert await head.read() == git(repo, "rev-parse", "HEAD")


async def test_each_way_of_moving_head_is_seen_at_once(repo: Path) -> None:
    head = Head(repo)
    first = await head.read()
    await agrees(head, repo)
    commit(repo, "two")
    await agrees(head, repo)
    git(repo, "checkout", "--quiet", "--detach", str(first))
    await agrees(head, repo)
    git(repo, "checkout", "--quiet", "-b", "feature/deep/name")
    commit(repo, "three")
    await agrees(head, repo)
    git(repo, "pack-refs", "--all")
    await agrees(head, repo)
    git(repo, "update-ref", "refs/heads/feature/deep/name", str(first))
    await agrees(head, repo)
    git(repo, "reset", "--quiet", "--hard", "main")
    git(repo, "pack-refs", "--all", "--prune")
    await agrees(head, repo)


async def test_packed_refs_that_are_rewritten_under_us_are_seen(repo: Path) -> None:
    head = Head(repo)
    commits = [commit(repo, name) for name in ("two", "three")]
    for sha in (*commits, commits[0]):
        git(repo, "update-ref", "refs/heads/main", sha)
        git(repo, "pack-refs", "--all", "--prune")
        assert await head.read() == sha


async def test_a_head_file_written_by_hand_is_seen(repo: Path) -> None:
    head = Head(repo)
    first = await head.read()
    second = commit(repo, "two")
    for sha in (first, second, first):
        (repo / ".git" / "HEAD").write_text(f"{sha}\n")
        assert await head.read() == sha


async def test_a_symbolic_chain_is_followed(repo: Path) -> None:
    git(repo, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    git(repo, "symbolic-ref", "HEAD", "refs/heads/alias")
    await agrees(Head(repo), repo)


async def test_a_linked_worktree_has_a_head_of_its_own(repo: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    git(repo, "worktree", "add", "--quiet", "-b", "other", str(linked))
    sha = commit(linked, "two")
    assert await Head(linked).read() == sha
    await agrees(Head(linked), linked)
    await agrees(Head(repo), repo)
    git(repo, "pack-refs", "--all")
    await agrees(Head(linked), linked)


async def test_a_folder_without_a_repository_has_no_commit(tmp_path: Path) -> None:
    assert await Head(tmp_path).read() is None


async def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert await Head(tmp_path).read() is None


async def test_a_damaged_head_is_answered_with_none_and_not_with_an_error(repo: Path) -> None:
    (repo / ".git" / "HEAD").write_bytes(b"ref: ../../etc/passwd\n")
    assert await Head(repo).read() is None


def test_a_plain_head_needs_no_git_process(repo: Path) -> None:
    assert look(repo) == (None, git(repo, "rev-parse", "HEAD"))


async def test_packed_refs_are_asked_of_git_once_and_then_remembered(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_module, "_RACY", 0)
    git(repo, "pack-refs", "--all", "--prune")
    head = Head(repo)
    sha = await head.read()

    async def fail() -> str:
        raise AssertionError("git was asked again")

    monkeypatch.setattr(head, "_ask_git", fail)
    assert await head.read() == sha


@pytest.mark.parametrize(("os_sha", "available"), [(None, None), ("f" * 40, True), ("same", False)])
async def test_an_update_is_available_when_the_control_plane_runs_another_commit(
    repo: Path, os_sha: str | None, *, available: bool | None
) -> None:
    head = Head(repo)
    sha = await head.read()

    async def no_update() -> None:
        return None

    reporter = VersionReporter(
        repo=repo,
        head=head,
        environment="daytona",
        os_sha=sha if os_sha == "same" else os_sha,
        last_update=no_update,
        changes=lambda: 0,
        running_sha=sha,
    )
    report = await reporter.report()
    assert report.update_available is available
    assert (report.sha, report.running.sha, report.on_disk.sha, report.dirty) == (sha, sha, sha, False)
    assert report.tree_id == git(repo, "rev-parse", "HEAD^{tree}")


async def test_what_runs_stays_what_it_was_when_the_disk_moves_on(repo: Path) -> None:
    head = Head(repo)
    running = await head.read()

    async def no_update() -> None:
        return None

    reporter = VersionReporter(
        repo=repo,
        head=head,
        environment="daytona",
        os_sha=None,
        last_update=no_update,
        changes=lambda: 0,
        running_sha=running,
    )
    sha = commit(repo, "two")
    report = await reporter.report()
    assert (report.sha, report.on_disk.sha, report.running.sha) == (sha, sha, running)


async def test_a_report_that_gets_old_serves_on_while_another_is_made(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_update() -> None:
        return None

    reporter = VersionReporter(
        repo=repo,
        head=Head(repo),
        environment="daytona",
        os_sha=None,
        last_update=no_update,
        changes=lambda: 0,
        running_sha=None,
    )
    old = await reporter.current()
    assert await reporter.current() is old
    assert old.fresh()
    monkeypatch.setattr(working_tree, "FRESH_FOR", 0)
    (repo / "file").write_text("edited")
    assert (old.fresh(), old.holds()) == (True, True)
    async with asyncio.timeout(20):
        while old.fresh():  # noqa: ASYNC110 - asking is what sets it off
            await asyncio.sleep(0.01)
    assert old.holds()
    assert (await reporter.current()).version.dirty is True
    monkeypatch.setattr(working_tree, "SERVES_FOR", 0)
    assert not old.holds()
