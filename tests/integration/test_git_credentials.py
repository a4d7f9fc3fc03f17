"""Who gets the token and where it never appears: a planted token, real servers, real git."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from daemon.errors import CheckoutError, ConfigurationError, RemoteError
from daemon.refs import parse_ref
from daemon.sources.git.credentials import Credentials
from tests.support.git_lab import GitLab, git_lab
from tests.support.git_server import GitServer
from tests.support.leaks import arguments_and_environments
from tests.support.repos import git

TOKEN = "planted-token-5d1f"
BAKED = "baked-in-token-77aa"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[GitLab]:
    """The server asks for the token and the source has it."""
    with git_lab(tmp_path) as lab:
        lab.server.token = lab.token = TOKEN
        lab.publish({"code": "two\n"})
        yield lab


def authorized(server: GitServer) -> list[bool]:
    return [request.authorization is not None for request in server.requests]


class TestTheTokenIsGiven:
    async def test_to_a_server_that_asks_for_it(self, lab: GitLab) -> None:
        staged = await lab.stage("main")
        assert staged.commit == lab.work.head

    async def test_as_it_is_at_that_moment(self, lab: GitLab) -> None:
        source = lab.source()
        lab.token = "expired"
        with pytest.raises(RemoteError, match="authentication failed"):
            await source.stage(parse_ref("main"))
        lab.token = TOKEN
        assert (await source.stage(parse_ref("main"))).commit == lab.work.head

    async def test_to_the_server_of_the_settings(self, lab: GitLab) -> None:
        lab.checkout.git("remote", "remove", "origin")
        assert (await lab.source(url=lab.url).stage(parse_ref("main"))).commit == lab.work.head

    async def test_in_a_shallow_clone(self, lab: GitLab) -> None:
        lab.server.token = None
        lab.clone("--depth=1")
        lab.server.token = TOKEN
        lab.publish({"code": "three\n"})
        assert (await lab.stage("main")).commit == lab.work.head

    async def test_for_the_objects_that_a_partial_clone_lacks(self, lab: GitLab) -> None:
        lab.publish({"code": "three\n"})
        lab.server.token = None
        lab.clone("--filter=blob:none")
        lab.server.token = TOKEN
        await lab.refresh(lab.work.git("rev-parse", "HEAD^"))
        assert lab.checkout.read("code") == "two\n"

    async def test_whatever_the_user_configured_about_paths(self, lab: GitLab) -> None:
        lab.checkout.git("config", f"credential.{lab.server.url}.useHttpPath", "true")
        assert (await lab.stage("main")).commit == lab.work.head

    @pytest.mark.parametrize("user", [f"x-access-token:{BAKED}", f"{BAKED}", "somebody"])
    async def test_instead_of_an_older_one_in_the_url(self, lab: GitLab, user: str) -> None:
        lab.checkout.git("remote", "set-url", "origin", lab.url.replace("://", f"://{user}@"))
        assert (await lab.stage("main")).commit == lab.work.head

    async def test_instead_of_an_older_one_that_insteadof_puts_into_the_url(self, lab: GitLab) -> None:
        baked = lab.server.url.replace("://", f"://x-access-token:{BAKED}@")
        lab.checkout.git("config", f"url.{baked}.insteadOf", lab.server.url)
        assert (await lab.stage("main")).commit == lab.work.head

    @pytest.mark.parametrize("scope", ["", "/", "/project.git"])
    async def test_instead_of_an_older_one_in_a_header(self, lab: GitLab, scope: str) -> None:
        option = f"http.{lab.server.url}{scope}.extraHeader"
        lab.checkout.git("config", option, f"Authorization: Basic {BAKED}")
        assert (await lab.stage("main")).commit == lab.work.head
        assert not any(BAKED in str(request.authorization) for request in lab.server.requests)

    async def test_instead_of_what_a_helper_of_the_user_would_answer(self, lab: GitLab) -> None:
        for option in ("credential.helper", f"credential.{lab.server.url}.helper"):
            lab.checkout.git("config", option, f"!echo asked >>{lab.folder}/asked; echo password={BAKED};:")
        assert (await lab.stage("main")).commit == lab.work.head
        assert not (lab.folder / "asked").exists()


class TestWithoutAToken:
    async def test_the_failure_is_one_of_authentication(self, lab: GitLab) -> None:
        lab.token = None
        with pytest.raises(RemoteError, match="authentication failed: check the token") as caught:
            await lab.stage("main")
        assert caught.value.remote == lab.url

    async def test_the_users_own_helper_answers(self, lab: GitLab) -> None:
        lab.token = None
        lab.checkout.git("config", "credential.helper", f"!echo username=x-access-token; echo password={TOKEN};:")
        assert (await lab.stage("main")).commit == lab.work.head

    async def test_the_url_of_the_user_is_used_as_it_is_and_not_shown(self, lab: GitLab) -> None:
        lab.token = None
        lab.checkout.git("remote", "set-url", "origin", lab.url.replace("://", f"://x-access-token:{TOKEN}@"))
        with structlog.testing.capture_logs() as logs:
            assert (await lab.stage("main")).commit == lab.work.head
            lab.server.token = "another"
            with pytest.raises(RemoteError) as caught:
                await lab.stage("main")
        assert logs
        assert TOKEN not in f"{caught.value} {caught.value.detail} {logs}"

    async def test_a_token_that_cannot_be_read_fails_the_stage(self, lab: GitLab) -> None:
        async def unreadable() -> str | None:
            raise ConfigurationError(problems="the token file cannot be read")

        lab.read_token = unreadable  # type: ignore[method-assign]
        with pytest.raises(ConfigurationError):
            await lab.stage("main")
        assert lab.server.requests == []


class TestNobodyElseGetsIt:
    @pytest.mark.parametrize("first_asks", [True, False], ids=["that asked", "that did not ask"])
    async def test_not_the_server_that_another_redirects_to(self, lab: GitLab, first_asks: bool) -> None:  # noqa: FBT001
        other = lab.second_server(token=TOKEN)
        lab.server.token = TOKEN if first_asks else None
        lab.server.fault, lab.server.redirect_to = "redirect", other.url
        with pytest.raises(RemoteError, match="authentication failed"):
            await lab.stage("main")
        assert lab.server.requests
        assert other.requests
        assert not any(authorized(other))

    async def test_a_redirect_to_a_server_that_asks_for_nothing_works(self, lab: GitLab) -> None:
        other = lab.second_server()
        lab.server.token = None
        lab.server.fault, lab.server.redirect_to = "redirect", other.url
        assert (await lab.stage("main")).commit == lab.work.head
        assert not any(authorized(other))

    async def test_a_submodule_of_another_server_does_not_get_it(self, lab: GitLab) -> None:
        library = lab.upstream("library")
        library.commit({"lib": "1\n"})
        library.git("push", "--quiet", "upstream", "HEAD:refs/heads/main")
        other = lab.second_server(token=TOKEN)
        lab.server.token = None
        lab.work.add_submodule(f"{lab.server.url}/library.git", "library")
        lab.work.git("config", "--file", ".gitmodules", "submodule.library.url", f"{other.url}/library.git")
        lab.publish({})
        lab.server.token = TOKEN
        with pytest.raises(RemoteError, match="authentication failed") as caught:
            await lab.stage("main")
        assert caught.value.remote == f"{other.url}/library.git"
        assert any(authorized(lab.server))
        assert other.requests
        assert not any(authorized(other))

    async def test_a_submodule_of_the_same_server_gets_it(self, lab: GitLab) -> None:
        library = lab.upstream("library")
        library.commit({"lib": "1\n"})
        library.git("push", "--quiet", "upstream", "HEAD:refs/heads/main")
        lab.server.token = None
        lab.work.add_submodule(f"{lab.server.url}/library.git", "library")
        lab.publish({})
        lab.server.token = TOKEN
        await lab.refresh("main")
        assert lab.checkout.read("library/lib") == "1\n"

    async def test_not_a_server_on_another_port(self, lab: GitLab) -> None:
        other = lab.second_server(token=TOKEN)
        credentials = Credentials(url=lab.url, token=lab.read_token, script=lab.run_dir / "askpass")
        async with credentials.answer(f"{other.url}/project.git") as answer:
            assert not answer

    @pytest.mark.parametrize(
        "question",
        [
            "Password for 'https://x-access-token@example.com.evil.invalid': ",
            "Password for 'http://x-access-token@example.com': ",
            "Password for 'https://x-access-token@example.com:8443': ",
            "Password for 'https://other@example.com': ",
            "Password for 'https://example.com': ",
            "Username for 'https://example.com': ",
            "Password for 'https://x-access-token@example.com': Password for 'https://x-access-token@example.com': ",
            "",
        ],
    )
    async def test_the_script_answers_one_question_only(self, lab: GitLab, question: str) -> None:
        right = "Password for 'https://x-access-token@example.com': "
        credentials = Credentials(url="https://example.com/x", token=lab.read_token, script=lab.run_dir / "askpass")
        async with credentials.answer("https://example.com/y") as answer:
            for asked, expected in ((right, f"{TOKEN}\n"), (question, ""), (right, f"{TOKEN}\n")):
                script = (answer.env["GIT_ASKPASS"], asked)
                done = subprocess.run(
                    script, env=dict(answer.env), pass_fds=answer.pass_fds, capture_output=True, text=True, check=False
                )
                assert (done.stdout, done.stderr) == (expected, "")

    @pytest.mark.parametrize("url", ["https://a@b@example.com/x", "ssh://example.com/x", "git@example.com:x", "/x", ""])
    async def test_a_url_that_is_not_http_or_is_ambiguous_gets_nothing(self, lab: GitLab, url: str) -> None:
        async with Credentials(url=url, token=lab.read_token, script=lab.run_dir / "askpass").answer(url) as answer:
            assert not answer


class TestWhereItNeverIs:
    async def test_not_in_any_file(self, lab: GitLab, isolated_git: Path) -> None:
        config = (lab.checkout.path / ".git" / "config").read_text()
        await lab.refresh("main")
        lab.server.fault = "error"
        lab.publish({"code": "three\n"})
        with pytest.raises(RemoteError):
            await lab.stage("main")
        for folder in (lab.folder, isolated_git):
            for path in folder.rglob("*"):
                assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
        assert (lab.checkout.path / ".git" / "config").read_text() == config
        assert (lab.run_dir / "askpass").stat().st_mode & 0o777 == 0o700

    async def test_not_in_arguments_or_environment_of_any_process(self, lab: GitLab) -> None:
        lab.server.fault = "hang"
        staging = asyncio.create_task(lab.stage("main"))
        assert await asyncio.to_thread(lab.server.holding.wait, 10)
        seen = list(arguments_and_environments())
        staging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await staging
        assert any(lab.url.encode() in said and b"remote-http" in said for said in seen)
        assert not any(TOKEN.encode() in said for said in seen)

    async def test_not_in_errors_or_logs_even_if_the_server_repeats_it(self, lab: GitLab) -> None:
        lab.server.fault, lab.server.says = "forbidden", f"your token is {TOKEN}\n"
        with structlog.testing.capture_logs() as logs, pytest.raises(RemoteError) as caught:
            await lab.stage("main")
        said = f"{caught.value!r} {caught.value} {caught.value.detail} {caught.value.__cause__!r}"
        assert any("your token is ***" in str(line) for line in logs)
        assert TOKEN not in said + str(logs)

    async def test_not_in_a_child_of_another_step(self, lab: GitLab) -> None:
        """The descriptor is open in this process while git runs; another child must not inherit it."""
        credentials = Credentials(url=lab.url, token=lab.read_token, script=lab.run_dir / "askpass")
        async with credentials.answer(lab.url) as answer:
            (descriptor,) = answer.pass_fds
            listing = subprocess.run(("ls", "/proc/self/fd"), capture_output=True, text=True, check=True).stdout
            assert str(descriptor) not in listing.split()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
async def test_a_run_directory_without_programs_is_named(lab: GitLab) -> None:
    lab.run_dir.mkdir()
    options = ("-t", "tmpfs", "-o", "noexec,size=1m", "tmpfs", str(lab.run_dir))
    if subprocess.run(("mount", *options), capture_output=True, check=False).returncode:
        pytest.skip("this container may not mount")
    try:
        with pytest.raises(CheckoutError, match="noexec"):
            await lab.stage("main")
    finally:
        subprocess.run(("umount", str(lab.run_dir)), check=True)


async def test_ssh_is_called_as_the_user_configured_it(lab: GitLab) -> None:
    """The stand-in for ssh runs the remote's command here."""
    ssh = lab.folder / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "$@" >>{lab.folder}/ssh-calls\nfor last; do :; done\nexec sh -c "$last"\n')
    ssh.chmod(0o755)
    path = lab.server.root / "project.git"
    lab.checkout.git("config", "core.sshCommand", f"{ssh} -i key")
    lab.checkout.git("remote", "set-url", "origin", f"ssh://git@example.invalid{path}")
    assert (await lab.stage("main")).commit == lab.work.head
    assert "-i key" in (lab.folder / "ssh-calls").read_text()
    assert git(lab.folder, "version").startswith("git version")
