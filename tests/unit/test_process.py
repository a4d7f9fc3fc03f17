"""The only door to child processes, with real children."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon import process
from daemon.errors import CheckoutError, CommandFailedError, CommandTimeoutError, ToolMissingError
from daemon.process import TAIL_BYTES, TAIL_LINES, Command, Result, inherited_environment, run

# a child that notes its process id, ignores TERM and sleeps, as one line of shell
STUBBORN = "trap '' TERM; echo $$ >>{pids}; while :; do sleep 0.05; done"


def shell(script: str, tmp_path: Path, *, timeout: float = 10, **fields: Any) -> Command:
    return Command(argv=("sh", "-c", script), cwd=tmp_path, timeout=timeout, **fields)


def alive(pid: int) -> bool:
    """Zombies do not count: they hold nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


def noted(pids: Path) -> list[int]:
    return [int(line) for line in pids.read_text().split()] if pids.exists() else []


async def reached(condition: Callable[[], bool], task: asyncio.Future[Any]) -> None:
    """What `task` makes true before it ends."""
    while not condition():  # another process has no event to wait for
        assert not task.done(), task
        await asyncio.sleep(0.01)


@pytest.fixture
def quick_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "TERM_GRACE", 0.2)


@pytest.fixture
def slow_start(monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """The child is there, but the loop does not know it yet. Says whether that point is reached."""
    real = process._start
    begun = asyncio.Event()

    async def slow(*arguments: Any) -> asyncio.subprocess.Process:
        child = await real(*arguments)
        begun.set()
        await asyncio.sleep(0.2)
        return child

    monkeypatch.setattr(process, "_start", slow)
    return begun.is_set


# Ends


async def test_the_result_has_code_outputs_and_seconds(tmp_path: Path) -> None:
    result = await run(shell("echo out; echo err >&2; sleep 0.1", tmp_path))
    assert (result.code, result.stdout, result.stderr, result.text) == (0, b"out\n", b"err\n", "out")
    assert 0.1 <= result.seconds < 5


async def test_another_exit_code_is_an_error_with_both_outputs(tmp_path: Path) -> None:
    with pytest.raises(CommandFailedError) as raised:
        await run(shell("echo out; echo err >&2; exit 7", tmp_path))
    assert (raised.value.exit_code, raised.value.detail) == (7, "out\nerr")
    assert str(raised.value) == "cannot complete `sh`: exit code 7"


async def test_a_signal_is_a_negative_exit_code(tmp_path: Path) -> None:
    with pytest.raises(CommandFailedError) as raised:
        await run(shell("kill -9 $$", tmp_path))
    assert raised.value.exit_code == -9


async def test_an_accepted_exit_code_is_no_error(tmp_path: Path) -> None:
    assert (await run(shell("exit 1", tmp_path, ok_codes=(0, 1)))).code == 1
    with pytest.raises(CommandFailedError):
        await run(shell("exit 0", tmp_path, ok_codes=(1,)))


async def test_a_missing_program_is_called_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError, match="cannot find the program 'no-such-tool'"):
        await run(Command(argv=("no-such-tool", "verb"), cwd=tmp_path, timeout=1))


async def test_a_program_that_may_not_run_is_as_one_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    with pytest.raises(ToolMissingError):
        await run(Command(argv=(tmp_path / "tool",), cwd=tmp_path, timeout=1))


async def test_a_missing_folder_is_not_taken_for_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(CheckoutError, match="there is no such folder"):
        await run(shell("true", tmp_path / "gone"))


@pytest.mark.parametrize(
    ("argv", "shown", "name"),
    [
        (("git", "fetch", "--depth=1"), "", "git fetch"),
        (("/usr/bin/npm", "--prefix", "/a", "install", "secret"), "", "npm install"),
        ((Path("/opt/tool"), "--only-options"), "", "tool"),
        ((b"git", b"status"), "", "git status"),
        (("git", "-c", "x=y", "log"), "git log", "git log"),
    ],
)
def test_a_command_is_named_by_program_and_verb(argv: tuple[str | bytes | Path, ...], shown: str, name: str) -> None:
    assert Command(argv=argv, cwd=Path("/"), timeout=1, shown=shown).name == name


# Nothing is left running


