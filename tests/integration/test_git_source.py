"""The git source against a real git server over HTTP: what it finds, what it leaves alone, what it checks out."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.errors import CheckoutError, RefNotFoundError
from daemon.refs import RefKind, parse_branch, parse_ref
from daemon.snapshots import Snapshots
from tests.support.git_lab import GitLab, git_lab
from tests.support.repos import Repo, git

FETCHED = "refs/refreshd/fetched"
NOBODY = 65534


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[GitLab]:
    with git_lab(tmp_path) as lab:
        yield lab


def below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


class TestFinding:
    async def test_a_branch_costs_one_fetch(self, lab: GitLab) -> None:
        commit = lab.publish({"code": "two\n"})
        staged = await lab.stage("main")
        assert (staged.commit, staged.ref, staged.current) == (commit, "refs/heads/main", False)
        assert lab.server.paths == [
            "GET /project.git/info/refs?service=git-upload-pack",
            "POST /project.git/git-upload-pack",  # which refs there are
            "POST /project.git/git-upload-pack",  # the objects
        ]

    async def test_a_branch_that_is_not_the_default_one(self, lab: GitLab) -> None:
        commit = lab.publish({"code": "two\n"}, branch="feature/x")
        assert (await lab.stage("feature/x")).commit == commit

    async def test_a_branch_that_a_single_branch_clone_has_never_seen(self, lab: GitLab) -> None:
        lab.clone("--single-branch", "--branch=main")
        commit = lab.publish({"code": "two\n"}, branch="other")
        assert (await lab.stage("other")).commit == commit

    async def test_a_branch_whose_history_was_rewritten(self, lab: GitLab) -> None:
        lab.publish({"code": "two\n"})
        await lab.refresh("main")
        lab.work.git("reset", "--quiet", "--hard", "HEAD^")
        commit = lab.publish({"code": "another two\n"})
        await lab.refresh("main")
        assert lab.checkout.head == commit

    async def test_a_commit_by_its_id_that_no_ref_names(self, lab: GitLab) -> None:
        commit = lab.publish({"code": "two\n"}, branch="gone")
        lab.push(":refs/heads/gone")
        staged = await lab.stage(commit)
        assert (staged.commit, staged.ref) == (commit, None)

    async def test_a_commit_that_is_here_needs_no_network(self, lab: GitLab) -> None:
        first = lab.checkout.head
        lab.publish({"code": "two\n"})
        await lab.refresh("main")
        lab.server.requests.clear()
        staged = await lab.refresh(first)
        assert (staged.commit, lab.checkout.read("code")) == (first, "one\n")
        assert lab.server.paths == []

    async def test_a_commit_whose_files_never_arrived_is_fetched_again(self, lab: GitLab) -> None:
        commit = lab.publish({"code": "two\n"})
        await lab.stage(commit)
        lab.checkout.git("update-ref", "-d", FETCHED)
        blob = lab.checkout.git("rev-parse", f"{commit}:code")
        (lab.checkout.path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
        await lab.refresh(commit)
        assert lab.checkout.read("code") == "two\n"

    async def test_an_annotated_tag_stands_for_its_commit(self, lab: GitLab) -> None:
        commit = lab.publish({"code": "two\n"})
        lab.work.git("tag", "--annotate", "--message=v", "v1")
        lab.push("refs/tags/v1")
        staged = await lab.stage("v1")
        assert (staged.commit, staged.ref) == (commit, "refs/tags/v1")

    async def test_a_branch_comes_before_a_tag_of_the_same_name(self, lab: GitLab) -> None:
        lab.push("HEAD:refs/tags/both")
        commit = lab.publish({"code": "two\n"}, branch="both")
        assert (await lab.stage("both")).commit == commit

    async def test_a_request_for_a_branch_finds_no_tag(self, lab: GitLab) -> None:
        lab.push("HEAD:refs/tags/v1")
        with pytest.raises(RefNotFoundError, match="there is no such branch"):
            await lab.stage(parse_branch("v1"))

    async def test_any_ref_by_its_full_name(self, lab: GitLab) -> None:
        commit = lab.work.commit({"code": "two\n"})
        lab.push("HEAD:refs/pull/7/head")
        staged = await lab.stage("refs/pull/7/head")
        assert (staged.commit, staged.ref) == (commit, "refs/pull/7/head")

    @pytest.mark.parametrize("options", [(), ("--depth=1",)], ids=["full", "shallow"])
    async def test_dev_is_not_foo_dev(self, lab: GitLab, options: tuple[str, ...]) -> None:
        lab.clone(*options)
        lab.push("HEAD:refs/heads/foo/dev", "HEAD:refs/heads/refs/heads/dev")
        with pytest.raises(RefNotFoundError, match=r"cannot find 'dev'.*neither a branch nor a tag"):
            await lab.stage("dev")

    async def test_an_abbreviated_id_is_answered_with_advice(self, lab: GitLab) -> None:
        with pytest.raises(RefNotFoundError, match="give all 40 digits"):
            await lab.stage(lab.publish({"code": "two\n"})[:10])

    async def test_an_unknown_commit_is_not_a_failure_of_the_remote(self, lab: GitLab) -> None:
        with pytest.raises(RefNotFoundError, match="was it pushed"):
            await lab.stage("1234567890" * 4)

    async def test_what_leads_to_no_commit_is_refused(self, lab: GitLab) -> None:
        lab.push("HEAD:refs/heads/main", f"{lab.work.git('rev-parse', 'HEAD:code')}:refs/tags/file")
        with pytest.raises(RefNotFoundError, match="leads to no commit"):
            await lab.stage("file")

    async def test_the_url_of_the_settings_is_used_where_there_is_no_origin(self, lab: GitLab) -> None:
        lab.checkout.git("remote", "remove", "origin")
        commit = lab.publish({"code": "two\n"})
        assert (await lab.source(url=lab.url).stage(parse_ref("main"))).commit == commit

    async def test_without_any_url_a_fetch_says_what_to_do(self, lab: GitLab) -> None:
        lab.checkout.git("remote", "remove", "origin")
        with pytest.raises(CheckoutError, match="set REFRESHD_GIT_URL"):
            await lab.stage("main")
        assert (await lab.stage(lab.checkout.head)).current

    async def test_insteadof_is_followed(self, lab: GitLab) -> None:
        lab.checkout.git("remote", "set-url", "origin", "short:project.git")
        lab.checkout.git("config", f"url.{lab.server.url}/.insteadOf", "short:")
        commit = lab.publish({"code": "two\n"})
        assert (await lab.stage("main")).commit == commit


class TestShallow:
    async def test_a_shallow_clone_stays_shallow(self, lab: GitLab) -> None:
        for number in range(5):
            lab.publish({"code": f"{number}\n"})
        lab.clone("--depth=1")
        for number in range(5):
            lab.publish({"code": f"again {number}\n"})
        await lab.refresh("main")
        assert lab.checkout.git("rev-list", "--count", "HEAD") == "1"
        assert lab.checkout.read("code") == "again 4\n"

    async def test_an_older_commit_is_fetched_alone(self, lab: GitLab) -> None:
        commits = [lab.publish({"code": f"{number}\n"}) for number in range(5)]
        lab.clone("--depth=1")
        await lab.refresh(commits[1])
        assert (lab.checkout.head, lab.checkout.git("rev-list", "--count", "HEAD")) == (commits[1], "1")

    async def test_the_history_of_what_is_here_is_not_cut(self, lab: GitLab) -> None:
        for number in range(5):
            lab.publish({"code": f"{number}\n"})
        lab.clone("--depth=3")
        await lab.stage("main")
        assert lab.checkout.git("rev-list", "--count", "HEAD") == "3"

    async def test_a_tag(self, lab: GitLab) -> None:
        lab.clone("--depth=1")
        commit = lab.work.commit({"code": "two\n"})
        lab.work.git("tag", "--annotate", "--message=v", "v1")
        lab.push("refs/tags/v1")
        staged = await lab.stage("v1")
        assert (staged.commit, staged.ref) == (commit, "refs/tags/v1")


class TestStagingLeavesAlone:
    async def test_files_head_index_and_the_users_refs(self, lab: GitLab) -> None:
        lab.checkout.write("code", "edited\n")
        lab.checkout.write("new", "untracked\n")
        git_dir = lab.checkout.path / ".git"
        before = (below(lab.checkout.path), lab.checkout.refs, (git_dir / "index").read_bytes())
        lab.publish({"code": "two\n"})
        lab.push("HEAD:refs/tags/v1", "HEAD:refs/heads/other")
        await lab.stage("main")
        refs = lab.checkout.refs
        del refs[FETCHED]
        assert (below(lab.checkout.path), refs, (git_dir / "index").read_bytes()) == before
        assert lab.checkout.branch == "refs/heads/main"
        assert not (git_dir / "FETCH_HEAD").exists()

    @pytest.mark.parametrize(
        "option",
        [
            ("remote.origin.fetch", "+refs/*:refs/*"),
            ("remote.origin.mirror", "true"),
            ("remote.origin.tagOpt", "--tags"),
            ("fetch.prune", "true"),
            ("fetch.pruneTags", "true"),
            ("fetch.recurseSubmodules", "true"),
        ],
        ids=lambda option: str(option[0]),
    )
    async def test_whatever_the_configuration_says(self, lab: GitLab, option: tuple[str, str]) -> None:
        for branch in ("mine", "main"):
            lab.checkout.git("update-ref", f"refs/heads/{branch}", "HEAD")
        lab.checkout.git("tag", "mine")
        before = lab.checkout.refs
        lab.checkout.git("config", *option)
        commit = lab.publish({"code": "two\n"})
        lab.push("HEAD:refs/tags/v1")
        await lab.stage("main")
        assert lab.checkout.refs == before | {FETCHED: commit}

    async def test_hooks_do_not_run(self, lab: GitLab) -> None:
        hooks = lab.checkout.path / ".git" / "hooks"
        hooks.mkdir(exist_ok=True)
        for name in ("reference-transaction", "post-checkout", "post-index-change"):
            (hooks / name).write_text(f"#!/bin/sh\ntouch {lab.folder}/ran-{name}\n")
            (hooks / name).chmod(0o755)
        lab.checkout.git("config", "core.hooksPath", str(hooks))
        lab.publish({"code": "two\n"})
        await lab.refresh("main")
        assert list(lab.folder.glob("ran-*")) == []


class TestStaged:
    async def test_current_when_nothing_would_change(self, lab: GitLab) -> None:
        lab.checkout.write("new", "untracked\n")
        staged = await lab.stage("main")
        assert staged.current
        assert staged.notes == ()

    @pytest.mark.parametrize("how", ["edited", "deleted", "added to the index"])
    async def test_not_current_with_a_tracked_file(self, lab: GitLab, how: str) -> None:
        if how == "edited":
            lab.checkout.write("code", "edited\n")
        elif how == "deleted":
            lab.checkout.write("code", None)
        else:
            lab.checkout.write("new", "added\n")
            lab.checkout.git("add", "new")
        assert not (await lab.stage("main")).current

    async def test_changes_are_the_committed_difference(self, lab: GitLab) -> None:
        lab.publish({"code": "two\n", "kept": None, "folder/nëw\n": "x"})
        changes = (await lab.stage("main")).changes
        assert changes is not None
        assert (changes.added, changes.changed, changes.deleted) == (1, 1, 1)
        assert set(changes.files) == {"M code", "D kept", "A folder/nëw\\n"}

    async def test_at_most_200_files_are_listed_and_all_are_counted(self, lab: GitLab) -> None:
        lab.publish({f"many/{number}": "x" for number in range(250)})
        changes = (await lab.stage("main")).changes
        assert changes is not None
        assert (changes.added, len(changes.files)) == (250, 200)

    async def test_a_note_says_that_the_branch_was_left(self, lab: GitLab) -> None:
        lab.publish({"code": "two\n"})
        assert (await lab.refresh("main")).notes == ("HEAD was on the branch main and is now detached",)
        lab.publish({"code": "three\n"})
        assert (await lab.refresh("main")).notes == ()

    async def test_the_tree_has_the_files_of_the_commit(self, lab: GitLab) -> None:
        lab.publish({"code": "two\n", "a b/c blob": "nested", "p/package.json": "{}"})
        tree = (await lab.stage("main")).tree
        found = await tree.find(lambda path: path in {"code", "p/package.json"})
        assert found == {name: lab.work.git("rev-parse", f"HEAD:{name}") for name in ("code", "p/package.json")}
        assert await tree.read("a b/c blob") == b"nested"
        assert await tree.read("code") == b"two\n"

    async def test_a_narrowed_look_finds_what_a_whole_one_does(self, lab: GitLab) -> None:
        wanted = {"p/package.json", "package.json", "own/x y", "own/\x07\ttab"}
        lab.publish(dict.fromkeys((*wanted, "p\town/package.jsonx", "package.json.d/x"), "x"))
        tree = (await lab.stage("main")).tree
        whole = await tree.find(wanted.__contains__)
        assert await tree.find(wanted.__contains__, ends=("package.json",), below="own/") == whole
        assert set(whole) == wanted

    @pytest.mark.parametrize("path", ["absent", "an absent blob", "p", "kept/x", ""])
    async def test_the_tree_has_nothing_where_there_is_no_file(self, lab: GitLab, path: str) -> None:
        lab.publish({"p/x": "x"})
        assert await (await lab.stage("main")).tree.read(path) is None

    async def test_the_tree_follows_symlinks_inside_the_commit_only(self, lab: GitLab) -> None:
        for name, target in (("link", "code"), ("out", "/etc/hostname"), ("dangling", "nothing"), ("folder", ".")):
            (lab.work.path / name).symlink_to(target)
        lab.publish({})
        tree = (await lab.stage("main")).tree
        assert await tree.find(lambda path: not path.endswith("kept")) == dict.fromkeys(
            ("code", "link"), lab.work.git("rev-parse", "HEAD:code")
        )
        assert [await tree.read(name) for name in ("link", "out", "dangling", "folder")] == [b"one\n", None, None, None]


class TestApplying:
    async def test_files_index_and_head_are_those_of_the_commit(self, lab: GitLab) -> None:
        commit = lab.publish({"code": "two\n", "kept": None, "new/file": "new\n"})
        await lab.refresh("main")
        assert below(lab.checkout.path) == {"code": b"two\n", "new/file": b"new\n"}
        assert (lab.checkout.head, lab.checkout.branch, lab.checkout.status) == (commit, None, "")
        assert lab.checkout.refs["refs/heads/main"] != commit

    async def test_local_edits_give_way(self, lab: GitLab) -> None:
        lab.checkout.write("code", "edited\n")
        lab.checkout.write("kept", None)
        lab.checkout.write("new", "untracked and in the way\n")
        lab.checkout.write("own", "untracked\n")
        lab.publish({"new": "new\n"})
        await lab.refresh("main")
        assert below(lab.checkout.path) == {
            "code": b"one\n",
            "kept": b"kept\n",
            "new": b"new\n",
            "own": b"untracked\n",
        }

    async def test_the_same_commit_again_restores_edited_files(self, lab: GitLab) -> None:
        lab.checkout.write("code", "edited\n")
        await lab.refresh(lab.checkout.head)
        assert lab.checkout.read("code") == "one\n"

    async def test_a_folder_in_the_place_of_a_file_and_a_file_in_that_of_a_folder(self, lab: GitLab) -> None:
        lab.checkout.write("file/inner", "x")
        lab.checkout.write("folder", "x")
        lab.publish({"file": "a file\n", "folder/inner": "a folder\n"})
        await lab.refresh("main")
        assert (lab.checkout.read("file"), lab.checkout.read("folder/inner")) == ("a file\n", "a folder\n")

    async def test_a_merge_that_was_going_on_is_over(self, lab: GitLab) -> None:
        lab.checkout.git("checkout", "--quiet", "-b", "side")
        lab.checkout.commit({"code": "side\n"})
        lab.checkout.git("checkout", "--quiet", "main")
        lab.checkout.commit({"code": "main\n"})
        with pytest.raises(AssertionError):
            lab.checkout.git("merge", "side")
        lab.publish({"code": "two\n"})
        await lab.refresh("main")
        assert (lab.checkout.read("code"), lab.checkout.status) == ("two\n", "")
        assert not (lab.checkout.path / ".git" / "MERGE_HEAD").exists()

    async def test_no_network_is_used(self, lab: GitLab) -> None:
        lab.publish({"code": "two\n"})
        source = lab.source()
        staged = await source.stage(parse_ref("main"))
        lab.server.requests.clear()
        await source.apply(staged)
        assert lab.server.paths == []


class TestPreparing:
    @pytest.mark.parametrize("state", ["missing", "empty"])
    async def test_an_empty_place_becomes_a_checkout(self, lab: GitLab, state: str) -> None:
        lab.checkout = Repo(lab.folder / "deep" / "fresh")
        if state == "empty":
            lab.checkout.path.mkdir(parents=True)
        source = lab.source(url=lab.url)
        await source.prepare()
        staged = await source.stage(parse_ref("main"))
        assert staged.changes is not None
        assert (staged.changes.added, staged.current, staged.notes) == (2, False, ())
        await source.apply(staged)
        assert (lab.checkout.read("code"), lab.checkout.status) == ("one\n", "")

    async def test_a_checkout_stays_as_it_is(self, lab: GitLab) -> None:
        before = lab.checkout.refs
        await lab.source().prepare()
        assert (lab.checkout.refs, lab.checkout.branch) == (before, "refs/heads/main")

    async def test_a_folder_with_other_things_in_it_is_refused(self, lab: GitLab) -> None:
        folder = lab.folder / "other"
        folder.mkdir()
        (folder / "photo").write_text("dear")
        lab.checkout = Repo(folder)
        with pytest.raises(CheckoutError, match="not a git repository"):
            await lab.source().prepare()
        assert [path.name for path in folder.iterdir()] == ["photo"]

    async def test_a_file_is_refused(self, lab: GitLab) -> None:
        lab.checkout = Repo(lab.checkout.path / "code")
        with pytest.raises(CheckoutError, match="no folder that can be used"):
            await lab.source().prepare()

    async def test_a_folder_inside_of_a_repository_is_not_taken_for_it(self, lab: GitLab) -> None:
        lab.checkout.write("inner/file", "x")
        lab.checkout = Repo(lab.checkout.path / "inner")
        with pytest.raises(CheckoutError, match="not a git repository"):
            await lab.source().prepare()
        with pytest.raises(CheckoutError, match="not a git repository"):
            await lab.stage("main")


class TestUnusualCheckouts:
    async def test_a_linked_worktree(self, lab: GitLab) -> None:
        linked = lab.folder / "linked"
        lab.checkout.git("worktree", "add", "--quiet", "-b", "side", linked)
        main, lab.checkout = lab.checkout, Repo(linked)
        commit = lab.publish({"code": "two\n"})
        await lab.refresh("main")
        assert (lab.checkout.head, lab.checkout.read("code")) == (commit, "two\n")
        assert (main.branch, main.read("code"), main.status) == ("refs/heads/main", "one\n", "")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    async def test_a_checkout_of_another_user(self, lab: GitLab) -> None:
        for path in (lab.checkout.path, *lab.checkout.path.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        commit = lab.publish({"code": "two\n"})
        await lab.refresh("main")
        assert (lab.checkout.head, lab.checkout.read("code")) == (commit, "two\n")

    async def test_a_checkout_behind_a_symlink(self, lab: GitLab) -> None:
        link = lab.folder / "link"
        link.symlink_to(lab.checkout.path)
        lab.checkout = Repo(link)
        commit = lab.publish({"code": "two\n"})
        await lab.refresh("main")
        assert lab.checkout.head == commit

    async def test_a_bare_repository_is_refused(self, lab: GitLab) -> None:
        lab.checkout = Repo.create(lab.folder / "bare", bare=True)
        with pytest.raises(CheckoutError, match="without a working tree"):
            await lab.stage("main")

    @pytest.mark.parametrize("damage", ["HEAD", "config", "objects"])
    async def test_a_damaged_repository_is_refused(self, lab: GitLab, damage: str) -> None:
        victim = lab.checkout.path / ".git" / damage
        shutil.rmtree(victim) if victim.is_dir() else victim.write_text("[nonsense")
        with pytest.raises(CheckoutError, match=r"not a git repository|bad config"):
            await lab.stage("main")

    async def test_a_damaged_index_is_named_when_it_is_met(self, lab: GitLab) -> None:
        (lab.checkout.path / ".git" / "index").write_bytes(b"nonsense")
        lab.publish({"code": "two\n"})
        with pytest.raises(CheckoutError, match="index file"):
            await lab.refresh("main")

    async def test_a_local_remote_of_another_user(self, lab: GitLab) -> None:
        lab.checkout.git("remote", "set-url", "origin", str(lab.server.root / "project.git"))
        commit = lab.publish({"code": "two\n"})
        assert (await lab.stage("main")).commit == commit


class TestPartialClones:
    @pytest.mark.parametrize("left_out", ["blob:none", "tree:0"])
    async def test_nothing_is_left_to_be_fetched_by_the_checkout(self, lab: GitLab, left_out: str) -> None:
        old = lab.publish({"code": "old\n", "deep/er/file": "old\n"})
        lab.publish({"code": "new\n", "deep/er/file": "new\n"})
        lab.clone(f"--filter={left_out}")
        for target, expected in ((old, "old\n"), (lab.publish({"code": "newest\n"}), "newest\n")):
            source = lab.source()
            staged = await source.stage(parse_ref(target))
            lab.server.requests.clear()
            lab.server.fault = "error"
            await source.apply(staged)
            assert (lab.checkout.read("code"), lab.server.paths) == (expected, [])
            lab.server.fault = ""

    async def test_a_new_commit_arrives_whole_in_one_fetch(self, lab: GitLab) -> None:
        lab.clone("--filter=blob:none")
        lab.publish({"code": "new\n"})
        await lab.refresh("main")
        assert [path.partition("?")[0] for path in lab.server.paths].count("GET /project.git/info/refs") == 1

    async def test_what_a_sparse_checkout_leaves_out_is_not_fetched(self, lab: GitLab) -> None:
        lab.publish({"in/file": "1\n", "out/file": "left out\n"})
        lab.clone("--filter=blob:none", "--sparse")
        lab.checkout.git("sparse-checkout", "set", "in")
        unwanted = lab.work.git("rev-parse", "HEAD:out/file")
        lab.publish({"in/file": "2\n"})
        await lab.refresh("main")
        assert lab.checkout.read("in/file") == "2\n"
        assert not (lab.checkout.path / "out").exists()
        listed = git(lab.checkout.path, "rev-list", "--objects", "--missing=print", "--no-walk", "HEAD")
        assert f"?{unwanted}" in listed.split("\n")


def test_the_kinds_of_refs_all_have_a_hint() -> None:
    from daemon.sources.git.locate import _HINTS

    assert set(_HINTS) == set(RefKind)


class TestFilesThatGitWasToldNotToLookAt:
    @pytest.mark.parametrize("flags", ["--skip-worktree", "--assume-unchanged", "--skip-worktree --assume-unchanged"])
    async def test_they_are_kept_and_overwritten_where_the_commit_changes_them(self, lab: GitLab, flags: str) -> None:
        for flag in flags.split():
            lab.checkout.git("update-index", flag, "code")
        lab.checkout.write("code", "mine\n")
        snapshots = Snapshots(folder=lab.folder / "snapshots", repo=lab.checkout.path, timeout=30)
        snapshot = await snapshots.take("before", head=lab.checkout.head)
        assert (snapshot.edited, snapshot.pristine) == (frozenset({b"code"}), False)
        lab.publish({"code": "two\n"})
        await lab.refresh("main")
        assert lab.checkout.read("code") == "two\n"
        assert lab.checkout.git("ls-files", "-v", "code") == "H code"

    async def test_they_stay_as_they_are_where_it_does_not(self, lab: GitLab) -> None:
        lab.publish({"other": "one\n", "code": "two\n"})
        await lab.refresh("main")
        for name in ("code", "other"):
            lab.checkout.git("update-index", "--skip-worktree", name)
            lab.checkout.write(name, "mine\n")
        lab.publish({"code": "three\n"})
        await lab.refresh("main")
        assert (lab.checkout.read("code"), lab.checkout.read("other")) == ("three\n", "mine\n")
        assert lab.checkout.git("ls-files", "-v", "other") == "S other"


class Told:
    """Notes what it is told, and how many requests the server had seen by then."""

    def __init__(self, lab: GitLab) -> None:
        self._lab = lab
        self.at: list[tuple[str, int]] = []

    def asking(self) -> None:
        self.at.append(("asking", len(self._lab.server.requests)))

    def found(self) -> None:
        self.at.append(("found", len(self._lab.server.requests)))


class TestWaitingForTheRemote:
    async def test_it_is_told_while_the_remote_is_asked(self, lab: GitLab) -> None:
        commit = lab.publish({"code": "two\n"})
        told = Told(lab)
        await lab.source().telling(told).stage(parse_ref(commit))
        assert told.at == [("asking", 0), ("found", len(lab.server.requests))]

    async def test_what_is_here_already_is_nothing_to_wait_for(self, lab: GitLab) -> None:
        lab.checkout.git("checkout", "--quiet", "--detach")
        told = Told(lab)
        staged = await lab.source().telling(told).stage(parse_ref(lab.checkout.head))
        assert (staged.current, told.at) == (True, [])

    async def test_a_branch_that_has_not_moved_leads_to_no_other_commit(self, lab: GitLab) -> None:
        told = Told(lab)
        staged = await lab.source().telling(told).stage(parse_ref("main"))
        assert (staged.current, told.at) == (True, [("asking", 0)])
