"""The machines of the kill matrix: one serves many cases, each an update to the other of two commits, with a fault.

The two commits differ in code, in data and in dependencies, so every update takes every step.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from daemon.client import Rollback
from daemon.errors import RefreshdError
from tests.support import matrix_extras, matrix_hooks, small_disk
from tests.support.faults import Fault, Faults
from tests.support.machine import IGNORED, PROJECT, WORKSPACE, HostMachine, git

PATIENCE = 40.0
POLL = 0.05
MANY = 150  # files that differ, so that copying them takes a moment
MEGABYTES = 300  # of a disk that may be filled; before that updates have to find the room that they ask for

EDITED, EDIT = "notes.md", b"edited here\r\n"
ADDED, ADDITION = "mine.txt", b"only here\n"
_LEFT_OVER = ("undo", "undo.done.*", "*.undo", "refreshd-incoming", ".*.tmp")

BAD_CODE = {
    "fails to import": ("daemon/engine.py", "import nothing_of_the_kind\n"),
    "hangs when it is imported": ("daemon/engine.py", "import time\ntime.sleep(600)\n"),
    "fails to import when it serves": ("daemon/__init__.py", "import sys\nif 'serve' in sys.argv: import nothing\n"),
    "crashes at start": ("daemon/__init__.py", "import os, sys\nif 'serve' in sys.argv: os._exit(1)\n"),
    "is killed at start": ("daemon/__init__.py", "import os, sys\nif 'serve' in sys.argv: os.kill(os.getpid(), 9)\n"),
    "crashes after readiness": (
        "daemon/supervisor.py",
        (
            "import threading\n_ready = Supervisor.ready\n"
            "def _ready_and_gone(self):\n    _ready(self)\n    threading.Timer(1, os._exit, (1,)).start()\n"
            "Supervisor.ready = _ready_and_gone\n"
        ),
    ),
    "never gets ready": ("daemon/__init__.py", "import sys, time\nif 'serve' in sys.argv: time.sleep(600)\n"),
    "listens and hangs": (
        "daemon/server/serve.py",
        "async def _ask_itself(_):\n    import time\n    time.sleep(600)\n",
    ),
}


def _left_over(folders: Iterable[Path]) -> list[str]:
    """By a walk that does not mind when the daemon's upkeep removes a folder meanwhile."""
    found = (Path(folder, name) for top in folders for folder, inner, files in os.walk(top) for name in inner + files)
    return [str(path) for path in found if any(path.match(pattern) for pattern in _LEFT_OVER)]


def _hooked() -> dict[str, str]:
    main = (PROJECT / "daemon/__main__.py").read_text()
    imported = "from daemon.cli import main\n"
    assert imported in main
    return {
        "daemon/matrix_hooks.py": Path(matrix_hooks.__file__).read_text(),
        "daemon/__main__.py": main.replace(imported, f"import daemon.matrix_hooks\n{imported}"),
    }


def _data(content: str) -> dict[str, str]:
    return {f"data/{number}.txt": f"{content} {number}\n" for number in range(MANY)}


class FaultyMachine(HostMachine):
    """With `own_disk` all of it lies on a small file system of its own, which a fault may fill. `extras`: see there."""

    def __init__(self, *, mounted: bool, own_disk: bool, extras: bool, env: Mapping[str, str]) -> None:
        super().__init__(
            mounted=mounted,
            files={
                **({".gitignore": IGNORED} if extras else WORKSPACE),
                **_hooked(),
                **_data("old"),
                EDITED: "as committed\n",
            },
            env={**env, **(matrix_extras.cache() if extras else {})},
        )
        self.faults = Faults(self.folder)
        self.own_disk = own_disk
        self.extras = extras

    async def __aenter__(self) -> Self:
        if self.own_disk:
            small_disk.mount(self.folder, megabytes=MEGABYTES)
        self.faults.lay_out()
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if self.own_disk:
            small_disk.unmount(self.folder)
            self.folder.rmdir()

    @property
    def env(self) -> dict[str, str]:
        inherited = super().env
        return {**inherited, "PATH": f"{self.faults.path}:{inherited['PATH']}"}


@dataclass(frozen=True)
class Seen:
    """What a case came to, when the machine was ready again."""

    old: str
    new: str
    chain: tuple[str, ...]
    later: tuple[str, ...]
    code: str
    snapshot: str | None
    head: str
    problems: tuple[str, ...]

    @property
    def ended_at(self) -> str:
        return {self.old: "old", self.new: "new"}.get(self.head, self.head)


