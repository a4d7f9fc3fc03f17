"""Which commits may come from the remote: allowed refs, what is reachable from them, and signatures."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.errors import RefNotAllowedError
from daemon.refs import parse_ref
from daemon.sources.git import RefPolicy
from tests.support.git_lab import GitLab, git_lab
from tests.support.repos import git

MAIN_ONLY = RefPolicy(("main",))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[GitLab]:
    with git_lab(tmp_path) as lab:
        yield lab


async def stage(lab: GitLab, target: str, policy: RefPolicy) -> str | None:
    return (await lab.source(policy=policy).stage(parse_ref(target))).commit


async def refusal(lab: GitLab, target: str, policy: RefPolicy) -> str:
    before = lab.checkout.head
    with pytest.raises(RefNotAllowedError) as refused:
        await stage(lab, target, policy)
    assert lab.checkout.head == before
    return str(refused.value)


def by_somebody_else(lab: GitLab) -> str:
    """A commit that the server hands out by its id although no ref of the project leads to it, as of a fork."""
    lab.work.git("checkout", "--quiet", "--detach")
    commit = lab.work.commit({"code": "evil\n"}, "evil")
    lab.push("HEAD:refs/pull/1/head")
    lab.work.git("checkout", "--quiet", "main")
    return commit


class TestNames:
    async def test_an_allowed_branch_comes(self, lab: GitLab) -> None:
        commit = lab.publish({"code": "two\n"})
        assert await stage(lab, "main", MAIN_ONLY) == commit
        assert await stage(lab, "refs/heads/main", MAIN_ONLY) == commit

    @pytest.mark.parametrize("target", ["other", "refs/heads/other", "refs/pull/1/head", "refs/tags/main", "mainx"])
    async def test_another_ref_is_refused_without_asking_the_remote(self, lab: GitLab, target: str) -> None:
        lab.publish({"code": "two\n"}, branch="other")
        by_somebody_else(lab)
        assert "only main may be asked for (REFRESHD_REFS)" in await refusal(lab, target, MAIN_ONLY)
        assert lab.server.paths == []

    async def test_a_pattern_allows_what_is_below(self, lab: GitLab) -> None:
        commit = lab.publish({"code": "two\n"}, branch="release/2/x")
        assert await stage(lab, "release/2/x", RefPolicy(("main", "release/*"))) == commit

    async def test_a_tag_that_hides_behind_an_allowed_branchs_name_is_not_taken(self, lab: GitLab) -> None:
        commit = lab.publish({"code": "two\n"}, branch="release")
        lab.push("HEAD^:refs/tags/release")
        assert await stage(lab, "release", RefPolicy(("release",))) == commit

    async def test_tags_can_be_allowed(self, lab: GitLab) -> None:
        commit = lab.publish({"code": "two\n"})
        lab.push("HEAD:refs/tags/v1")
        assert await stage(lab, "v1", RefPolicy(("refs/tags/v*",))) == commit
        assert "may be asked for" in await refusal(lab, "main", RefPolicy(("refs/tags/v*",)))


class TestIds:
    async def test_the_tip_and_an_older_commit_of_an_allowed_branch_come(self, lab: GitLab) -> None:
        older, tip = lab.publish({"code": "two\n"}), lab.publish({"code": "three\n"})
        assert await stage(lab, tip, MAIN_ONLY) == tip
        assert await stage(lab, older, MAIN_ONLY) == older

    async def test_a_commit_that_only_a_fork_has_is_refused(self, lab: GitLab) -> None:
        commit = by_somebody_else(lab)
        assert await stage(lab, commit, RefPolicy()) == commit
        assert "no allowed ref (main) leads to this commit" in await refusal(lab, commit, MAIN_ONLY)

    async def test_it_is_refused_in_the_checkout_that_has_it_already_too(self, lab: GitLab) -> None:
        commit = by_somebody_else(lab)
        await lab.refresh(commit)
        assert "leads to this commit" in await refusal(lab, commit, MAIN_ONLY)

    async def test_a_commit_of_another_branch_is_refused(self, lab: GitLab) -> None:
        commit = lab.publish({"code": "two\n"}, branch="other")
        assert "leads to this commit" in await refusal(lab, commit, MAIN_ONLY)

    async def test_a_branch_that_is_gone_vouches_no_more(self, lab: GitLab) -> None:
        policy = RefPolicy(("main", "release/*"))
        older = lab.publish({"code": "two\n"}, branch="release/1")
        lab.publish({"code": "three\n"}, branch="release/1")
        assert await stage(lab, older, policy) == older
        lab.push(":refs/heads/release/1")
        assert "leads to this commit" in await refusal(lab, older, policy)

    async def test_a_replacement_in_the_checkout_passes_nothing_off_as_something_else(self, lab: GitLab) -> None:
        commit = by_somebody_else(lab)
        lab.publish({"code": "two\n"})
        await lab.stage(commit)
        tip = (await lab.stage("main")).commit
        assert tip
        lab.checkout.git("replace", "--graft", tip, commit)
        assert "leads to this commit" in await refusal(lab, commit, MAIN_ONLY)

    async def test_in_a_shallow_clone_the_tip_comes_and_the_rest_says_why_not(self, lab: GitLab) -> None:
        older, tip = lab.publish({"code": "two\n"}), lab.publish({"code": "three\n"})
        lab.clone("--depth=1")
        assert await stage(lab, tip, MAIN_ONLY) == tip
        assert "shallow" in await refusal(lab, older, MAIN_ONLY)


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    """Two keys, of which the file `signers` names one."""
    folder = tmp_path / "keys"
    folder.mkdir()
    for name in ("ours", "theirs"):
        argv = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / name))
        subprocess.run(argv, check=True)
    (folder / "signers").write_text(f"test@example.invalid {(folder / 'ours.pub').read_text()}")
    return {path.name: path for path in folder.iterdir()}


def publish_signed(lab: GitLab, key: Path, content: str = "two\n") -> str:
    (lab.work.path / "code").write_text(content)
    options = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}")
    git(lab.work.path, *options, "commit", "--quiet", "--all", "--gpg-sign", "--message", "signed")
    lab.push("HEAD:refs/heads/main")
    return lab.work.head


class TestSignatures:
    async def test_a_commit_signed_by_one_of_the_signers_comes(self, lab: GitLab, keys: dict[str, Path]) -> None:
        commit = publish_signed(lab, keys["ours"])
        assert await stage(lab, "main", RefPolicy(signers=keys["signers"])) == commit
        assert await stage(lab, commit, RefPolicy(signers=keys["signers"])) == commit

    async def test_an_unsigned_commit_is_refused(self, lab: GitLab, keys: dict[str, Path]) -> None:
        lab.publish({"code": "two\n"})
        said = await refusal(lab, "main", RefPolicy(signers=keys["signers"]))
        assert "it is not signed by a key of" in said

    async def test_a_commit_signed_by_somebody_else_is_refused(self, lab: GitLab, keys: dict[str, Path]) -> None:
        publish_signed(lab, keys["theirs"])
        assert "not signed by a key of" in await refusal(lab, "main", RefPolicy(signers=keys["signers"]))

    async def test_an_unsigned_commit_on_top_of_a_signed_one_is_refused(
        self, lab: GitLab, keys: dict[str, Path]
    ) -> None:
        publish_signed(lab, keys["ours"])
        lab.publish({"code": "three\n"})
        assert "not signed" in await refusal(lab, "main", RefPolicy(signers=keys["signers"]))

    async def test_the_checkouts_own_configuration_has_no_say(self, lab: GitLab, keys: dict[str, Path]) -> None:
        publish_signed(lab, keys["theirs"])
        theirs = keys["signers"].with_name("their-signers")
        theirs.write_text(f"test@example.invalid {keys['theirs.pub'].read_text()}")
        yes = theirs.with_name("yes")
        yes.write_text("#!/bin/sh\necho 'Good \"git\" signature for x with ED25519 key SHA256:x'\n")
        yes.chmod(0o755)
        for name, value in (("gpg.ssh.allowedSignersFile", theirs), ("gpg.ssh.program", yes), ("gpg.program", yes)):
            lab.checkout.git("config", name, str(value))
        assert "not signed" in await refusal(lab, "main", RefPolicy(signers=keys["signers"]))

    async def test_a_missing_file_of_signers_allows_nobody(self, lab: GitLab, keys: dict[str, Path]) -> None:
        publish_signed(lab, keys["ours"])
        assert "not signed" in await refusal(lab, "main", RefPolicy(signers=keys["signers"].with_name("none")))
