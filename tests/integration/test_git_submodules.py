"""Submodules: staged with everything they need, checked out without a network, and never at the mercy of a commit."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.errors import CheckoutError, RefNotFoundError, RemoteError
from daemon.refs import parse_ref
from tests.support.git_lab import GitLab, git_lab
from tests.support.repos import Repo

NOBODY = 65534


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[GitLab]:
    with git_lab(tmp_path) as lab:
        yield lab


@pytest.fixture
def library(lab: GitLab) -> Repo:
    """Published beside the project."""
    work = lab.upstream("library")
    release(work, {"lib": "1\n"})
    return work


def release(work: Repo, files: dict[str, str | bytes | None]) -> str:
    commit = work.commit(files)
    work.git("push", "--quiet", "--force", "upstream", "HEAD:refs/heads/main")
    return commit


def add(lab: GitLab, url: str = "../library.git", path: str = "vendor/lib", name: str = "") -> str:
    """Publishes a commit of the project that has the submodule."""
    lab.work.add_submodule(f"{lab.server.url}/library.git", path, name=name)
    lab.work.git("config", "--file", ".gitmodules", f"submodule.{name or path}.url", url)
    return lab.publish({}, "add the library")


def move(lab: GitLab, commit: str, path: str = "vendor/lib") -> str:
    """Publishes a commit of the project that has the submodule at another commit."""
    Repo(lab.work.path / path).git("fetch", "--quiet", "origin", commit)
    Repo(lab.work.path / path).git("checkout", "--quiet", commit)
    return lab.publish({}, "move the library")


async def refresh_offline(lab: GitLab, target: str) -> tuple[str, ...]:
    """Applies with a server that is broken; returns the notes."""
    source = lab.source()
    staged = await source.stage(parse_ref(target))
    lab.server.fault = "error"
    lab.server.requests.clear()
    await source.apply(staged)
    assert lab.server.paths == []
    lab.server.fault = ""
    return staged.notes


class TestCheckedOut:
    @pytest.mark.parametrize("options", [(), ("--depth=1",)], ids=["full", "shallow"])
    async def test_a_new_one(self, lab: GitLab, library: Repo, options: tuple[str, ...]) -> None:
        lab.clone(*options)
        add(lab)
        await refresh_offline(lab, "main")
        submodule = Repo(lab.checkout.path / "vendor" / "lib")
        assert (submodule.read("lib"), submodule.head, submodule.status) == ("1\n", library.head, "")
        assert submodule.git("config", "remote.origin.url") == f"{lab.server.url}/library.git"
        assert lab.checkout.status == ""

    async def test_one_that_moved_on_and_back(self, lab: GitLab, library: Repo) -> None:
        old = add(lab)
        await lab.refresh("main")
        move(lab, release(library, {"lib": "2\n"}))
        await refresh_offline(lab, "main")
        assert lab.checkout.read("vendor/lib/lib") == "2\n"
        await refresh_offline(lab, old)
        assert (lab.checkout.read("vendor/lib/lib"), lab.checkout.status) == ("1\n", "")

    async def test_one_that_the_user_made(self, lab: GitLab, library: Repo) -> None:
        add(lab)
        lab.clone("--recurse-submodules")
        move(lab, release(library, {"lib": "2\n"}))
        await refresh_offline(lab, "main")
        assert lab.checkout.read("vendor/lib/lib") == "2\n"

    async def test_one_in_another(self, lab: GitLab, library: Repo) -> None:
        inner = lab.upstream("inner")
        release(inner, {"deep": "1\n"})
        library.add_submodule(f"{lab.server.url}/inner.git", "inner")
        library.git("config", "--file", ".gitmodules", "submodule.inner.url", "../inner.git")
        release(library, {})
        add(lab)
        await refresh_offline(lab, "main")
        assert lab.checkout.read("vendor/lib/inner/deep") == "1\n"
        assert (await lab.stage("main")).current

    async def test_with_a_name_that_is_not_its_path_and_signs_in_both(self, lab: GitLab, library: Repo) -> None:
        assert library.head
        add(lab, path="a [b]*/ü c", name="x/y.z")
        await refresh_offline(lab, "main")
        assert lab.checkout.read("a [b]*/ü c/lib") == "1\n"
        assert (lab.checkout.path / ".git" / "modules" / "x" / "y.z" / "HEAD").is_file()

    async def test_in_a_linked_worktree(self, lab: GitLab, library: Repo) -> None:
        assert library.head
        lab.checkout.git("worktree", "add", "--quiet", "--detach", lab.folder / "linked")
        lab.checkout = Repo(lab.folder / "linked")
        add(lab)
        await refresh_offline(lab, "main")
        assert (lab.checkout.read("vendor/lib/lib"), lab.checkout.status) == ("1\n", "")

    async def test_without_an_origin(self, lab: GitLab, library: Repo) -> None:
        assert library.head
        add(lab)
        lab.checkout.git("remote", "remove", "origin")
        source = lab.source(url=lab.url)
        await source.apply(await source.stage(parse_ref("main")))
        assert lab.checkout.read("vendor/lib/lib") == "1\n"
        assert lab.checkout.git("config", "submodule.vendor/lib.url") == f"{lab.server.url}/library.git"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    async def test_in_a_checkout_of_another_user(self, lab: GitLab, library: Repo) -> None:
        add(lab)
        lab.clone("--recurse-submodules")
        for path in (lab.checkout.path, *lab.checkout.path.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        move(lab, release(library, {"lib": "2\n"}))
        await refresh_offline(lab, "main")
        assert lab.checkout.read("vendor/lib/lib") == "2\n"

    async def test_from_another_url_when_the_commit_moved_there(self, lab: GitLab, library: Repo) -> None:
        add(lab)
        await lab.refresh("main")
        fork = lab.upstream("fork")
        fork.git("pull", "--quiet", str(library.path), "main")
        commit = release(fork, {"lib": "fork\n"})
        Repo(lab.work.path / "vendor/lib").git("fetch", "--quiet", str(fork.path), commit)
        Repo(lab.work.path / "vendor/lib").git("checkout", "--quiet", commit)
        lab.work.git("config", "--file", ".gitmodules", "submodule.vendor/lib.url", "../fork.git")
        lab.publish({})
        await refresh_offline(lab, "main")
        assert lab.checkout.read("vendor/lib/lib") == "fork\n"

    async def test_only_if_the_commit_wants_it(self, lab: GitLab, library: Repo) -> None:
        assert library.head
        add(lab)
        lab.work.git("config", "--file", ".gitmodules", "submodule.vendor/lib.update", "none")
        lab.publish({})
        await refresh_offline(lab, "main")
        assert not (lab.checkout.path / "vendor" / "lib" / "lib").exists()

    async def test_a_commit_that_its_remote_lacks_is_named(self, lab: GitLab, library: Repo) -> None:
        assert library.head
        add(lab)
        Repo(lab.work.path / "vendor/lib").commit({"lib": "never pushed\n"})
        lab.publish({})
        with pytest.raises(RefNotFoundError, match=r"library\.git"):
            await lab.stage("main")
        assert lab.checkout.branch == "refs/heads/main"


class TestCurrent:
    async def test_only_with_every_submodule_at_its_commit(self, lab: GitLab, library: Repo) -> None:
        add(lab)
        await lab.refresh("main")
        assert (await lab.stage("main")).current
        submodule = Repo(lab.checkout.path / "vendor" / "lib")
        submodule.write("own", "untracked\n")
        assert (await lab.stage("main")).current
        submodule.write("lib", "edited\n")
        assert not (await lab.stage("main")).current
        submodule.git("checkout", "--quiet", "--force", "HEAD")
        submodule.git("fetch", "--quiet", "origin", release(library, {"lib": "2\n"}))
        submodule.git("checkout", "--quiet", "FETCH_HEAD")
        assert not (await lab.stage("main")).current

    async def test_not_with_one_that_was_never_checked_out(self, lab: GitLab, library: Repo) -> None:
        assert library.head
        add(lab)
        lab.clone()
        assert not (await lab.stage("main")).current
        await refresh_offline(lab, "main")
        assert (await lab.stage("main")).current


class TestLocalEdits:
    async def test_a_submodule_in_it_that_was_moved_is_no_edit(self, lab: GitLab, library: Repo) -> None:
        inner = lab.upstream("inner")
        old = release(inner, {"deep": "1\n"})
        release(inner, {"deep": "2\n"})
        library.add_submodule(f"{lab.server.url}/inner.git", "inner")
        release(library, {})
        add(lab)
        await lab.refresh("main")
        Repo(lab.checkout.path / "vendor/lib/inner").git("checkout", "--quiet", old)
        assert not (await lab.stage("main")).current
        assert await refresh_offline(lab, "main") == ()
        assert lab.checkout.read("vendor/lib/inner/deep") == "2\n"


class TestLeaving:
    async def test_one_that_holds_nothing_of_the_users_goes(self, lab: GitLab, library: Repo) -> None:
        assert library.head
        before = lab.work.head
        add(lab)
        await lab.refresh("main")
        assert await refresh_offline(lab, before) == ()
        assert not (lab.checkout.path / "vendor").exists()
        assert lab.checkout.status == ""

    async def test_one_with_local_files_stays_and_a_note_says_so(self, lab: GitLab, library: Repo) -> None:
        assert library.head
        before = lab.work.head
        add(lab)
        await lab.refresh("main")
        lab.checkout.write("vendor/lib/own", "mine\n")
        (note,) = await refresh_offline(lab, before)
        assert note == "vendor/lib is no submodule any more; its folder stays, for it holds local files"
        assert lab.checkout.read("vendor/lib/own") == "mine\n"

    async def test_a_path_that_looks_like_a_pattern_is_none(self, lab: GitLab, library: Repo) -> None:
        assert library.head
        add(lab, path="lib-*")
        add(lab, path="lib-own")
        await lab.refresh("main")
        lab.checkout.write("lib-own/own", "mine\n")
        lab.work.git("--literal-pathspecs", "rm", "--quiet", "--force", "lib-*")
        lab.publish({})
        await refresh_offline(lab, "main")
        assert not (lab.checkout.path / "lib-*").exists()
        assert lab.checkout.read("lib-own/own") == "mine\n"

    @pytest.mark.parametrize("successor", ["vendor/lib", "vendor/lib/lib"], ids=["file", "folder"])
    async def test_one_that_becomes_files(self, lab: GitLab, library: Repo, successor: str) -> None:
        assert library.head
        add(lab)
        await lab.refresh("main")
        lab.work.git("rm", "--quiet", "--force", "vendor/lib")
        lab.publish({successor: "now here\n"})
        await refresh_offline(lab, "main")
        assert (lab.checkout.read(successor), lab.checkout.status) == ("now here\n", "")


class TestHostileCommits:
    """Whoever can push a commit must not be able to run a program here or to read what is not theirs."""

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("ext::sh -c touch% {folder}/ran", "not one of a repository"),
            ("--upload-pack=touch {folder}/ran", "not one of a repository"),
            ("ssh://-oProxyCommand=touch {folder}/ran/x", "not one of a repository"),
            ("{folder}/served/library.git", "local path"),
            ("file://{folder}/served/library.git", "local path"),
            ("../../../../../../../../etc", "leads out"),
            ("gopher://example.invalid/x", "does not allow the transport gopher"),
        ],
    )
    async def test_a_url(self, lab: GitLab, library: Repo, url: str, reason: str) -> None:
        assert library.head
        add(lab, url=url.format(folder=lab.folder))
        with pytest.raises(RemoteError, match=f"the submodule 'vendor/lib' cannot be used: .*{reason}"):
            await lab.stage("main")
        assert not (lab.folder / "ran").exists()
        assert not (lab.checkout.path / ".git" / "modules").exists()

    @pytest.mark.parametrize("name", ["../../escaped", "a/../../../escaped", "/escaped", "a\\..\\b", "-x"])
    async def test_a_name(self, lab: GitLab, library: Repo, name: str) -> None:
        assert library.head
        add(lab)
        quoted = name.replace("\\", "\\\\")
        section = f'[submodule "{quoted}"]\n\tpath = vendor/lib\n\turl = ../library.git\n'
        lab.publish({".gitmodules": section})
        with pytest.raises(RemoteError, match="its name leads out"):
            await lab.stage("main")
        assert not list(lab.folder.rglob("escaped"))

    async def test_a_name_inside_of_another(self, lab: GitLab, library: Repo) -> None:
        assert library.head
        add(lab, path="a")
        await lab.refresh("main")
        add(lab, path="b")
        lab.work.git("config", "--file", ".gitmodules", "--rename-section", "submodule.b", "submodule.a/objects")
        lab.publish({})
        with pytest.raises(RemoteError, match="its name is inside another's"):
            await lab.stage("main")

    async def test_a_name_inside_of_one_that_was_here_before(self, lab: GitLab, library: Repo) -> None:
        assert library.head
        add(lab, path="a")
        await lab.refresh("main")
        lab.work.git("mv", "a", "b")
        lab.work.git("config", "--file", ".gitmodules", "--rename-section", "submodule.a", "submodule.a/objects")
        lab.publish({})
        with pytest.raises(CheckoutError, match="would lie in the repository of another submodule"):
            await lab.stage("main")

    async def test_a_program_to_update_with(self, lab: GitLab, library: Repo) -> None:
        assert library.head
        add(lab)
        lab.work.git("config", "--file", ".gitmodules", "submodule.vendor/lib.update", f"!touch {lab.folder}/ran")
        lab.publish({})
        with pytest.raises(RemoteError, match="asks for a program"):
            await lab.stage("main")

    async def test_a_gitmodules_that_is_no_configuration(self, lab: GitLab, library: Repo) -> None:
        assert library.head
        add(lab)
        lab.publish({".gitmodules": "[nonsense"})
        with pytest.raises(RemoteError, match=r"its \.gitmodules cannot be read"):
            await lab.stage("main")

    async def test_one_that_is_checked_out_can_be_left(self, lab: GitLab) -> None:
        before = lab.checkout.head
        lab.checkout.write(".gitmodules", '[submodule "evil"]\n\tpath = evil\n\turl = ext::sh\n')
        lab.checkout.git("add", ".gitmodules")
        lab.checkout.git("update-index", "--add", "--cacheinfo", f"160000,{before},evil")
        lab.checkout.git("commit", "--quiet", "--message=evil")
        await refresh_offline(lab, before)
        assert lab.checkout.head == before

    async def test_a_link_in_the_place_of_the_folder(self, lab: GitLab, library: Repo) -> None:
        """The checkout has it from before; what it points to is not taken for the submodule."""
        add(lab)
        outside = Repo.clone(library.path, lab.folder / "outside")
        before = outside.head
        (lab.checkout.path / "vendor").mkdir()
        (lab.checkout.path / "vendor" / "lib").symlink_to(outside.path)
        move(lab, release(library, {"lib": "2\n"}))
        await refresh_offline(lab, "main")
        assert (outside.head, lab.checkout.read("vendor/lib/lib")) == (before, "2\n")
        assert not (lab.checkout.path / "vendor" / "lib").is_symlink()
