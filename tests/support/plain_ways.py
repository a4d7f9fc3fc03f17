"""What people do without refreshd, for the benchmarks to compare with."""

import base64
import os
import subprocess
from pathlib import Path

from tests.support.machine import GIT_TOKEN, git


def fetch_and_check_out(repo: Path, commit: str) -> None:
    basic = base64.b64encode(f"x-access-token:{GIT_TOKEN}".encode()).decode()
    git(repo, "-c", f"http.extraHeader=Authorization: Basic {basic}", "fetch", "--quiet", "origin", commit)
    git(repo, "checkout", "--quiet", "--detach", commit)


def copy_with_rsync(source: Path, repo: Path) -> None:
    options = ("-a", "--delete", "--filter=:- .gitignore", "--exclude=.git")
    subprocess.run(("rsync", *options, f"{source}/", f"{repo}/"), check=True)


def install_with_pnpm(repo: Path, path: str) -> None:
    """`path` is the PATH that pnpm is found on."""
    argv = ("pnpm", "install", "--frozen-lockfile", "--silent")
    subprocess.run(argv, cwd=repo, check=True, env={**os.environ, "CI": "true", "PATH": path})