@pytest.mark.usefixtures("quick_grace")
async def test_a_time_limit_ends_the_whole_group_even_who_ignores_term(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    (tmp_path / "child.sh").write_text(STUBBORN.format(pids=pids))
    script = "echo at work; sh child.sh & (sh child.sh & sh child.sh) & wait"
    with pytest.raises(CommandTimeoutError) as raised:
        await run(shell(script, tmp_path, timeout=0.5))
    assert str(raised.value) == "cannot complete `sh`: no end after 0.5 s"
    assert raised.value.detail == "at work"
    assert len(noted(pids)) == 3
    assert not any(map(alive, noted(pids)))


async def test_the_group_has_time_to_clean_up_after_term(tmp_path: Path) -> None:
    """As git does, which removes its lock files then."""
    (tmp_path / "lock").touch()
    script = "trap 'sleep 0.2; rm lock; exit' TERM; while :; do sleep 0.05; done"
    with pytest.raises(CommandTimeoutError):
        await run(shell(script, tmp_path, timeout=0.3))
    assert not (tmp_path / "lock").exists()


@pytest.mark.usefixtures("quick_grace")
async def test_a_cancellation_ends_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    (tmp_path / "child.sh").write_text(STUBBORN.format(pids=pids))
    running = asyncio.ensure_future(run(shell("sh child.sh & sh child.sh & wait", tmp_path, timeout=60)))
    await reached(lambda: len(noted(pids)) == 2, running)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not any(map(alive, noted(pids)))


@pytest.mark.usefixtures("quick_grace")
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_cancellations_while_the_child_starts_leave_nothing(
    times: int, tmp_path: Path, slow_start: Callable[[], bool]
) -> None:
    pids = tmp_path / "pids"
    running = asyncio.ensure_future(run(shell(STUBBORN.format(pids=pids), tmp_path, timeout=60)))
    await reached(lambda: slow_start() and len(noted(pids)) == 1, running)
    for _ in range(times):
        running.cancel()
        await asyncio.sleep(0.02)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not any(map(alive, noted(pids)))


@pytest.mark.usefixtures("quick_grace")
async def test_a_second_cancellation_does_not_shorten_the_end_of_the_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    running = asyncio.ensure_future(run(shell(STUBBORN.format(pids=pids), tmp_path, timeout=60)))
    await reached(lambda: len(noted(pids)) == 1, running)
    running.cancel()
    await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not any(map(alive, noted(pids)))


async def test_what_a_failed_child_left_behind_ends_with_it(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(CommandFailedError):
        await run(shell(f"sleep 60 & echo $! >{pids}; exit 1", tmp_path))
    assert not any(map(alive, noted(pids)))


async def test_a_grandchild_that_keeps_the_outputs_open_does_not_hold_us_up(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    began = time.monotonic()
    result = await run(shell(f"echo done; sleep 30 & echo $! >{pids}", tmp_path, timeout=20))
    assert (result.text, time.monotonic() - began < 10) == ("done", True)
    os.kill(noted(pids)[0], 9)


async def test_a_signal_to_our_group_does_not_reach_the_child(tmp_path: Path) -> None:
    """A child leads a session of its own: Ctrl-C in a terminal is for us to pass on."""
    result = await run(shell("ps -o sid= -p $$; echo $$", tmp_path))
    session, child = result.text.split()
    assert session == child


async def test_open_files_do_not_pile_up(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        await run(shell("true", tmp_path))
        with pytest.raises(CommandFailedError):
            await run(shell("false", tmp_path))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# What goes in and comes out


@pytest.mark.parametrize("stdin", [b"", b"\x00\xff\r\n" * 3, os.urandom(3_000_000)])
async def test_bytes_go_in_and_come_out_as_they_are(stdin: bytes, tmp_path: Path) -> None:
    assert (await run(Command(argv=("cat",), cwd=tmp_path, timeout=10, stdin=stdin))).stdout == stdin


async def test_big_outputs_on_both_sides_do_not_block(tmp_path: Path) -> None:
    script = "import sys\nfor _ in range(200): sys.stdout.write('o' * 50_000); sys.stderr.write('e' * 50_000)"
    result = await run(Command(argv=(sys.executable, "-c", script), cwd=tmp_path, timeout=30))
    assert (len(result.stdout), len(result.stderr)) == (10_000_000, 10_000_000)


async def test_a_child_that_does_not_read_its_input_is_no_error(tmp_path: Path) -> None:
    assert (await run(shell("exec true", tmp_path, stdin=b"x" * 1_000_000))).code == 0


async def test_a_script_that_opens_its_output_anew_leaves_no_hole(tmp_path: Path) -> None:
    result = await run(shell("echo a long first line; echo second >/dev/stdout; echo third", tmp_path))
    assert result.stdout.endswith(b"second\nthird\n")
    assert b"\0" not in result.stdout


async def test_bytes_that_are_not_utf_8_survive_as_text(tmp_path: Path) -> None:
    result = await run(shell(r"printf '\377\n'", tmp_path))
    assert os.fsencode(result.text) == b"\xff"


async def test_only_the_descriptors_that_are_named_are_passed_on(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)  # noqa: FBT003 - the standard library has it so
    os.set_inheritable(writer, True)  # noqa: FBT003 - as above
    script = f"echo hello >/proc/self/fd/{writer} && ! test -e /proc/self/fd/{reader}"
    try:
        await run(shell(script, tmp_path, pass_fds=(writer,)))
        assert os.read(reader, 100) == b"hello\n"
    finally:
        os.close(reader)
        os.close(writer)


# The tail


def tail_of(stdout: bytes = b"", stderr: bytes = b"", secrets: tuple[str, ...] = ()) -> str:
    command = Command(argv=("tool",), cwd=Path("/"), timeout=1, secrets=secrets)
    return Result(command=command, code=1, stdout=stdout, stderr=stderr, seconds=0).tail


def test_the_tail_has_the_last_lines_of_both_outputs_without_empty_ones() -> None:
    assert tail_of(b"one\n\n \ntwo\n", b"three") == "one\ntwo\nthree"


def test_the_tail_is_bounded_in_lines() -> None:
    lines = tail_of(b"".join(b"%d\n" % n for n in range(1000))).splitlines()
    assert lines == [str(n) for n in range(1000 - TAIL_LINES, 1000)]


def test_the_tail_is_bounded_in_bytes() -> None:
    assert len(tail_of(b"o" * 1_000_000, b"e" * 1_000_000)) == 2 * TAIL_BYTES + 1


def test_the_tail_of_binary_output_can_be_shown() -> None:
    assert tail_of(b"\xff\xfe text").encode().decode() == "\ufffd\ufffd text"


def test_the_tail_has_no_secrets_and_no_credentials_of_urls() -> None:
    tail = tail_of(b"cannot read https://user:hunter2@host/x\n", b"Authorization: s3cret", secrets=("s3cret",))
    assert "hunter2" not in tail
    assert "s3cret" not in tail
    assert "host/x" in tail


# The environment


@pytest.mark.parametrize(
    "name",
    [
        "GITHUB_TOKEN",
        "GITHUB_ACCESS_TOKEN",
        "REFRESHD_TOKEN",
        "REFRESHD_GIT_TOKEN_FILE",
        "GIT_DIR",
        "GIT_INDEX_FILE",
        "GIT_SSH_COMMAND",
        "PYTHONPATH",
        "PYTHONHOME",
        "NODE_ENV",
        "VIRTUAL_ENV",
        "UV_PROJECT_ENVIRONMENT",
    ],
)
def test_secrets_and_what_misleads_tools_are_not_inherited(name: str) -> None:
    assert name not in inherited_environment({name: "value", "PATH": "/bin"})


@pytest.mark.parametrize("name", ["PATH", "HOME", "HTTPS_PROXY", "GIT_SSL_CAINFO", "UV_CACHE_DIR", "ITERATE_REPO"])
def test_what_tools_need_is_inherited(name: str) -> None:
    assert inherited_environment({name: "value"})[name] == "value"


async def test_a_child_sees_no_secret_and_sees_what_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GITHUB_TOKEN", "REFRESHD_TOKEN", "NODE_ENV", "LC_ALL"):
        monkeypatch.setenv(name, "planted")
    result = await run(shell("env", tmp_path, env={"GIVEN": "value", "GIT_DIR": "given too"}))
    assert "planted" not in result.text
    assert {"GIVEN=value", "GIT_DIR=given too", "LC_ALL=C.UTF-8"} <= set(result.text.splitlines())


async def orphan(tmp_path: Path, mark: Callable[[str], str]) -> asyncio.subprocess.Process:
    """A child whose environment says that a daemon has started it which is not there any more."""
    result = await run(shell("echo $STARTED_BY_REFRESHD", tmp_path))
    gone = mark(result.text.strip())
    return await asyncio.create_subprocess_exec("sleep", "60", env={**os.environ, "STARTED_BY_REFRESHD": gone})


async def test_a_child_of_a_daemon_that_is_gone_is_ended(tmp_path: Path) -> None:
    child = await orphan(tmp_path, lambda ours: f"{ours.partition('-')[0]}-1-{ours.rpartition('-')[2]}")
    await process.end_orphans()
    assert await child.wait() == -9


async def test_a_child_of_a_daemon_in_a_container_is_left_alone(tmp_path: Path) -> None:
    child = await orphan(tmp_path, lambda ours: f"{ours.rpartition('-')[0]}1-1")
    await process.end_orphans()
    assert alive(child.pid)
    child.kill()
    await child.wait()
