"""The mount source from the outside: what it refuses, what it brings, where HEAD and index are afterwards."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.errors import CheckoutError, MountError
from daemon.refs import parse_ref
from daemon.sources import Staged
from daemon.trees import blob_id
from tests.support.mounts import Lab, everything_about
from tests.support.repos import Repo

NOBODY = 65534


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab.create(tmp_path)
    lab.host.commit({"README.md": "one\n", "src/app.py": "print(1)\n", ".gitignore": "*.log\n"})
    return lab


# The checkout is made


async def test_a_missing_checkout_becomes_a_repository(lab: Lab) -> None:
    await lab.source().prepare()
    assert lab.checkout.git("rev-parse", "--is-inside-work-tree") == "true"


async def test_an_empty_checkout_becomes_a_repository(lab: Lab) -> None:
    lab.checkout.path.mkdir()
    await lab.refresh()
    assert lab.checkout.head == lab.host.head
    assert lab.checkout.status == ""


async def test_a_folder_with_files_that_is_no_repository_is_refused_and_left_alone(lab: Lab) -> None:
    lab.checkout.write("precious", "mine")
    with pytest.raises(CheckoutError, match="not empty"):
        await lab.stage()
    assert lab.files == {"precious"}
    assert not (lab.checkout.path / ".git").exists()


async def test_a_file_in_the_place_of_the_checkout_is_refused(lab: Lab) -> None:
    lab.checkout.path.write_text("a file")
    with pytest.raises(CheckoutError):
        await lab.stage()


async def test_a_damaged_repository_is_refused(lab: Lab) -> None:
    await lab.refresh()
    (lab.checkout.path / ".git" / "HEAD").unlink()
    with pytest.raises(CheckoutError):
        await lab.stage()


# What is refused: nothing is ever removed because the mount is not there


@pytest.fixture
async def refreshed(lab: Lab) -> Lab:
    await lab.refresh()
    return lab


async def test_a_missing_mount_is_refused(refreshed: Lab) -> None:
    with pytest.raises(MountError, match="no such folder"):
        await refreshed.stage(mount=refreshed.root / "missing")


async def test_a_mount_that_is_a_file_is_refused(refreshed: Lab) -> None:
    with pytest.raises(MountError):
        await refreshed.stage(mount=refreshed.host.path / "README.md")


async def test_an_empty_mount_is_refused(refreshed: Lab) -> None:
    (refreshed.root / "empty").mkdir()
    with pytest.raises(MountError, match="it is empty"):
        await refreshed.stage(mount=refreshed.root / "empty")
    assert "README.md" in refreshed.files


async def test_a_mount_in_which_git_lists_nothing_is_refused(refreshed: Lab) -> None:
    shutil.rmtree(refreshed.host.path / "src")
    for name in ("README.md", ".gitignore"):
        refreshed.host.write(name, None)
    assert (refreshed.host.path / ".git").exists()
    with pytest.raises(MountError, match="lists no file"):
        await refreshed.stage()
    assert "README.md" in refreshed.files


async def test_a_mount_that_goes_away_between_stage_and_apply_removes_nothing(refreshed: Lab) -> None:
    refreshed.host.write("new", "new")
    staged = await refreshed.stage()
    shutil.rmtree(refreshed.host.path)
    refreshed.host.path.mkdir()
    before = refreshed.files
    with pytest.raises(MountError, match="empty"):
        await refreshed.source().apply(staged)
    assert refreshed.files == before


async def test_what_another_source_staged_is_a_mistake(refreshed: Lab) -> None:
    staged = await refreshed.stage()
    other = Staged(commit=staged.commit, ref=None, tree=staged.tree, current=False)
    with pytest.raises(TypeError):
        await refreshed.source().apply(other)


# HEAD and index


async def test_head_is_detached_at_the_hosts_commit(refreshed: Lab) -> None:
    commit = refreshed.host.commit({"README.md": "two\n"})
    staged = await refreshed.refresh()
    assert (staged.commit, staged.ref) == (commit, "refs/heads/main")
    assert refreshed.checkout.head == commit
    assert refreshed.checkout.branch is None
    assert refreshed.checkout.read("README.md") == "two\n"


async def test_the_status_here_is_the_status_there(refreshed: Lab) -> None:
    host = refreshed.host
    host.commit({"gone": "1", "changed": "1", "executable": "1"})
    host.write("gone", None)
    host.write("changed", "2")
    host.write("untracked", "1")
    (host.path / "executable").chmod(0o755)
    await refreshed.refresh()
    assert refreshed.checkout.status == host.status == " M changed\n M executable\n D gone\n?? untracked"


async def test_a_file_that_came_is_no_difference_to_who_does_not_refresh_the_index(refreshed: Lab) -> None:
    refreshed.host.git("checkout", "--quiet", "--force", "HEAD", "--", ".")
    refreshed.host.commit({"README.md": "two\n"})
    await refreshed.refresh()
    assert refreshed.checkout.git("diff-files", "--name-only") == ""


async def test_an_index_that_knows_no_file_learns_all_of_them(refreshed: Lab) -> None:
    """As in a machine that was copied: whoever asks for the version would read every file, each time."""
    refreshed.host.commit({f"many/{number}": "x\n" for number in range(150)})
    await refreshed.refresh()
    for path in refreshed.checkout.path.glob("many/*"):
        os.utime(path, ns=(1, 1))
    refreshed.host.commit({"README.md": "two\n"})
    await refreshed.refresh()
    assert refreshed.checkout.git("diff-files", "--name-only") in {"", "README.md"}


async def test_what_the_host_has_staged_is_modified_here(refreshed: Lab) -> None:
    refreshed.host.write("README.md", "staged\n")
    refreshed.host.git("add", "README.md")
    await refreshed.refresh()
    assert refreshed.checkout.status == " M README.md"


async def test_the_users_branch_stays_where_it_is(refreshed: Lab) -> None:
    before = refreshed.checkout.head
    refreshed.checkout.git("checkout", "--quiet", "-b", "mine")
    refreshed.host.commit({"README.md": "two\n"})
    staged = await refreshed.refresh()
    assert refreshed.checkout.git("rev-parse", "mine") == before
    assert any("was on refs/heads/mine" in note for note in staged.notes)


async def test_a_merge_that_was_under_way_here_has_ended(refreshed: Lab) -> None:
    commit = refreshed.host.commit({"README.md": "two\n"})
    (refreshed.checkout.path / ".git" / "MERGE_HEAD").write_text(f"{refreshed.checkout.head}\n")
    await refreshed.refresh()
    assert refreshed.checkout.head == commit
    assert not (refreshed.checkout.path / ".git" / "MERGE_HEAD").exists()


async def test_a_commit_that_changes_no_file_moves_head(refreshed: Lab) -> None:
    commit = refreshed.host.commit({})
    staged = await refreshed.refresh()
    assert not staged.current
    assert staged.changes is not None
    assert staged.changes.total == 0
    assert refreshed.checkout.head == commit


async def test_the_history_comes_along(refreshed: Lab) -> None:
    refreshed.host.commit({"README.md": "two\n"})
    refreshed.host.commit({"README.md": "three\n"})
    await refreshed.refresh()
    assert refreshed.checkout.git("rev-list", "--count", "HEAD") == "3"


async def test_a_shallow_host_is_enough(lab: Lab) -> None:
    lab.host.commit({"README.md": "two\n"})
    shallow = Repo.clone(f"file://{lab.host.path}", lab.root / "shallow", "--depth=1")
    staged = await lab.refresh(mount=shallow.path)
    assert staged.commit == lab.checkout.head == lab.host.head
    assert lab.checkout.git("rev-list", "--count", "HEAD") == "1"


async def test_a_shallow_checkout_stays_shallow(lab: Lab) -> None:
    lab.host.commit({"README.md": "two\n"})
    Repo.clone(f"file://{lab.host.path}", lab.checkout.path, "--depth=1")
    lab.host.commit({"README.md": "three\n"})
    lab.host.commit({"README.md": "four\n"})
    await lab.refresh()
    assert lab.checkout.head == lab.host.head
    assert lab.checkout.git("rev-list", "--count", "HEAD") == "1"


async def test_fetching_leaves_branches_tags_and_fetch_head_alone(refreshed: Lab) -> None:
    refreshed.host.git("tag", "v1")
    refreshed.host.commit({"README.md": "two\n"})
    before = {name for name in refreshed.checkout.refs if not name.startswith("refs/refreshd/")}
    await refreshed.refresh()
    after = {name for name in refreshed.checkout.refs if not name.startswith("refs/refreshd/")}
    assert after == before
    assert not (refreshed.checkout.path / ".git" / "FETCH_HEAD").exists()


async def test_no_hook_of_either_side_runs(refreshed: Lab) -> None:
    proof = refreshed.root / "a-hook-ran"
    commit = refreshed.host.commit({"README.md": "two\n"})
    for repo in (refreshed.host, refreshed.checkout):
        hooks = repo.path / ".git" / "hooks"
        hooks.mkdir(exist_ok=True)
        for name in ("post-checkout", "post-index-change", "reference-transaction", "fsmonitor"):
            (hooks / name).write_text(f"#!/bin/sh\ntouch {proof}\n")
            (hooks / name).chmod(0o755)
        with (repo.path / ".git" / "config").open("a") as config:
            config.write(f"[core]\nfsmonitor = {hooks}/fsmonitor\n")
    await refreshed.refresh()
    assert refreshed.checkout.head == commit
    assert not proof.exists()
    refreshed.checkout.git("status")
    assert proof.exists(), "the trap does not work"


async def test_a_stale_lock_in_the_checkout_is_no_obstacle(refreshed: Lab) -> None:
    commit = refreshed.host.commit({"README.md": "two\n"})
    lock = refreshed.checkout.path / ".git" / "index.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    await refreshed.refresh()
    assert refreshed.checkout.head == commit


# What is staged


async def test_nothing_to_do_is_current_and_says_nothing(refreshed: Lab) -> None:
    staged = await refreshed.stage()
    assert staged.current
    assert staged.commit == refreshed.host.head
    assert staged.changes is not None
    assert staged.changes.total == 0
    assert staged.notes == ()


async def test_staging_leaves_the_checkout_alone(refreshed: Lab) -> None:
    refreshed.host.commit({"README.md": "two\n", "src/app.py": None})
    checkout = refreshed.checkout
    before = (checkout.head, checkout.status, refreshed.files, checkout.read("README.md"))
    staged = await refreshed.stage()
    assert not staged.current
    assert before == (checkout.head, checkout.status, refreshed.files, checkout.read("README.md"))


async def test_the_changes_are_told(refreshed: Lab) -> None:
    refreshed.host.commit({"README.md": "two\n", "src/app.py": None, "new\n": "x", "src/other": "x"})
    (refreshed.host.path / ".gitignore").chmod(0o755)
    staged = await refreshed.stage()
    assert staged.changes is not None
    assert staged.changes.files == ("M .gitignore", "M README.md", "A new\\n", "D src/app.py", "A src/other")
    assert (staged.changes.added, staged.changes.changed, staged.changes.deleted) == (2, 2, 1)


async def test_what_is_committed_is_told_where_nothing_else_changes(refreshed: Lab) -> None:
    refreshed.host.commit({"README.md": "two\n", "src/app.py": None, "new": "1"})
    staged = await refreshed.stage()
    assert staged.step is not None
    assert staged.step.names == {b"README.md", b"src/app.py", b"new"}
    assert staged.step.tree == refreshed.host.git("rev-parse", "HEAD^{tree}")


async def test_what_is_committed_is_not_told_where_something_else_comes_too(refreshed: Lab) -> None:
    refreshed.host.commit({"README.md": "two\n"})
    refreshed.host.write("untracked", "1")
    assert (await refreshed.stage()).step is None


async def test_a_change_of_this_side_is_a_change_too(refreshed: Lab) -> None:
    refreshed.checkout.write("README.md", "local edit\n")
    staged = await refreshed.refresh()
    assert staged.changes is not None
    assert staged.changes.files == ("M README.md",)
    assert refreshed.checkout.read("README.md") == "one\n"


async def test_of_many_changes_200_are_named_and_all_are_counted(refreshed: Lab) -> None:
    for number in range(250):
        refreshed.host.write(f"many/{number}", "x")
    staged = await refreshed.stage()
    assert staged.changes is not None
    assert (len(staged.changes.files), staged.changes.added) == (200, 250)


async def test_the_tree_is_what_the_host_has_now(refreshed: Lab) -> None:
    refreshed.host.write("package.json", "{}\n")
    refreshed.host.write("ignored.log", "x")
    staged = await refreshed.stage()
    found = await staged.tree.find(lambda path: path in {"package.json", "ignored.log"})
    assert found == {"package.json": blob_id(b"{}\n")}
    assert await staged.tree.read("package.json") == b"{}\n"


async def test_another_commit_than_the_requested_one_is_noted(refreshed: Lab) -> None:
    asked = "1234567890" * 4
    staged = await refreshed.stage(asked)
    assert staged.commit == refreshed.host.head
    assert f"the mount is at {refreshed.host.head}, not at the requested {asked}" in staged.notes
    assert (await refreshed.stage(refreshed.host.head)).notes == ()


async def test_another_branch_than_the_requested_one_is_noted(refreshed: Lab) -> None:
    refreshed.host.git("checkout", "--quiet", "-b", "feature/x")
    assert (await refreshed.stage("feature/x")).ref == "refs/heads/feature/x"
    assert (await refreshed.stage("feature/x")).notes == ()
    assert (await refreshed.stage("main")).notes == ("the mount is on refs/heads/feature/x, not on the requested main",)


async def test_a_detached_host_has_no_ref(refreshed: Lab) -> None:
    refreshed.host.git("checkout", "--quiet", "--detach")
    staged = await refreshed.stage()
    assert (staged.commit, staged.ref) == (refreshed.host.head, None)


# Unusual mounts


async def test_a_mount_that_is_reached_through_a_symlink_works(lab: Lab) -> None:
    link = lab.root / "link"
    link.symlink_to(lab.host.path)
    assert (await lab.refresh(mount=link)).commit == lab.host.head
    assert lab.files == {"README.md", "src/app.py", ".gitignore"}


async def test_a_worktree_whose_repository_can_be_seen_is_like_any_other(lab: Lab) -> None:
    lab.host.git("worktree", "add", "--quiet", "-b", "side", "../worktree")
    worktree = Repo(lab.root / "worktree")
    commit = worktree.commit({"README.md": "side\n"})
    staged = await lab.refresh("side", mount=worktree.path)
    assert (staged.commit, staged.ref, staged.notes) == (commit, "refs/heads/side", ())
    assert lab.checkout.head == commit
    assert lab.checkout.git("log", "-1", "--format=%H") == commit


@pytest.fixture
def severed(lab: Lab) -> Lab:
    """The mount is a worktree, and its repository is where the machine cannot see it."""
    lab.host.git("worktree", "add", "--quiet", "-b", "side", "../worktree")
    lab.host.path.rename(lab.root / "elsewhere")
    (lab.root / "worktree").rename(lab.host.path)
    assert (lab.host.path / ".git").is_file()
    return lab


async def test_a_worktree_whose_repository_cannot_be_seen_is_copied_and_its_commit_is_not_known(severed: Lab) -> None:
    severed.host.write("untracked", "x")
    severed.host.write("ignored.log", "x")
    staged = await severed.refresh()
    assert (staged.commit, staged.ref) == (None, None)
    assert severed.files == {"README.md", "src/app.py", ".gitignore", "untracked"}
    said = "\n".join(staged.notes)
    assert "points to a repository elsewhere" in said
    assert ".gitignore matches" in said
    assert "HEAD stays" in said


async def test_a_worktrees_pointer_never_replaces_the_checkouts_repository(severed: Lab) -> None:
    await severed.refresh()
    assert (severed.checkout.path / ".git").is_dir()
    assert severed.checkout.git("rev-parse", "--is-inside-work-tree") == "true"


async def test_where_the_commit_is_not_known_equal_files_are_current(severed: Lab) -> None:
    await severed.refresh()
    assert (await severed.stage()).current
    severed.host.write("README.md", "two\n")
    assert not (await severed.stage()).current


async def test_head_stays_where_the_commit_is_not_known(refreshed: Lab) -> None:
    before = refreshed.checkout.head
    refreshed.host.commit({"README.md": "two\n"})
    shutil.rmtree(refreshed.host.path / ".git")
    await refreshed.refresh()
    assert refreshed.checkout.head == before
    assert refreshed.checkout.read("README.md") == "two\n"


async def test_a_mount_that_is_no_repository_is_copied(lab: Lab) -> None:
    shutil.rmtree(lab.host.path / ".git")
    lab.host.write("ignored.log", "x")
    staged = await lab.refresh()
    assert staged.commit is None
    assert lab.files == {"README.md", "src/app.py", ".gitignore"}
    assert any("no git repository" in note for note in staged.notes)


async def test_a_repository_around_the_mount_has_no_say(lab: Lab) -> None:
    shutil.rmtree(lab.host.path / ".git")
    Repo.create(lab.root).commit({".gitignore": "*.py\n"})
    assert (await lab.refresh()).commit is None
    assert "src/app.py" in lab.files


async def test_a_repository_that_works_on_another_folder_has_no_say(lab: Lab) -> None:
    (lab.root / "other").mkdir()
    lab.host.git("config", "core.worktree", str(lab.root / "other"))
    staged = await lab.refresh()
    assert staged.commit is None
    assert "README.md" in lab.files


async def test_a_host_without_commits_is_copied(tmp_path: Path) -> None:
    lab = Lab.create(tmp_path)
    lab.host.write("first", "x")
    staged = await lab.refresh()
    assert staged.commit is None
    assert lab.files == {"first"}
    assert any("names no commit" in note for note in staged.notes)


async def test_a_commit_that_cannot_be_fetched_is_noted_and_the_files_come(refreshed: Lab) -> None:
    before = refreshed.checkout.head
    first = refreshed.host.commit({"README.md": "two\n"})
    blob = refreshed.host.git("rev-parse", f"{first}:README.md")
    refreshed.host.commit({"README.md": "three\n"})
    (refreshed.host.path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    staged = await refreshed.refresh()
    assert staged.commit is None
    assert any("could not be brought here" in note for note in staged.notes)
    assert refreshed.checkout.read("README.md") == "three\n"
    assert refreshed.checkout.head == before


async def test_the_mount_is_not_written_to(lab: Lab) -> None:
    lab.host.write("README.md", "edited\n")
    lab.host.git("config", "core.untrackedCache", "true")
    lab.host.git("status")
    os.utime(lab.host.path / "src" / "app.py")
    before = everything_about(lab.host.path)
    await lab.refresh()
    await lab.stage()
    assert everything_about(lab.host.path) == before


@pytest.fixture
def read_only(lab: Lab) -> Iterator[Path]:
    """The host's folder as a read-only mount where the kernel lets us, else the folder itself."""
    mount = lab.root / "mount"
    mount.mkdir()
    bound = subprocess.run(("mount", "--bind", lab.host.path, mount), capture_output=True, check=False).returncode == 0
    if not bound:
        yield lab.host.path
        return
    try:
        subprocess.run(("mount", "-o", "remount,ro,bind", mount), check=True)
        yield mount
    finally:
        subprocess.run(("umount", mount), check=True)


