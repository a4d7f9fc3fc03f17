"""The only door to child processes.

Every child leads a session of its own, so that its whole group can be ended: TERM, a moment, KILL, on every early
exit (time limit, cancellation, failure), because children such as `git index-pack` outlive their parent. Input and
outputs are anonymous files in memory and not pipes: nothing blocks when they fill, and a grandchild that keeps one
open cannot hold us up.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from daemon.errors import CheckoutError, CommandFailedError, CommandTimeoutError, ToolMissingError
from daemon.log import get_logger
from daemon.redaction import redacted
from daemon.tasks import uncancelled

TAIL_LINES = 40
TAIL_BYTES = 4096
TERM_GRACE = 3.0  # seconds between TERM and KILL; git removes its lock files in that time

_SECRETS = ("GITHUB_TOKEN", "GITHUB_ACCESS_TOKEN")
_OURS = "REFRESHD_"
_MARK = "STARTED_BY_REFRESHD"
_own_marks: dict[int, str] = {}  # by process id, for a fork is another process
_START_TIME = 19  # of the fields after the name
_MISLEADING = ("GIT_", "PYTHON", "NODE_ENV", "VIRTUAL_ENV", "UV_PROJECT", "S6_FD")
_HARMLESS_GIT = ("GIT_SSL_", "GIT_HTTP_", "GIT_PROXY_")

log = get_logger()


@dataclass(frozen=True, kw_only=True)
class Command:
    """One child. `env` is added to what children inherit; `timeout` is in seconds; `secrets` are never shown."""

    argv: Sequence[str | bytes | Path]
    cwd: Path
    timeout: float
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    pass_fds: Sequence[int] = ()
    ok_codes: Iterable[int] = (0,)
    shown: str = ""
    secrets: Sequence[str] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        """For messages: the program and its verb, never all arguments."""
        words = [os.fsdecode(word) for word in self.argv]
        return self.shown or f"{Path(words[0]).name} {next(filter(str.isalpha, words[1:]), '')}".strip()


@dataclass(frozen=True, kw_only=True)
class Result:
    command: Command
    code: int
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def text(self) -> str:
        """Standard output without its last newline; bytes that are not UTF-8 survive as surrogates."""
        return os.fsdecode(self.stdout).removesuffix("\n")

    @property
    def tail(self) -> str:
        """The last lines of both outputs, fit to be shown."""
        ends = (self._end(self.stdout), self._end(self.stderr))
        lines = [line for end in ends for line in end.splitlines() if line.strip()]
        return "\n".join(lines[-TAIL_LINES:])

    def _end(self, output: bytes) -> str:
        # cleaned before it is cut: half a secret would not be found
        return redacted(output[-2 * TAIL_BYTES :].decode(errors="replace"), self.command.secrets)[-TAIL_BYTES:]


def inherited_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What children get of the daemon's environment: not its secrets, nor what would mislead them."""

    def passes(name: str) -> bool:
        if name.startswith(_HARMLESS_GIT):
            return True
        return name not in _SECRETS and not name.startswith((_OURS, *_MISLEADING))

    return {name: value for name, value in environ.items() if passes(name)} | {"LC_ALL": "C.UTF-8"}


