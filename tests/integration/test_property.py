"""Whatever somebody did in the checkout, and wherever an update goes: the bytes come back equal."""

import asyncio
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from daemon.errors import CheckError
from daemon.models import Update, UpdateRequest
from daemon.refs import parse_ref
from daemon.sources.git import GitSource
from daemon.states import State
from tests.support.repos import git
from tests.support.world import World

# by a rule; a commit may hold them all the same
IGNORED = (b"ignored", b"ignored/inner")
# a few names, so that edits and commits meet; `dir` is a file to some and a folder to others
NAMES = (
    *IGNORED,
    b"code",
    b"dir",
    b"dir/inner",
    b"crlf.txt",
    b"new\nline",
    b"\xff\xfe",
    b"-dash",
    b"*",
    b" x ",
    b"caf\xc3\xa9",
)
CONTENTS = (b"", b"a\nb\n", b"a\r\nb\r\n", b"a\r\nb\n", b"$Id$\r\n", b"\0\xff\r\n", b"x" * 3000)
ATTRIBUTES = (b"* text=auto eol=lf\n", b"* text=auto eol=crlf\n", b"*.txt text ident\n", b"* text\n")
FILE, PROGRAM, LINK = b"100644", b"100755", b"120000"

Files = dict[bytes, tuple[bytes, bytes]]  # name → mode, content


@dataclass(frozen=True)
class Edit:
    """`mode` is None for a file that is removed. `staged`: told to git, perhaps before it is edited once more."""

    name: bytes
    mode: bytes | None
    content: bytes
    staged: bool


def an_edit(name: bytes, mode: bytes | None, content: bytes, *, staged: bool) -> Edit:
    """No link leads to an empty name or holds a NUL."""
    return Edit(name, mode, content.replace(b"\0", b"0") or b"x" if mode == LINK else content, staged)


def edits(most: int) -> st.SearchStrategy[list[Edit]]:
    ordinary = st.builds(
        an_edit,
        name=st.sampled_from(NAMES),
        mode=st.sampled_from((FILE, FILE, PROGRAM, LINK, None)),
        content=st.sampled_from(CONTENTS) | st.binary(max_size=20),
        staged=st.booleans(),
    )
    rules = st.builds(
        Edit,
        name=st.just(b".gitattributes"),
        mode=st.sampled_from((FILE, None)),
        content=st.sampled_from(ATTRIBUTES),
        staged=st.booleans(),
    )
    return st.lists(ordinary | ordinary | rules, max_size=most)


BASE = [
    Edit(b".gitattributes", FILE, ATTRIBUTES[0], staged=False),
    Edit(b".gitignore", FILE, b"installed\nignored\n", staged=False),
    *(Edit(name, FILE, b"base\nof\n" + name, staged=False) for name in NAMES if name not in {*IGNORED, b"dir"}),
    Edit(b"program", PROGRAM, b"#!/bin/sh\r\n", staged=False),
    Edit(b"link", LINK, b"program", staged=False),
]


@pytest.mark.timeout(240)
@settings(
    max_examples=40,
    deadline=None,
    derandomize="CI" in os.environ,
    database=None,
    # examples are small as they are, and shrinking one takes minutes
    phases=(Phase.generate,),
    # the fixtures that every test gets change nothing between two examples
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(local=edits(6), later=edits(2), target=edits(5))
async def test_no_byte_is_lost(local: list[Edit], later: list[Edit], target: list[Edit]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="refreshd-"))
    try:
        machine = Machine(folder)
        commit = machine.upstream(target)
        machine.edit(local)
        machine.edit(later)
        await machine.fails_without_a_trace(commit)
        await machine.keeps_every_edit(commit)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder)


