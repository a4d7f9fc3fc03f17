"""Addresses: whose host they name, what may be shown, which a commit may bring; real git is the judge of the rest."""

from pathlib import Path

import pytest

from daemon.redaction import redacted
from daemon.sources.git.gitmodules import parse
from daemon.sources.git.urls import authority, has_userinfo, is_local, refuse_unsafe, resolved, shown
from tests.support.repos import Repo, git


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com/a/b.git", "https://example.com"),
        ("https://example.com", "https://example.com"),
        ("http://example.com:8080/a", "http://example.com:8080"),
        ("https://user:pass@example.com/a", "https://example.com"),
        ("https://[::1]:8443/a", "https://[::1]:8443"),
        ("https://example.com?x=https://evil.invalid", "https://example.com"),
        ("https://a@b@example.com/", None),
        ("https://user:p@ss@example.com/", None),
        ("https:///a", None),
        ("ssh://git@example.com/a", None),
        ("git@example.com:a/b", None),
        ("/a/b", None),
        ("xhttps://example.com/", None),
    ],
)
def test_the_authority_is_that_of_http_urls_without_doubt(url: str, expected: str | None) -> None:
    assert authority(url) == expected


@pytest.mark.parametrize("url", ["https://example.com/a", "http://u@h:1/x", "https://u:p@example.com:8443/a"])
def test_git_names_the_same_authority_in_its_question(url: str, tmp_path: Path) -> None:
    askpass = tmp_path / "askpass"
    askpass.write_text(f'#!/bin/sh\nprintf %s "$1" >>{tmp_path}/asked\nexit 1\n')
    askpass.chmod(0o755)
    named = authority(url)
    assert named
    with pytest.raises(AssertionError):
        git(tmp_path, "credential", "fill", stdin=f"url={named}\n\n".encode(), env={"GIT_ASKPASS": str(askpass)})
    assert f"for '{named}'" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://user:pass@example.com/a", "https://example.com/a"),
        ("https://user:p@ss@example.com/a", "https://example.com/a"),
        (
            "fatal: unable to access 'https://token@example.com/a/': x",
            "fatal: unable to access 'https://example.com/a/': x",
        ),
        ("ssh://git@example.com/a", "ssh://example.com/a"),
        ("https://example.com/a@b", "https://example.com/a@b"),
        ("mail a@b.c", "mail a@b.c"),
    ],
)
def test_userinfo_is_not_shown(text: str, expected: str) -> None:
    assert redacted(text) == shown(text) == expected


def test_only_userinfo_of_http_counts_as_credentials() -> None:
    assert has_userinfo("https://u:p@example.com/a")
    assert not has_userinfo("https://example.com/a@b")
    assert not has_userinfo("ssh://git@example.com/a")


@pytest.mark.parametrize("base", ["https://example.com/a/b.git", "https://example.com/a/b/", "git@example.com:a/b"])
@pytest.mark.parametrize("url", ["../c.git", "./c", "../../c/d/", "../.././c", "https://other.invalid/x", "../c@d"])
def test_relative_urls_are_resolved_as_git_does(base: str, url: str, tmp_path: Path) -> None:
    repo = Repo.create(tmp_path)
    repo.git("remote", "add", "origin", base)
    repo.commit({".gitmodules": f'[submodule "s"]\n\tpath = s\n\turl = {url}\n'})
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{repo.head},s")
    repo.git("submodule", "--quiet", "init")
    assert resolved(base, url) == repo.git("config", "submodule.s.url")


@pytest.mark.parametrize(
    "url", ["https://example.com/a", "http://h/a", "ssh://git@h/a", "git@h:a/b", "h:a", "git://h/a", "HTTPS://h/a"]
)
def test_urls_of_other_machines_are_accepted(url: str) -> None:
    refuse_unsafe(url, local_allowed=False)
    assert not is_local(url)


@pytest.mark.parametrize("url", ["/a", "a/b", "file:///a", "FILE:///a", "C", "./a"])
def test_urls_of_this_machine_only_where_they_are_allowed(url: str) -> None:
    refuse_unsafe(url, local_allowed=True)
    with pytest.raises(ValueError, match="local path"):
        refuse_unsafe(url, local_allowed=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "-x",
        "--upload-pack=x",
        "ext::x",
        "fd::0",
        "ext::https://example.com",
        "https://h/a\nb",
        "https://h/%0ahost=evil",
        "https://h/%0Dx",
        "ssh://-oProxyCommand=x/a",
        "ssh://u@-oProxyCommand=x/a",
        "-oProxyCommand=x:a",
        "u@-oProxyCommand=x:a",
        "ftp://h/a",
        "gopher://h/a",
    ],
)
def test_urls_that_run_programs_or_hide_something_never(url: str) -> None:
    with pytest.raises(ValueError, match=r"its URL|does not allow"):
        refuse_unsafe(url, local_allowed=True)


def test_sections_are_read_with_names_that_hold_dots_and_spaces() -> None:
    listed = "submodule.a.b c.path\nx\ny\0submodule.a.b c.url\nu\0submodule.a.b c.url\nv\0core.bare\0submodule.x\ny\0"
    assert parse(listed) == {"a.b c": {"path": "x\ny", "url": "v"}}
