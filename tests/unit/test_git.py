"""Every call of git: no prompt, no hook, no program by URL, no trust in the environment, no secret in what is shown."""

import os
from pathlib import Path

import pytest
import structlog

from daemon.errors import CheckoutError, CommandFailedError, CommandTimeoutError
from daemon.git import Git, fixed_options, printable
from tests.support.repos import Repo


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo.create(tmp_path / "repo")
    repo.commit({"file": "1\n"})
    return repo


def git_in(repo: Repo, timeout: float = 30) -> Git:
    return Git(folder=repo.path, timeout=timeout)


async def test_it_answers(repo: Repo) -> None:
    assert (await git_in(repo)("rev-parse", "HEAD")).text == repo.head


async def test_a_failure_says_which_verb_and_what_git_said(repo: Repo) -> None:
    with pytest.raises(CommandFailedError, match=r"cannot complete `git rev-parse`: exit code 128") as caught:
        await git_in(repo)("rev-parse", "--verify", "nothing")
    assert "Needed a single revision" in caught.value.detail


async def test_an_expected_exit_code_is_no_failure(repo: Repo) -> None:
    assert (await git_in(repo)("config", "--get", "no.such", ok_codes=(0, 1))).code == 1


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckoutError, match="there is no such folder"):
        await Git(folder=tmp_path / "gone", timeout=5)("version")


async def test_the_time_limit_holds(repo: Repo) -> None:
    with pytest.raises(CommandTimeoutError, match=r"no end after 0\.3 s"):
        await Git(folder=repo.path, timeout=0.3, config={"alias.wait": "!sleep 30"})("wait")


async def test_a_password_is_never_asked_for_at_a_terminal(repo: Repo) -> None:
    with pytest.raises(CommandFailedError) as caught:
        await git_in(repo)("credential", "fill", stdin=b"protocol=https\nhost=example.invalid\n\n")
    assert "terminal prompts disabled" in caught.value.detail


async def test_hooks_do_not_run(repo: Repo) -> None:
    hook = repo.path / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch ran\n")
    hook.chmod(0o755)
    await git_in(repo)("checkout", "--quiet", "--detach")
    assert not (repo.path / "ran").exists()


async def test_the_transport_that_runs_programs_is_off_whatever_the_user_allows(repo: Repo) -> None:
    repo.git("config", "protocol.ext.allow", "always")
    with pytest.raises(CommandFailedError) as caught:
        await git_in(repo)("fetch", "ext::touch ran")
    assert "transport 'ext' not allowed" in caught.value.detail
    assert not (repo.path / "ran").exists()


async def test_a_fetch_collects_no_garbage(repo: Repo) -> None:
    repo.git("config", "gc.auto", "1")
    assert (await git_in(repo)("config", "--get", "gc.auto")).text == "0"


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_EXTERNAL_DIFF", "GITHUB_TOKEN"])
async def test_the_environment_cannot_redirect_it(repo: Repo, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "/nowhere")
    git = Git(folder=repo.path, timeout=30, config={"alias.show-environment": "!env"})
    assert "/nowhere" not in (await git("show-environment")).text
    assert (await git("rev-parse", "HEAD")).text == repo.head


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_a_repository_of_another_user_is_read(repo: Repo) -> None:
    for path in (repo.path, *repo.path.rglob("*")):
        os.chown(path, 65534, 65534)
    assert (await git_in(repo)("log", "--format=%s")).text == "change"


async def test_another_repository_and_another_index_over_the_same_files(repo: Repo, tmp_path: Path) -> None:
    bare = Repo.create(tmp_path / "bare", bare=True)
    git = Git(folder=repo.path, timeout=30, git_dir=bare.path, index=tmp_path / "index", config={"core.bare": "false"})
    await git("add", "--all")
    assert (await git("ls-files")).text == "file"
    assert (tmp_path / "index").exists()
    assert not (bare.path / "index").exists()


async def test_more_configuration_comes_last_and_wins(repo: Repo) -> None:
    git = Git(folder=repo.path, timeout=30, config={"gc.auto": "7"})
    assert (await git("config", "--get", "gc.auto")).text == "7"


async def test_what_is_fixed_names_the_folders_that_are_safe() -> None:
    assert fixed_options(Path("/a"), Path("/b"))[:4] == ["-c", "safe.directory=/a", "-c", "safe.directory=/b"]


async def test_secrets_and_userinfo_are_cut_out_of_what_is_shown(repo: Repo) -> None:
    says = b"https://user:pass@word@example.invalid/x secret-word"
    git = Git(folder=repo.path, timeout=30, config={"alias.fail": "!cat >&2; exit 3"}, secrets=("secret-word",))
    with structlog.testing.capture_logs() as logs, pytest.raises(CommandFailedError) as caught:
        await git("fail", stdin=says)
    assert "https://example.invalid/x ***" in caught.value.detail
    assert "word" not in f"{caught.value!r} {logs} {git!r}"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain", "plain"),
        ("für".encode(), "für"),
        (b"a\nb\x1b[31m", r"a\nb\x1b[31m"),
        (b"not utf-8 \xff", r"not utf-8 \xff"),
        ("\u202eturned".encode(), r"\u202eturned"),
    ],
)
def test_names_of_files_become_printable(name: bytes, shown: str) -> None:
    assert printable(name) == shown
