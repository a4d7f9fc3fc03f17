"""The git server of the tests as a program of its own, as demonstrations use it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.repos import Repo, git

PROJECT = Path(__file__).parents[2]


@contextmanager
def serving(root: Path, *options: str) -> Iterator[str]:
    words = (sys.executable, "-m", "tests.support.git_server", "--root", str(root), *options)
    with subprocess.Popen(words, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        try:
            yield child.stdout.readline().strip()
        finally:
            child.send_signal(signal.SIGTERM)
            assert child.wait(10) == 0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    work = Repo.create(tmp_path / "work")
    work.commit({"code": os.urandom(2_000_000)})
    git(tmp_path, "clone", "--quiet", "--bare", "work", "served/project.git")
    return tmp_path / "served"


def test_it_prints_its_url_and_serves(root: Path, tmp_path: Path) -> None:
    with serving(root) as url:
        clone = Repo.clone(f"{url}/project.git", tmp_path / "clone")
    assert (clone.path / "code").stat().st_size == 2_000_000


def test_it_lets_nobody_in_without_the_token(root: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    with serving(root, "--token-file", str(tmp_path / "token")) as url:
        with pytest.raises(AssertionError, match="could not read Username"):
            Repo.clone(f"{url}/project.git", tmp_path / "refused")
        Repo.clone(f"{url.replace('://', '://x-access-token:secret@')}/project.git", tmp_path / "clone")


def test_it_takes_no_pushes(root: Path, tmp_path: Path) -> None:
    with serving(root) as url:
        clone = Repo.clone(f"{url}/project.git", tmp_path / "clone")
        clone.commit({"code": "mine"})
        with pytest.raises(AssertionError, match="403"):
            clone.git("push", "origin", "HEAD")