async def test_a_read_only_mount_is_enough(lab: Lab, read_only: Path) -> None:
    before = everything_about(lab.host.path)
    staged = await lab.refresh(mount=read_only)
    assert staged.commit == lab.checkout.head == lab.host.head
    assert everything_about(lab.host.path) == before


async def test_a_read_only_mount_without_repository_is_enough(lab: Lab, read_only: Path) -> None:
    shutil.rmtree(lab.host.path / ".git")
    await lab.refresh(mount=read_only)
    assert lab.files == {"README.md", "src/app.py", ".gitignore"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
class TestOwners:
    """Root's tests: somebody else owns the mount, or the daemon is not root."""

    @pytest.fixture
    def public(self) -> Iterator[Lab]:
        with tempfile.TemporaryDirectory(dir="/tmp") as made:
            Path(made).chmod(0o755)
            lab = Lab.create(Path(made))
            lab.host.commit({"README.md": "one\n", "src/app.py": "print(1)\n"})
            yield lab

    async def test_a_mount_of_another_owner_works_and_the_files_are_ours(self, lab: Lab) -> None:
        subprocess.run(("chown", "-R", "12345:12345", lab.host.path), check=True)
        staged = await lab.refresh()
        assert staged.commit == lab.checkout.head == lab.host.head
        assert staged.notes == ()
        assert {(lab.checkout.path / name).lstat().st_uid for name in (*lab.files, "src")} == {0}

    async def test_a_checkout_of_another_owner_works(self, refreshed: Lab) -> None:
        subprocess.run(("chown", "-R", "12345:12345", refreshed.checkout.path), check=True)
        commit = refreshed.host.commit({"README.md": "two\n"})
        await refreshed.refresh()
        assert refreshed.checkout.head == commit

    @pytest.fixture
    def as_nobody(self, public: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
        for folder in (public.checkout.path, public.state_dir, public.root / "home"):
            folder.mkdir()
            os.chown(folder, NOBODY, NOBODY)
        monkeypatch.setenv("HOME", str(public.root / "home"))
        os.seteuid(NOBODY)
        yield public
        os.seteuid(0)

    async def test_an_unprivileged_daemon_refreshes_from_roots_mount(self, as_nobody: Lab) -> None:
        staged = await as_nobody.refresh()
        assert staged.commit == as_nobody.checkout.head
        assert as_nobody.files == {"README.md", "src/app.py"}
        assert as_nobody.checkout.status == ""

    async def test_a_folder_that_cannot_be_read_is_refused_and_its_files_stay_here(self, as_nobody: Lab) -> None:
        os.seteuid(0)
        as_nobody.host.write("untracked/file", "x")
        os.seteuid(NOBODY)
        await as_nobody.refresh()
        before = as_nobody.files
        os.seteuid(0)
        (as_nobody.host.path / "untracked").chmod(0o700)
        os.seteuid(NOBODY)
        with pytest.raises(MountError, match=r"untracked.*Permission denied"):
            await as_nobody.stage()
        os.seteuid(0)
        (as_nobody.host.path / "untracked").chmod(0o755)
        (as_nobody.host.path / "src").chmod(0o700)
        os.seteuid(NOBODY)
        with pytest.raises(MountError, match=r"src.*Permission denied"):
            await as_nobody.stage()
        assert as_nobody.files == before

    async def test_a_file_that_cannot_be_read_is_an_error_that_names_it(self, as_nobody: Lab) -> None:
        os.seteuid(0)
        (as_nobody.host.path / "README.md").chmod(0o600)
        os.seteuid(NOBODY)
        with pytest.raises(MountError, match=r"README\.md.*Permission denied"):
            await as_nobody.refresh()

    async def test_a_checkout_that_cannot_be_written_is_the_checkouts_fault(self, as_nobody: Lab) -> None:
        await as_nobody.refresh()
        os.seteuid(0)
        as_nobody.host.write("src/app.py", "print(2)\n")
        os.chown(as_nobody.checkout.path / "src", 0, 0)
        os.seteuid(NOBODY)
        with pytest.raises(CheckoutError, match="Permission denied"):
            await as_nobody.refresh()


async def test_each_source_starts_from_what_is_on_disk(refreshed: Lab) -> None:
    """Nothing is kept in the object: the process that applies the next update is another one."""
    refreshed.host.write("untracked", "x")
    await refreshed.source().apply(await refreshed.source().stage(parse_ref("main")))
    refreshed.host.write("untracked", None)
    await refreshed.source().apply(await refreshed.source().stage(parse_ref("main")))
    assert "untracked" not in refreshed.files