class Machine:
    """A world whose code comes from a real remote."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.repo = self.world.repo
        self.remote = folder / "remote.git"
        git(folder, "clone", "--quiet", "--bare", self.repo, self.remote)
        git(self.repo, "remote", "add", "origin", str(self.remote))
        base = self._import("main", self.world.first, BASE)
        git(self.repo, "fetch", "--quiet", "origin", base)
        git(self.repo, "reset", "--quiet", "--hard", base)
        source = GitSource(
            repo=self.repo, url="", token=_no_token, run_dir=folder / "run", stage_timeout=30, apply_timeout=30
        )
        self.world.source = source  # type: ignore[assignment]  # the real one in place of the obedient one
        self.world.new_process(base)
        self.base = base

    def upstream(self, changes: Iterable[Edit]) -> str:
        """A commit that only the remote has."""
        return self._import("target", self.base, changes)

    def edit(self, changes: Iterable[Edit]) -> None:
        staged = []
        for change in changes:
            path = _path(self.repo, change.name)
            _clear(path)
            if change.mode is not None:
                _put(path, change.mode, change.content)
            staged += [change.name] if change.staged else []
        for name in dict.fromkeys(staged):
            words = ("-c", "core.autocrlf=false", "add", "--all", "--force", "--ignore-errors", "--", os.fsdecode(name))
            known = git(self.repo, "ls-files", "--cached", "--", os.fsdecode(name), env=_LITERAL)
            if known or os.path.lexists(_path(self.repo, name)):
                git(self.repo, *words, env=_LITERAL)

    async def fails_without_a_trace(self, commit: str) -> None:
        before = self._everything()
        self.world.checker.error = CheckError(reason="the test says so")
        update = await self._update(commit)
        assert update.state in {State.ROLLED_BACK, State.UNCHANGED}
        assert self._everything() == before

    async def keeps_every_edit(self, commit: str) -> None:
        before, committed = files_in(self.repo), files_of(self.repo, "HEAD")
        self.world.checker.error = None
        update = await self._update(commit)
        assert update.state is State.RESTARTING
        assert git(self.repo, "rev-parse", "HEAD") == commit
        snapshots = self.world.folder / "state" / "snapshots"
        assert update.snapshot
        kept, after = files_of(snapshots, update.snapshot), files_in(self.repo)
        assert in_sight(kept) == in_sight(before)
        # what is ignored is in the snapshot, too, unless it was left as it is
        assert {name for name, file in before.items() if file not in (kept.get(name), after.get(name))} == set()
        assert update.tree
        # found by looking at what was touched alone; it may be the commit's, which the checkout has
        assert in_sight(files_of(snapshots, update.tree, beside=self.repo)) == in_sight(after)
        edited = {name for name in kept | committed if kept.get(name) != committed.get(name)}
        assert (update.preserved.total if update.preserved else 0) == len(edited)

    async def _update(self, commit: str) -> Update:
        request = UpdateRequest(target_ref=commit, force=True)
        update = await self.world.engine.submit(request, parse_ref(commit))
        await self.world.engine.wait(update.id)
        running = self.world.engine._running
        assert running
        await asyncio.wait({running})
        return await self.world.journal.get(update.id)

    def _everything(self) -> tuple[object, ...]:
        """Files, HEAD, branch, index, and what git makes of them when it looks at every byte."""
        for name in files_in(self.repo):
            os.utime(_path(self.repo, name), (1e9, 1e9), follow_symlinks=False)
        status = git(self.repo, "status", "--porcelain", "-z", "--untracked-files=all", env={"GIT_OPTIONAL_LOCKS": "0"})
        index = git(self.repo, "ls-files", "--stage", "-z")
        head = git(self.repo, "rev-parse", "--symbolic-full-name", "HEAD"), git(self.repo, "rev-parse", "HEAD")
        return files_in(self.repo), status, index, head

    def _import(self, branch: str, parent: str, changes: Iterable[Edit]) -> str:
        """Without a work tree, so that the bytes are those that were asked for."""
        name = f"refs/heads/{branch}".encode()
        lines = [
            b"commit %s\ncommitter t <t@example.invalid> 1700000000 +0000\ndata 1\n.\nfrom %s\n"
            % (name, parent.encode())
        ]
        for change in changes:
            if change.mode is None:
                lines.append(b"D %s\n" % _quoted(change.name))
            else:
                head = (change.mode, _quoted(change.name), len(change.content), change.content)
                lines.append(b"M %s inline %s\ndata %d\n%s\n" % head)
        git(self.remote, "fast-import", "--quiet", "--force", stdin=b"".join(lines))
        return git(self.remote, "rev-parse", f"refs/heads/{branch}")


_LITERAL = {"GIT_LITERAL_PATHSPECS": "1"}


async def _no_token() -> None:
    return None


def files_in(repo: Path) -> Files:
    """What is on disk, but for what git ignores and for folders without a file."""
    found: Files = {}
    for path in repo.rglob("*"):
        name = path.relative_to(repo)
        if name.parts[0] not in {".git", "installed"} and (path.is_symlink() or not path.is_dir()):
            found[os.fsencode(name)] = _read(path)
    return found


def in_sight(files: Files) -> Files:
    return {name: file for name, file in files.items() if name not in IGNORED}


def files_of(repository: Path, commit: str, *, beside: Path | None = None) -> Files:
    """What a commit or a tree holds, byte by byte; some of it may be in the repository of a checkout `beside`."""
    env = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(beside / ".git" / "objects")} if beside else {}
    listed = _output(repository, "ls-tree", "-r", "-z", commit, env=env).split(b"\0")
    lines = [line.partition(b"\t") for line in listed if line]
    ids = b"".join(facts.split()[2] + b"\n" for facts, _, _ in lines)
    rest = _output(repository, "cat-file", "--batch", stdin=ids, env=env)
    found: Files = {}
    for facts, _, name in lines:
        header, _, rest = rest.partition(b"\n")
        size = int(header.split()[2])
        found[name] = (facts.split()[0], rest[:size])
        rest = rest[size + 1 :]
    return found


def _output(repository: Path, *words: str, stdin: bytes = b"", env: Mapping[str, str]) -> bytes:
    argv: list[str | Path] = ["git", "-C", repository, *words]
    return subprocess.run(argv, input=stdin, check=True, capture_output=True, env={**os.environ, **env}).stdout


def _read(path: Path) -> tuple[bytes, bytes]:
    if path.is_symlink():
        return LINK, os.fsencode(path.readlink())
    return PROGRAM if path.stat().st_mode & stat.S_IXUSR else FILE, path.read_bytes()


def _path(repo: Path, name: bytes) -> Path:
    return repo / os.fsdecode(name)


def _clear(path: Path) -> None:
    """Of whatever is in the way there, or above it."""
    for above in reversed(path.parents):
        if above.is_symlink() or above.is_file():
            above.unlink()
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _put(path: Path, mode: bytes, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == LINK:
        path.symlink_to(os.fsdecode(content))
    else:
        path.write_bytes(content)
        path.chmod(0o755 if mode == PROGRAM else 0o644)


def _quoted(name: bytes) -> bytes:
    return b'"%s"' % b"".join(b"\\%03o" % byte for byte in name)