async def run(command: Command) -> Result:
    """Returns when the child has ended.

    Raises CommandFailedError for an exit code that is not among `ok_codes`, CommandTimeoutError, ToolMissingError.
    Nothing of the child's group runs when it raises.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        stdin, stdout, stderr = (stack.enter_context(_memory_file(name)) for name in ("stdin", "stdout", "stderr"))
        stdin.write(command.stdin)
        stdin.seek(0)

        def result(code: int) -> Result:
            return Result(
                command=command,
                code=code,
                stdout=_content(stdout),
                stderr=_content(stderr),
                seconds=time.monotonic() - began,
            )

        starting = asyncio.ensure_future(_start(command, stdin, stdout, stderr))
        try:
            child = await uncancelled(starting)
            async with asyncio.timeout(command.timeout):
                code = await child.wait()
        except TimeoutError:
            await uncancelled(_end_group(starting.result()))
            tail = result(-1).tail
            raise CommandTimeoutError(command=command.name, seconds=command.timeout, detail=tail) from None
        except BaseException:  # a cancellation too, and one that arrives while the child is being started
            if not starting.exception():
                await uncancelled(_end_group(starting.result()))
            raise
        ended = result(code)
    log.debug("child ended", command=command.name, code=code, seconds=round(ended.seconds, 3), output=ended.tail)
    if code not in command.ok_codes:
        await uncancelled(_end_group(child))
        raise CommandFailedError(command=command.name, exit_code=code, detail=ended.tail)
    return ended


async def _start(
    command: Command, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes]
) -> asyncio.subprocess.Process:
    env = {**inherited_environment(os.environ), **command.env, _MARK: await _own_mark()}
    try:
        return await asyncio.create_subprocess_exec(
            *command.argv,
            cwd=command.cwd,
            env=env,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=command.pass_fds,
            start_new_session=True,
        )
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        # of a missing folder to run in the system says what it says of a missing program
        if not await asyncio.to_thread(command.cwd.is_dir):
            raise CheckoutError(path=str(command.cwd), reason="there is no such folder") from error
        raise ToolMissingError(tool=os.fsdecode(command.argv[0])) from None


async def _own_mark() -> str:
    """What names this process, read once: a thread that reads it takes longer than the rest of a child's start."""
    pid = os.getpid()
    if pid not in _own_marks:
        mark = await asyncio.to_thread(_identity, str(pid))
        _own_marks[pid] = mark or ""
    return _own_marks[pid]


def _memory_file(name: str) -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create(f"refreshd-{name}")
        # a script that opens /dev/stderr empties the file: what is written after that must not begin with a hole
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_APPEND)
        return open(descriptor, "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


async def end_orphans() -> None:
    """Ends what a daemon that was killed has left running: children are marked with the daemon that started them."""
    while orphans := await asyncio.to_thread(_orphans):
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.02)


def _orphans() -> list[int]:
    """Processes whose mark names a daemon that has ended."""
    return [int(proc.name) for proc in Path("/proc").glob("[0-9]*") if _is_orphan(proc)]


def _is_orphan(proc: Path) -> bool:
    try:
        environ = (proc / "environ").read_bytes().split(b"\0")
        state = _stat(proc)[0]
    except OSError:
        return False
    prefix = f"{_MARK}=".encode()
    marks = [os.fsdecode(entry.removeprefix(prefix)) for entry in environ if entry.startswith(prefix)]
    return bool(marks) and state != "Z" and _has_ended(marks[0])


def _has_ended(daemon: str) -> bool:
    """Of a daemon in another namespace nothing can be said, so it counts as alive."""
    ours = daemon.endswith(f"-{_namespace()}")
    return ours and _identity(daemon.partition("-")[0]) != daemon


def _identity(pid: str) -> str | None:
    """A process id with its start time, because ids are used again; None when there is no such process.

    And with the namespace that the id is of: a host sees the processes of its containers, under other ids.
    """
    try:
        return f"{pid}-{_stat(Path('/proc') / pid)[_START_TIME]}-{_namespace()}"
    except OSError:
        return None


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _stat(proc: Path) -> list[str]:
    """The fields of `stat` after the name, which may hold anything."""
    return (proc / "stat").read_text(errors="replace").rpartition(")")[2].split()


async def _end_group(child: asyncio.subprocess.Process) -> None:
    """Children of the child may live on after it: the group is signalled until none of it is left."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, signum)
        except ProcessLookupError:
            break
        await _until_group_gone(child.pid)
    await child.wait()


async def _until_group_gone(group: int) -> None:
    deadline = time.monotonic() + TERM_GRACE
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        if not await asyncio.to_thread(_lives, group):
            return
        await asyncio.sleep(0.01)


def _lives(group: int) -> bool:
    """False if only zombies are left of it: whoever adopted them may take seconds to look, and they hold nothing."""
    if not Path("/proc/self/stat").exists():
        return True
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, its_group, *_ = stat.read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue  # it has ended
        if int(its_group) == group and state not in {b"Z", b"X"}:
            return True
    return False