class Lane:
    """One machine and what is known of it. `run` leaves it fit for the next case, or raises."""

    def __init__(self, machine: FaultyMachine) -> None:
        self._machine = machine
        self._client = machine.client()
        self._trees: dict[str, dict[str, str]] = {}
        self._edits: dict[str, bytes] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, *, mounted: bool, own_disk: bool, extras: bool, env: Mapping[str, str]
    ) -> AsyncIterator["Lane"]:
        async with FaultyMachine(mounted=mounted, own_disk=own_disk, extras=extras, env=env) as machine:
            lane = cls(machine)
            async with lane._client:
                await lane._prepare()
                yield lane

    async def _prepare(self) -> None:
        """Commits on branches, because a branch is asked for at the remote each time."""
        upstream = self._machine.upstream
        git(upstream.tree, "push", "--quiet", "origin", "HEAD:refs/heads/a")
        first = self._machine.first
        if self._machine.extras:
            first = await asyncio.to_thread(matrix_extras.add, upstream, branch="a")
            await asyncio.to_thread(matrix_extras.change, upstream)
            upstream.commit(_data("new"), branch="b")
        else:
            upstream.write(_data("new"))
            await asyncio.to_thread(upstream.depend, "packages/library", {"is-odd": "3.0.1"})
            git(upstream.tree, "push", "--quiet", "origin", "HEAD:refs/heads/b")
        self._commits = {"a": first, "b": git(upstream.tree, "rev-parse", "HEAD")}
        await self._ready()
        for branch in ("b", "a"):
            self._offer(branch)
            await self._client.refresh(branch)

    async def move_submodule_on(self) -> None:
        """The newer commit becomes one whose submodule has to be fetched; `run` goes to it from the older one."""
        upstream = self._machine.upstream
        if await self._head() == self._commits["b"]:
            self._offer("a")
            await self._client.refresh("a")
        git(upstream.tree, "checkout", "--quiet", "--force", "--detach", self._commits["b"])
        await asyncio.to_thread(matrix_extras.change, upstream, f"new {uuid.uuid4().hex}")
        self._commits["b"] = upstream.commit({}, "the submodule moves on", branch="b")

    async def run(
        self,
        faults: tuple[Fault, ...],
        *,
        bad_code: str = "",
        later: bool = False,
        back: bool = False,
        pristine: bool = False,
    ) -> Seen:
        """Updates under faults to the commit that the machine is not at, or to code that is bad; and looks.

        `back`: goes to that commit by rolling the last update back. `pristine`: no file is edited before.
        """
        await self._tidy_up()
        self._edits = {} if pristine else {**dict.fromkeys(self._edited, EDIT), ADDED: ADDITION}
        machine, old = self._machine, await self._head()
        branch = "bad" if bad_code else next(name for name, commit in self._commits.items() if commit != old)
        if bad_code:
            await asyncio.to_thread(self._commit_bad, *BAD_CODE[bad_code])
        new = await asyncio.to_thread(self._offer, branch)
        for name, content in self._edits.items():
            (machine.repo / name).write_bytes(content)
        before = {path.name for path in self._records()}
        boot = (await self._client.health()).boot_id
        machine.faults.arm(*faults)
        ends_daemon = any(fault.ends_daemon for fault in faults)
        asked = asyncio.create_task(self._ask(Rollback("last") if back else branch))
        try:
            records = await self._settled(before, boot if ends_daemon else "", count=2 if later else 1)
        finally:
            asked.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asked
        folded = [_folded(path) for path in records]
        preserved = folded[0].facts.get("preserved") or {}
        head = await self._head()
        seen = Seen(
            old=old,
            new=new,
            chain=folded[0].chain,
            later=folded[1].chain if len(folded) > 1 else (),
            code=(folded[0].facts.get("error") or {}).get("code", ""),
            snapshot=preserved.get("snapshot"),
            head=head,
            problems=(),
        )
        problems = [problem async for problem in self._problems(seen)]
        return Seen(**{**vars(seen), "problems": tuple(problems)})

    async def _head(self) -> str:
        return await asyncio.to_thread(git, self._machine.repo, "rev-parse", "HEAD")

    async def _ask(self, target: str | Rollback) -> None:
        """As a client that does not give up: its machine may die while it asks."""
        key = uuid.uuid4().hex
        while True:
            try:
                await self._client.update(target, idempotency_key=key)
            except RefreshdError:
                await asyncio.sleep(POLL)
            else:
                return

    async def _settled(self, before: set[str], boot: str, *, count: int) -> list[Path]:
        """The new records, when all of them have ended, every fault has struck and a daemon is ready for good."""
        what = "nothing was recorded"
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    records = [path for path in self._records() if path.name not in before]
                    waiting = self._machine.faults.waiting()
                    states = [_folded(path).state for path in records]
                    what = f"{[_folded(path).chain for path in records]}, faults that have not struck: {waiting}"
                    ended = len(records) >= count and not waiting and all(state in _FINAL for state in states)
                    if ended and await self._stays(boot):
                        return records
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise AssertionError(f"the machine does not settle: {what}\n{self._story()}") from None

    def _story(self) -> str:
        lines = [line for line in self._machine.log().splitlines() if "request answered" not in line]
        return "\n".join(line[:600] for line in lines[-15:])

    async def _stays(self, boot: str) -> bool:
        """The same daemon is ready now and a moment later, and it is not the one from before."""
        first = await self._boot_id()
        await asyncio.sleep(0.15)
        return first not in {None, boot} and first == await self._boot_id()

    async def _boot_id(self) -> str | None:
        try:
            return (await self._client.health()).boot_id if await self._client.ready() else None
        except RefreshdError:
            return None

    async def _ready(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await self._stays(""):  # noqa: ASYNC110 - another process decides
                await asyncio.sleep(POLL)

    def _records(self) -> list[Path]:
        return sorted((self._machine.state_dir / "updates").glob("*.jsonl"))

    def _offer(self, branch: str) -> str:
        """What the source brings next: a mount brings what is checked out on the host."""
        tree = self._machine.upstream.tree
        commit = git(tree, "rev-parse", f"refs/remotes/origin/{branch}")
        git(tree, "checkout", "--quiet", "--force", "--detach", commit)
        return commit

    def _commit_bad(self, path: str, code: str) -> None:
        upstream = self._machine.upstream
        git(upstream.tree, "checkout", "--quiet", "--force", "--detach", self._commits["b"])
        source = (upstream.tree / path).read_text()
        upstream.commit({path: f"{source}\n{code}"}, branch="bad")

    async def _tidy_up(self) -> None:
        machine = self._machine
        machine.faults.disarm()
        await self._ready()
        # the lanes share one loop: who waits for git in it holds all of them up
        await asyncio.to_thread(git, machine.repo, "checkout", "--quiet", "--force", "HEAD", "--", ".")
        await asyncio.to_thread(git, machine.repo, "clean", "--quiet", "-fd")
        if machine.extras:
            part = machine.repo / matrix_extras.SUBMODULE
            await asyncio.to_thread(git, part, "checkout", "--quiet", "--force", "HEAD", "--", ".")
        for name in ("starts", "bad-targets.json"):
            (machine.state_dir / name).unlink(missing_ok=True)

    async def _problems(self, seen: Seen) -> AsyncIterator[str]:
        machine = self._machine
        if difference := await asyncio.to_thread(self._difference, seen):
            yield f"the tree is neither old nor new: {difference}"
        expected = [f"?? {ADDED}"] + ([f" M {name}" for name in self._edited_as_seen] if seen.ended_at == "old" else [])
        expected = expected if self._edits else []
        status = await asyncio.to_thread(
            subprocess.run,
            # without taking notes of what it finds, for which a full disk has no room
            ("git", "--no-optional-locks", "status", "--porcelain"),
            cwd=machine.repo,
            capture_output=True,
            text=True,
            check=True,
        )
        if sorted(status.stdout.splitlines()) != sorted(expected):
            yield f"HEAD and index disagree: {status.stdout}"
        if not await asyncio.to_thread(self._dependencies_load, seen):
            yield "dependencies do not load"
        if self._edits and seen.ended_at == "new" and not await asyncio.to_thread(self._preserved, seen.snapshot):
            yield "local edits are not in the snapshot"
        if locks := [str(path) for path in (machine.repo / ".git").rglob("*.lock")]:
            yield f"locks: {locks}"
        folders = (machine.state_dir, machine.repo / ".git")
        if left := await asyncio.to_thread(_left_over, folders):
            yield f"left over: {left}"
        if orphans := await self._orphans():
            yield f"orphans: {orphans}"
        version = await self._client.version()
        if (version.sha, version.running.sha) != (seen.head, seen.head):
            yield f"getVersion says {version.sha} and {version.running.sha}, HEAD is {seen.head}"

    def _difference(self, seen: Seen) -> list[str]:
        """By content, every file that git does not ignore; in an old tree with the local edits, byte for byte."""
        edited = seen.ended_at == "old"
        if self._machine.extras and (problem := matrix_extras.submodule_problem(self._machine.repo, edited=edited)):
            return [problem]
        expected = dict(self._tree_of(seen.head))
        # what was only added is in no commit, and stays
        left = {name for name in self._edits if name == ADDED or seen.ended_at == "old"}
        expected |= {name: _blob(self._edits[name]) for name in left}
        found = {name: _blob((self._machine.repo / name).read_bytes()) for name in _names(self._machine.repo)}
        return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))[:5]

    def _tree_of(self, commit: str) -> dict[str, str]:
        if commit not in self._trees:
            lines = git(self._machine.upstream.tree, "ls-tree", "-r", commit).splitlines()
            tree = {line.split("\t")[1]: line.split()[2] for line in lines}
            if part := tree.pop(matrix_extras.SUBMODULE, ""):
                tree |= matrix_extras.files_at(self._machine.upstream, part)
            self._trees[commit] = tree
        return self._trees[commit]

    def _dependencies_load(self, seen: Seen) -> bool:
        """Those of the commit, and no other: is-odd belongs to one of the two."""
        needs_more = seen.head != self._commits["a"]
        if self._machine.extras:
            return self._environment_is(needs_library=needs_more)
        script = "console.log(require('@demo/library')(7))"
        found = subprocess.run(("node", "-e", script), cwd=self._machine.repo, capture_output=True, check=False)
        has_odd = (self._machine.repo / "packages/library/node_modules/is-odd/package.json").exists()
        return found.stdout.strip() == b"true" and has_odd == needs_more

    def _environment_is(self, *, needs_library: bool) -> bool:
        repo = self._machine.repo
        has_library = matrix_extras.has_library(repo)
        return has_library == needs_library and matrix_extras.imports(repo, "aiohttp", "pydantic", "structlog")

    @property
    def _edited(self) -> tuple[str, ...]:
        return (EDITED, matrix_extras.EDITED) if self._machine.extras else (EDITED,)

    @property
    def _edited_as_seen(self) -> tuple[str, ...]:
        """From the checkout git tells of a submodule as a whole."""
        return (EDITED, matrix_extras.SUBMODULE) if self._machine.extras else (EDITED,)

    def _preserved(self, snapshot: str | None) -> bool:
        def content(name: str) -> bytes:
            argv = ("git", "--git-dir", self._machine.state_dir / "snapshots", "show", f"{snapshot}:{name}")
            return subprocess.run(argv, capture_output=True, check=False).stdout

        edits = all(content(name) == EDIT for name in self._edited)
        return snapshot is not None and edits and content(ADDED) == ADDITION

    async def _orphans(self) -> list[str]:
        """What still runs of the machine and is neither daemon nor s6, when everything had a moment to end."""
        found: list[str] = []
        for _ in range(60):
            if not (found := await asyncio.to_thread(_processes, self._machine.folder)):
                break
            await asyncio.sleep(POLL)
        return found


