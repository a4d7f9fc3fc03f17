"""What a machine of the kill matrix may have in place of a pnpm workspace: a uv project, and a submodule.

Both differ between the two commits: in the newer one the daemon needs a library more, and the submodule has moved on.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.support.machine import PROJECT, Upstream, git

LIBRARY = "iniconfig"
PLACE = f".venv/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages/{LIBRARY}"
SUBMODULE = "vendor/part"
EDITED = f"{SUBMODULE}/notes.md"
MANY = 50  # files of the submodule that differ, so that checking it out takes a moment


def cache() -> dict[str, str]:
    """The environment by which uv finds what it has fetched for us already."""
    found = subprocess.run(("uv", "cache", "dir"), check=True, capture_output=True, text=True)
    return {"UV_CACHE_DIR": found.stdout.strip()}


def add(upstream: Upstream, *, branch: str) -> str:
    upstream.tree.joinpath("uv.lock").write_bytes((PROJECT / "uv.lock").read_bytes())
    _depend(upstream)
    bare = _bare(upstream)
    git(upstream.tree, "init", "--quiet", "--bare", "--initial-branch=main", bare)
    upstream.write({".gitmodules": f'[submodule "part"]\n\tpath = {SUBMODULE}\n\turl = ../{bare.name}\n'})
    _name(upstream, "old")
    return upstream.commit({}, "with uv and a submodule", branch)


def change(upstream: Upstream, content: str = "new") -> None:
    """To be committed."""
    _depend(upstream, LIBRARY)
    _name(upstream, content)


def files_at(upstream: Upstream, commit: str) -> dict[str, str]:
    """Blobs by path, as seen from the checkout."""
    lines = (line.split() for line in git(_bare(upstream), "ls-tree", "-r", commit).splitlines())
    return {f"{SUBMODULE}/{name}": blob for _, _, blob, name in lines}


def submodule_problem(repo: Path, *, edited: bool) -> str:
    """From the checkout its commit cannot be told from an edit in it."""
    named, head = git(repo, "rev-parse", f"HEAD:{SUBMODULE}"), git(repo / SUBMODULE, "rev-parse", "HEAD")
    if head != named:
        return f"the submodule is at {head}, not at {named}"
    changed = git(repo / SUBMODULE, "--no-optional-locks", "diff", "--name-only", "HEAD").splitlines()
    return "" if changed == (["notes.md"] if edited else []) else f"changed in the submodule: {changed}"


def has_library(repo: Path) -> bool:
    return (repo / PLACE / "__init__.py").exists()


def imports(repo: Path, *names: str) -> bool:
    argv = (repo / ".venv/bin/python", "-c", f"import {', '.join(names)}")
    return subprocess.run(argv, cwd="/", capture_output=True, check=False).returncode == 0


def _depend(upstream: Upstream, *more: str) -> None:
    """On what the daemon needs, in the versions that it is tested with."""
    needed = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    listed = ", ".join(f'"{name}"' for name in (*needed, *more))
    project = f'[project]\nname = "demo"\nversion = "1.0"\nrequires-python = ">=3.11"\ndependencies = [{listed}]\n'
    upstream.write({"pyproject.toml": project})
    env = {**os.environ, "UV_PYTHON": sys.executable}
    subprocess.run(("uv", "lock"), cwd=upstream.tree, check=True, capture_output=True, env=env)


def _bare(upstream: Upstream) -> Path:
    return upstream.bare.with_name("part.git")


def _name(upstream: Upstream, content: str) -> None:
    """Commits to the submodule, and names that commit in the index. Upstream it is never checked out."""
    work = upstream.tree.with_name("part")
    if not work.exists():
        git(upstream.tree, "clone", "--quiet", _bare(upstream), work)
    (work / "notes.md").write_text(f"{content}\n")
    for number in range(MANY):
        (work / f"{number}.txt").write_text(f"{content} {number}\n")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message", content)
    git(work, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    # a folder that is missing would be taken for a submodule that was removed
    (upstream.tree / SUBMODULE).mkdir(parents=True, exist_ok=True)
    git(upstream.tree, "update-index", "--add", "--cacheinfo", f"160000,{git(work, 'rev-parse', 'HEAD')},{SUBMODULE}")