_FINAL = frozenset({"succeeded", "unchanged", "failed", "rolled_back", "inconsistent"})


@dataclass(frozen=True)
class Folded:
    state: str
    chain: tuple[str, ...]
    facts: dict[str, Any]


def _folded(record: Path) -> Folded:
    entries = []
    for line in record.read_bytes().split(b"\n")[:-1]:
        with contextlib.suppress(ValueError):
            entries.append(json.loads(line))
    # what is neither the first line nor an event is progress
    chain = (*(entry["state"] for entry in entries[:1]), *(entry["event"] for entry in entries if entry["event"]))
    facts = {name: value for entry in entries for name, value in entry["facts"].items()}
    return Folded(entries[-1]["state"] if entries else "", chain, facts)


def _names(folder: Path) -> list[str]:
    """Files of the work tree by walking it: git's own view is what is being judged."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in {".git", "node_modules", "__pycache__", ".venv"}]
        found += [str((Path(place) / name).relative_to(folder)) for name in files if name != ".git"]
    return found


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()


def _processes(folder: Path) -> list[str]:
    found = []
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            command = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            inside = (proc / "cwd").readlink().is_relative_to(folder) or str(folder) in command
        except OSError:
            continue
        is_s6 = command.partition(" ")[0].rpartition("/")[2].startswith("s6-")
        if inside and command and not is_s6 and "-m daemon serve" not in command:
            found.append(f"{proc.name} {command[:200]}")
    return found
