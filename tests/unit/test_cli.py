"""The command line, in this process where it can be and in one of its own where it must be."""

import argparse
import asyncio
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from daemon import __version__
from daemon.cli import main, overlay, texts
from daemon.cli.exit_codes import ExitCode
from daemon.cli.parser import _build, parse
from daemon.cli.progress import LiveProgress, PlainProgress, progress_on
from daemon.cli.terminal import Style, clipped, printable
from daemon.client import RefusedError, session
from daemon.models import Plan, Update, UpdateRequest
from daemon.states import State
from tests.support.fake_machine import (
    NEW,
    OLD,
    STARTED_AT,
    FakeMachine,
    Move,
    Pause,
    Restart,
    Watched,
    begins,
    ends_inconsistent,
    fails,
    finds_nothing_to_do,
    hosted,
    problem,
    rolls_back,
    succeeds,
)

ROOT = Path(__file__).parents[2]
HEAVY = {"aiohttp", "pydantic", "structlog", "asyncio"}


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("REFRESHD_") or name == "NO_COLOR"]:
        monkeypatch.delenv(name)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[FakeMachine]:
    with hosted(FakeMachine(tmp_path / "refreshd.sock")) as machine:
        yield machine


@pytest.fixture
def guarded() -> Iterator[FakeMachine]:
    with hosted(FakeMachine(token="secret")) as machine:
        yield machine


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(capsys.readouterr().out)
    return parsed


def usage_error(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def start(*words: str, **more: Any) -> "subprocess.Popen[str]":
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    return subprocess.Popen([sys.executable, "-m", "daemon", *words], cwd=ROOT, env=environment, text=True, **streams)


# The command itself


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["update", "--help"], ["update"]])
def test_nothing_heavy_is_imported_before_a_command_needs_it(words: list[str]) -> None:
    program = (
        "import sys\nfrom daemon.__main__ import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        f"print(sorted({HEAVY!r} & sys.modules.keys()), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stderr.splitlines()[-1] == "[]"


def test_the_version_of_the_program_is_said() -> None:
    with start("--version") as ran:
        assert ran.stdout
        assert ran.stdout.read() == f"refreshd {__version__}\n"
    assert ran.returncode == 0


def test_help_names_every_command_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_error("--help") == 0
    text = capsys.readouterr().out
    for word in ("serve", "check", "sync", "version", "status", "update", "history", "overlay", "examples:"):
        assert word in text
    for code in ExitCode:
        if code is not ExitCode.READER_LEFT:
            assert re.search(rf"^  {code:d} ", text, re.MULTILINE)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["refresh"],
        ["update"],
        ["update", "main", "--branch", "main"],
        ["update", "main", "--timeout", "0"],
        ["update", "main", "--timeout", "nan"],
        ["update", "main", "--token", "secret"],
        ["history", "-n", "0"],
        ["history", "-n", "201"],
        ["status", "--socket", "/s", "--url", "http://host"],
        ["status", "--js"],
    ],
)
def test_wrong_usage_is_exit_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_error(*words) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["--url", "localhost:3000"], ["--url", "http://user:word@host"], ["--url", "http://h", "--token-file", "/no"]],
)
def test_a_connection_that_cannot_be_meant_is_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("refreshd: ")
    assert "Traceback" not in said


# and what argparse requires after each
ASKING = {
    **dict.fromkeys(("version", "status", "history", "rollback", "logs", "listen", "install"), ""),
    "update": "main",
    "snapshots list": "",
    "snapshots show": "a",
    "snapshots diff": "a",
    "snapshots restore": "a",
    "user list": "",
    "user role": "a read",
    **{f"user {command}": "a" for command in ("add", "passwd", "enable", "disable", "remove")},
}
PLACES = [["--socket", "/s"], ["--machine", "m"], ["--url", "http://h", "--token-file", "/t"], ["--token-file", "/t"]]


def leaves(parser: argparse.ArgumentParser, *names: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The commands that have none below them, and their parsers."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        for name, inner in group.choices.items():
            yield from leaves(inner, *names, name)
    if not groups:
        yield " ".join(names), parser


def test_no_command_that_asks_a_machine_is_left_out_below() -> None:
    found = {name for name, parser in leaves(_build()) if any(action.dest == "url" for action in parser._actions)}
    assert found == ASKING.keys()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", ASKING)
def test_the_machine_may_be_named_before_the_command_or_after_it(command: str, place: list[str]) -> None:
    first, *rest = f"{command} {ASKING[command]}".split()
    after = parse([first, *rest, *place])
    assert any(getattr(after, name) for name in ("socket", "machine", "url", "token_file"))
    assert parse([*place, first, *rest]) == after
    if first in {"user", "snapshots"}:
        assert parse([first, *place, *rest]) == after


def with_option(dest: str) -> list[str]:
    return [name for name, parser in leaves(_build()) if any(action.dest == dest for action in parser._actions)]


NEEDED = {**ASKING, "overlay": "/", "request": "", "uninstall": ""}


def test_what_is_printed_may_be_said_before_every_command_that_takes_it() -> None:
    assert {*with_option("json")} == NEEDED.keys() - {"listen"}
    assert {*with_option("quiet")} == NEEDED.keys() - {"listen", "logs"}


@pytest.mark.parametrize("option", ["--json", "-q", "--quiet"])
@pytest.mark.parametrize("command", NEEDED)
def test_what_is_printed_may_be_said_before_the_command_or_after_it(command: str, option: str) -> None:
    first, *rest = f"{command} {NEEDED[command]}".split()
    if command not in with_option("json" if option == "--json" else "quiet"):
        assert usage_error(option, first, *rest) == 2
        return
    after = parse([first, *rest, option])
    assert after.json or after.quiet
    assert parse([option, first, *rest]) == parse([option, first, *rest, option]) == after
    if first in {"user", "snapshots"}:
        assert parse([first, option, *rest]) == after


def test_json_before_the_command_is_json(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", *machine.where, "version"]) == 0
    assert document(capsys)["running"]
    assert main(["--quiet", *machine.where, "version"]) == 0
    assert capsys.readouterr().out == ""


def test_a_token_before_the_command_goes_with_the_address_after_it() -> None:
    assert parse(["--token-file", "/t", "version", "--url", "http://h"]) == parse(
        ["version", "--url", "http://h", "--token-file", "/t"]
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--url", "http://a", "version", "--url", "http://b"], "both --url and --url"),
        (["--url", "http://a", "version", "--socket", "/s"], "both --url and --socket"),
        (["--machine", "a", "listen", "--machine", "b"], "both --machine and --machine"),
        (["user", "--machine", "a", "list", "--url", "http://b"], "both --machine and --url"),
        (["--socket", "/s", "user", "--url", "http://b", "list"], "both --socket and --url"),
        (["--token-file", "/a", "version", "--token-file", "/b"], "both --token-file and --token-file"),
        (["--socket", "/s", "--url", "http://a", "version"], "not allowed with"),
        (["--url", "http://a", "serve"], "cannot use --url with this command, which asks no machine"),
        (["--machine", "a", "dial-stdio"], "cannot use --machine with this command"),
        (["--token-file", "/a", "types"], "cannot use --token-file with this command"),
        (["--json", "serve"], "cannot use --json with this command\n"),
        (["--quiet", "logs"], "cannot use --quiet with this command\n"),
    ],
)
def test_a_machine_that_is_named_twice_or_in_vain_is_wrong_usage(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert usage_error(*words) == 2
    assert said in capsys.readouterr().err


def test_a_command_asks_the_machine_that_is_named_before_it(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*machine.where, "version"]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("words", [["--help"], ["version", "--help"], ["user", "--help"], ["user", "list", "--help"]])
def test_help_names_the_ways_to_a_machine_wherever_they_may_stand(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert usage_error(*words) == 0
    text = capsys.readouterr().out
    for option in ("--socket PATH", "--machine NAME", "--url URL", "--token-file FILE", "--json", "-q, --quiet"):
        assert f"  {option} " in text


def test_serve_check_sync_and_recover_run_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[object, ...]] = []

    def remember(name: str, code: int) -> Any:
        def run(*arguments: object, **options: object) -> int:
            ran.append((name, *arguments, *options.values()))
            return code

        return run

    serving, maintenance = ModuleType("daemon.commands"), ModuleType("daemon.maintenance")
    vars(serving).update(main_serve=remember("serve", 0), main_check=remember("check", 100))
    vars(maintenance).update(main_sync=remember("sync", 1), main_recover=remember("recover", 1))
    for fake in (serving, maintenance):
        monkeypatch.setitem(sys.modules, fake.__name__, fake)
    assert [main([name]) for name in ("serve", "check", "sync")] == [0, 100, 1]
    assert main(["sync", "main"]) == main(["recover", "--crashing"]) == 1
    assert ran == [("serve",), ("check",), ("sync", None), ("sync", "main"), ("recover", True)]


def test_a_reader_that_leaves_is_no_error(machine: FakeMachine) -> None:
    with start("version", *machine.where) as ran:
        assert ran.stdout
        ran.stdout.close()
        assert ran.stderr
        assert ran.stderr.read() == ""
    assert ran.returncode == ExitCode.READER_LEFT


# Which daemon


def test_the_socket_is_found_through_the_settings(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.socket_path
    monkeypatch.setenv("REFRESHD_RUN_DIR", str(machine.socket_path.parent))
    assert main(["version", "--quiet"]) == 0
    monkeypatch.setenv("REFRESHD_SOCKET", str(machine.socket_path.with_name("other.sock")))
    assert main(["version", "--quiet"]) == 3
    assert main(["version", "--quiet", *machine.where]) == 0


def test_the_token_comes_from_a_file_or_the_environment(
    guarded: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("secret\n")
    assert main(["version", "--quiet", *guarded.where, "--token-file", str(file)]) == 0
    assert main(["version", "--quiet", *guarded.where]) == 4
    monkeypatch.setenv("REFRESHD_TOKEN", "secret")
    assert main(["version", "--quiet", *guarded.where]) == 0
    other = tmp_path / "other"
    other.write_text("another")
    monkeypatch.setenv("REFRESHD_TOKEN_FILE", str(other))
    assert main(["version", "--quiet", *guarded.where]) == 4
    assert main(["version", "--quiet", *guarded.where, "--token-file", str(file)]) == 0


def test_no_token_is_needed_or_sent_over_the_socket(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFRESHD_TOKEN_FILE", "/does/not/exist")
    assert main(["version", "--quiet", *machine.where]) == 0
    assert "Authorization" not in machine.seen[0].headers


def test_an_unreachable_daemon_is_exit_3_with_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.sock"
    assert main(["version", "--socket", str(path), "--json"]) == 3
    out, err = capsys.readouterr()
    assert f"cannot reach the daemon at {path}: there is no such socket" in err
    assert "check that the daemon runs" in err
    assert json.loads(out)["error"]["code"] == "unreachable"


def test_a_refusal_is_exit_4_and_says_how_to_be_let_in(
    guarded: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["version", *guarded.where, "--json"]) == 4
    out, err = capsys.readouterr()
    assert "--token-file" in err
    assert json.loads(out)["error"] == {
        "code": "unauthorized",
        "message": "cannot answer without a valid token",
        "detail": "",
        "status": 401,
    }


# version, status, history


def test_version_tells_disk_and_process_apart(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", *machine.where]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["sha"] == OLD
    assert lines["running"] == f"{OLD} (refreshd 0.1.0)"
    assert main(["version", *machine.where, "--json"]) == 0
    assert document(capsys)["on_disk"]["sha"] == OLD


def test_status_of_a_healthy_daemon_is_exit_0(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", *machine.where]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^health +healthy$", text, re.MULTILINE)
    assert re.search(rf"^on disk +{OLD[:12]}, with local edits$", text, re.MULTILINE)
    assert re.search(rf"^control plane +{NEW[:12]}, an update is available$", text, re.MULTILINE)
    assert re.search(r"^last update +none$", text, re.MULTILINE)
    assert re.search(r"^memory +3\.0 GiB of 4\.0 GiB available$", text, re.MULTILINE)
    assert re.search(r"^services +web down for 7 s, exit code 1, and wanted up$", text, re.MULTILINE)


def test_status_of_a_daemon_that_is_away_is_exit_1_and_calls_the_versions_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--socket", str(tmp_path / "none.sock"))
    assert main(["status", *where]) == 1
    text = capsys.readouterr().out
    assert re.search(r"^health +unhealthy\n +cannot reach the daemon at .*there is no such socket$", text, re.MULTILINE)
    assert re.search(r"^running +unknown$", text, re.MULTILINE)
    assert main(["status", *where, "--json"]) == 1
    status = document(capsys)
    assert (status["status"], status["healthy"], status["version"]) == ("unhealthy", False, None)


def test_status_that_may_not_be_asked_for_is_a_failed_check(
    guarded: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", *guarded.where]) == 1
    assert re.search(r"^health +check failed$", capsys.readouterr().out, re.MULTILINE)


def test_status_of_a_daemon_that_is_not_ready_is_exit_1(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.ready = False
    assert main(["status", *machine.where]) == 1
    assert re.search(r"^health +starting$", capsys.readouterr().out, re.MULTILINE)


def test_status_after_a_failed_undo_is_exit_1_although_the_daemon_is_ready(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.script = ends_inconsistent()
    assert main(["update", "main", *machine.where, "--quiet"]) == 6
    capsys.readouterr()
    assert main(["status", *machine.where, "--json"]) == 1
    status = document(capsys)
    assert (status["healthy"], status["ready"]) == (False, True)
    assert status["version"]["last_update"]["state"] == "inconsistent"


@pytest.mark.parametrize("where", [("--socket", "/none"), ("--url", "http://127.0.0.1:1"), ("--machine", "none")])
def test_the_log_of_another_place_is_not_read_from_the_files_of_this_one(
    where: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "current").write_text("a line of this machine\n")
    monkeypatch.setenv("REFRESHD_LOG_DIR", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    assert main(["logs", "--no-follow"]) == 0
    assert capsys.readouterr().out == "a line of this machine\n"
    assert main(["logs", "--no-follow", *where]) != 0
    assert capsys.readouterr().out == ""


def test_quiet_says_nothing_but_the_exit_code(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.ready = False
    assert main(["status", *machine.where, "-q"]) == 1
    assert capsys.readouterr() == ("", "")


def test_a_daemon_that_hangs_is_exit_5(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.mute = True
    changed = (session.Client.__init__.__kwdefaults__ or {}) | {"timeout": 0.1, "patience": 1.0}
    monkeypatch.setattr("daemon.client.session.Client.__init__.__kwdefaults__", changed)
    assert main(["version", *machine.where]) == 5
    assert main(["status", *machine.where]) == 1


def test_history_lists_the_newest_first_with_what_went_wrong(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", *machine.where]) == 0
    assert capsys.readouterr().out == "no updates yet\n"
    for script in (finds_nothing_to_do(), fails(), succeeds()):
        machine.script = script
        main(["update", "main", *machine.where, "--quiet"])
    capsys.readouterr()
    assert main(["history", *machine.where, "-n", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert f"succeeded  3.5 s  {OLD[:12]}..{NEW[:12]}  main" in lines[0]
    assert "cannot fetch 'main' from origin: no route" in lines[1]
    assert "unknown" not in lines[1], "how far it would have come"
    assert main(["history", *machine.where, "--json"]) == 0
    assert [update["state"] for update in document(capsys)["updates"]] == ["succeeded", "failed", "unchanged"]


def test_a_rollback_is_told_as_one() -> None:
    request = UpdateRequest(target_ref=OLD, rollback_of="000001-abcdef")
    back = Update(
        id="000002-abcdef",
        request=request,
        state=State.SUCCEEDED,
        from_commit=NEW,
        to_commit=OLD,
        started_at=STARTED_AT,
        finished_at=STARTED_AT,
    )
    assert texts.of_update(back) == f"went back {NEW[:12]}..{OLD[:12]} in 0.0 s"
    assert texts.of_history([back], None).endswith("  before 000001-abcdef")


# update


def test_an_update_shows_each_state_on_a_line_and_sums_up(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.script = succeeds(
        Restart(seconds=0.3),
        notes=["package.json is ahead of the lockfile"],
        preserved={"snapshot": "c" * 40, "files": ["M notes.txt"], "total": 1},
    )
    assert main(["update", "main", *machine.where]) == 0
    out, err = capsys.readouterr()
    shown = [line.split("  ")[-1].strip() for line in err.splitlines()]
    states = ["requested", "staging", "applying", "installing", "checking", "restarting", "verifying", "succeeded"]
    assert [line for line in shown if not line.startswith("waiting")] == states
    assert shown.index("waiting for the daemon…") == states.index("verifying")
    assert out.splitlines()[:7] == [
        f"updated {OLD[:12]}..{NEW[:12]} (3 files changed) in 3.5 s",
        "    A x",
        "    M y",
        "    M z",
        "note: package.json is ahead of the lockfile",
        f"1 local edit kept in snapshot {'c' * 40}:",
        "    M notes.txt",
    ]


def test_an_update_to_what_is_there_says_so(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.script = finds_nothing_to_do()
    assert main(["update", "main", *machine.where]) == 0
    assert capsys.readouterr().out == f"already at {OLD[:12]}: nothing to do\n"


def test_json_is_the_final_update_and_progress_stays_on_standard_error(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["update", "main", *machine.where, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["state"] == "succeeded"
    assert "installing" in err


def test_a_rolled_back_update_is_exit_1_with_sentence_log_and_advice(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.script = rolls_back()
    assert main(["update", "main", *machine.where, "--json", "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "refreshd: cannot run the new code: it does not import",
        "    SyntaxError",
        "    invalid",
        "the machine is back where it was and runs that: remove the cause and ask again",
    ]
    assert json.loads(out)["state"] == "rolled_back"


def test_a_failed_update_is_exit_1_and_says_that_nothing_was_touched(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.script = fails()
    assert main(["update", "main", *machine.where]) == 1
    assert "    fatal: no route to host\nnothing was touched" in capsys.readouterr().err


def test_an_inconsistent_machine_is_exit_6(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.script = succeeds(Restart(keeps_commit=True))
    assert main(["update", "main", *machine.where, "--quiet"]) == 6
    assert "do not rely on this machine" in capsys.readouterr().err


def test_a_conflict_is_exit_4_and_names_the_update(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.script = [Pause(60)]
    assert main(["update", "main", *machine.where, "--no-wait", "--json"]) == 0
    running = document(capsys)["id"]
    assert main(["update", "dev", *machine.where, "--json"]) == 4
    error = document(capsys)["error"]
    assert (error["code"], error["status"], error["update"]) == ("update_running", 409, running)


def test_a_time_limit_is_exit_5_and_the_update_goes_on(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.script = [Pause(0.5), *finds_nothing_to_do()]
    words = ["update", "main", *machine.where, "--idempotency-key", "k"]
    assert main([*words, "--timeout", "0.2"]) == 5
    assert "an update that was accepted goes on" in capsys.readouterr().err
    assert main(words) == 0
    assert len(machine.entries) == 1


@pytest.mark.parametrize(
    ("words", "body"), [(["--branch", "main"], {"branch": "main"}), (["--commit", NEW], {"commit": NEW})]
)
def test_a_branch_or_a_commit_is_asked_for_as_such(
    machine: FakeMachine, words: list[str], body: dict[str, str]
) -> None:
    assert main(["update", *words, *machine.where, "--quiet"]) == 0
    assert machine.asked()[0].body.items() >= body.items()


@pytest.mark.parametrize("words", [["update", "main"], ["rollback", "1"], ["snapshots", "restore", "a"]])
def test_a_git_token_is_read_from_a_file(
    machine: FakeMachine, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*words, *machine.where, "--git-token-file", str(tmp_path / "token")]
    assert main(asked) == ExitCode.USAGE
    assert "cannot be read" in capsys.readouterr().err
    assert machine.asked() == []
    (tmp_path / "token").write_text("secret\n")
    main(asked)
    assert machine.asked()[0].body["git_token"] == "secret"
    assert "secret" not in str(capsys.readouterr())


def test_a_ref_is_judged_by_the_daemon(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["update", "bad ref", *machine.where]) == 4
    assert "correct the ref" in capsys.readouterr().err


def test_without_waiting_the_way_back_to_the_update_is_said(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    # not before: the restart would be a moment at which nobody is there to be asked
    machine.script = [Watched(), *succeeds()]
    assert main(["update", "main", *machine.where, "--no-wait"]) == 0
    requested, follow = capsys.readouterr().out.splitlines()
    update_id = next(iter(machine.entries))
    assert requested == f"update {update_id} to main is requested"
    again = follow.removeprefix("follow it: refreshd ").split()
    assert main(again) == 0
    assert list(machine.entries) == [update_id]


def test_a_dry_run_prints_the_plan_and_asks_for_nothing(
    machine: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.plan = Plan(
        target_ref="main",
        ref="refs/heads/main",
        source="git",
        from_commit=OLD,
        to_commit=NEW,
        apply=True,
        install=("pnpm",),
        restart=True,
    )
    assert main(["update", "main", *machine.where, "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"main is {NEW[:12]} (refs/heads/main)",
        f"would update {OLD[:12]}..{NEW[:12]}",
        "would install with pnpm",
        "would restart the daemon",
    ]
    assert machine.entries == {}


def test_a_plan_with_nothing_to_do_says_so(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.plan = Plan(
        target_ref="main", source="git", from_commit=OLD, to_commit=OLD, apply=False, install=(), restart=False
    )
    assert main(["update", "main", *machine.where, "--dry-run"]) == 0
    assert capsys.readouterr().out == f"main is {OLD[:12]}\nnothing to do\n"


def test_text_from_the_machine_cannot_move_the_cursor(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.replace = lambda _request: problem(422, "unsupported", "cannot\x1b[2J\x07", log="a\tb\rc\n\x9b31mred")
    assert main(["version", *machine.where]) == 4
    assert capsys.readouterr().err.splitlines()[:3] == [
        "refreshd: cannot\\x07",
        "    a       b",
        "    c",
    ]


def test_an_interrupted_update_goes_on_and_is_found_again(machine: FakeMachine) -> None:
    pause = Pause(60)
    machine.script = [Move(begins()[0].event), pause, *finds_nothing_to_do()[1:]]  # type: ignore[union-attr]
    with start("update", "main", *machine.where) as ran:
        assert ran.stderr
        for line in ran.stderr:
            if "staging" in line:
                break
        ran.send_signal(signal.SIGINT)
        said = ran.stderr.read()
    assert ran.returncode == 130
    assert "Traceback" not in said
    update_id = next(iter(machine.entries))
    assert f"update {update_id} goes on in the machine" in said
    pause.over.set()
    follow = next(line for line in said.splitlines() if line.startswith("follow it: "))
    assert main(follow.removeprefix("follow it: refreshd ").split()) == 0
    assert machine.record(update_id).state is State.UNCHANGED
    assert len(machine.entries) == 1


# Progress on a terminal


class Terminal(io.StringIO):
    """A terminal of unknown size. `encoding` is what it can show."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


def on_terminal(machine: FakeMachine, columns: int) -> tuple[int, str]:
    """The exit code of an update to main, and all that it painted."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    painted = b""
    with start("update", "main", *machine.where, stdout=theirs, stderr=theirs) as ran:
        os.close(theirs)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and select.select([ours], [], [], 60)[0]:
            try:
                painted += os.read(ours, 65536)
            except OSError:  # how a pty says that the other end is closed
                break
    os.close(ours)
    return ran.returncode, painted.decode()


def last_painted(text: str) -> list[str]:
    """What is left to see on each line."""
    return [plain(line).split("\x1b[2K")[-1] for line in text.removesuffix("\n").split("\n")]


def plain(text: str) -> str:
    return re.sub(r"\x1b\[\d+m", "", text)


def test_a_terminal_shows_a_line_for_each_state_over_the_restart(machine: FakeMachine) -> None:
    script = succeeds(Restart(seconds=1))
    machine.script = [*script[:4], Watched(), *script[4:]]
    code, painted = on_terminal(machine, 80)
    assert code == 0
    kept = last_painted(painted.replace("\r\n", "\n"))
    assert kept == [
        "✓ requested       0.5 s",
        "✓ staging         0.5 s",
        "✓ applying        0.5 s",
        "✓ installing      0.5 s",
        "✓ checking        0.5 s",
        "✓ restarting      0.5 s",
        "✓ verifying       0.5 s",
        "✓ succeeded       3.5 s",
        f"updated {OLD[:12]}..{NEW[:12]} (3 files changed) in 3.5 s",
        "    A x",
        "    M y",
        "    M z",
    ]
    frames = re.findall(r"\x1b\[36m(.)\x1b\[0m restarting +\d\.\d s  waiting for the daemon…", painted)
    assert len(set(frames)) > 1


def test_no_painted_line_is_as_wide_as_the_terminal(machine: FakeMachine) -> None:
    machine.script = succeeds(Restart(seconds=0.3))
    code, painted = on_terminal(machine, 30)
    assert code == 0
    lines = [plain(line) for line in re.split(r"\r\x1b\[2K|\r?\n", painted)]
    progress = [line for line in lines if not line.startswith("updated")]
    assert any(line.endswith("…") for line in progress)
    assert max(map(len, progress)) < 30


def test_no_color_means_no_colour_and_still_a_live_line() -> None:
    terminal = Terminal()
    progress = progress_on(terminal, {"TERM": "xterm", "NO_COLOR": "1"})
    assert isinstance(progress, LiveProgress)
    assert progress._style.good("fine") == "fine"
    assert isinstance(progress_on(terminal, {"TERM": "xterm"}), LiveProgress)
    assert Style.of(terminal, {"TERM": "xterm", "NO_COLOR": ""}).good("fine") == "\x1b[32mfine\x1b[0m"


@pytest.mark.parametrize("environ", [{}, {"TERM": "dumb"}])
def test_a_terminal_that_cannot_repaint_gets_plain_lines(environ: dict[str, str]) -> None:
    assert isinstance(progress_on(Terminal(), environ), PlainProgress)


def test_a_terminal_without_unicode_gets_other_symbols() -> None:
    style = Style.of(Terminal("ascii"), {"TERM": "xterm"})
    assert f"{style.done}{style.failed}{style.frames}{style.ellipsis}".isascii()


async def test_a_state_that_failed_is_marked_and_one_that_was_left_is_not() -> None:
    for script, last in ((rolls_back(), "✗ rolled back"), ([*begins(), Pause(60)], "checking")):
        terminal = Terminal()
        async with FakeMachine() as machine, LiveProgress(terminal, Style.of(terminal, {})) as progress:
            machine.script = script
            update_id = await machine.begin()
            await asyncio.sleep(0.05)
            for entry in machine.entries[update_id]:
                progress.entry(entry)
        lines = [line.strip() for line in last_painted(terminal.getvalue())]
        assert lines[-1].startswith(last)
        assert lines[0].startswith("✓ requested")
        if last.startswith("✗"):
            assert lines[-2].startswith("✗ checking")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä", "plain ä"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("a\tb", "a       b"),
        ("bell\x07 null\x00", "bell\\x07 null\\x00"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
    ],
)
def test_only_what_a_line_can_show_is_printed(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_line_that_is_too_long_is_cut_with_a_sign() -> None:
    assert [clipped("abcdef", width) for width in (6, 5, 1)] == ["abcdef", "abcd…", "…"]


# overlay


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's files as a wheel carries them: the modes are whatever they are."""
    folder = tmp_path / "package" / "machine"
    program = folder / "s6-overlay" / "usr" / "libexec" / "run"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o600)
    (folder / "s6-overlay" / "etc").mkdir()
    (folder / "s6-overlay" / "etc" / "type").write_text("longrun\n")
    (folder / "s6-overlay" / "etc" / "empty").touch()
    (folder / "entry.sh").write_text("#!/bin/sh\n")
    module = ModuleType("daemon")
    module.__file__ = str(folder.parent / "__init__.py")
    monkeypatch.setattr(overlay, "daemon", module)
    return folder


def laid_out(root: Path) -> dict[str, int]:
    return {str(p.relative_to(root)): p.stat().st_mode & 0o777 for p in root.rglob("*") if p.is_file()}


LAID_OUT = {"usr/libexec/run": 0o755, "etc/type": 0o644, "etc/empty": 0o644, "usr/local/bin/refreshd-entry": 0o755}


@pytest.mark.usefixtures("source")
def test_programs_are_laid_out_executable_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        assert main(["overlay", str(tmp_path / "root"), "--quiet"]) == 0
    finally:
        os.umask(before)
    assert laid_out(tmp_path / "root") == LAID_OUT


@pytest.mark.usefixtures("source")
def test_laying_out_twice_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["overlay", str(tmp_path / "root"), "--json"]
    assert main(words) == 0
    assert len(document(capsys)["created"]) == 4
    assert main(words) == 0
    again = document(capsys)
    assert (len(again["unchanged"]), again["created"], again["replaced"]) == (4, [], [])


@pytest.mark.usefixtures("source")
def test_a_lost_mode_is_set_without_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    main(["overlay", str(root), "--quiet"])
    (root / "usr/libexec/run").chmod(0o644)
    assert main(["overlay", str(root)]) == 0
    assert laid_out(root) == LAID_OUT
    assert capsys.readouterr().out == f"mode set {root}/usr/libexec/run\n3 of 4 files were right already\n"


@pytest.mark.usefixtures("source")
def test_a_file_that_differs_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "type").write_text("oneshot\n")
    assert main(["overlay", str(root)]) == 1
    assert f"differ without --force:\n    {root}/etc/type" in capsys.readouterr().err
    assert laid_out(root).keys() == {"etc/type"}
    assert main(["overlay", str(root), "--force"]) == 0
    assert (root / "etc" / "type").read_text() == "longrun\n"


@pytest.mark.usefixtures("source")
def test_a_symbolic_link_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "etc").mkdir(parents=True)
    outside.write_text("precious")
    (root / "etc" / "type").symlink_to(outside)
    assert main(["overlay", str(root)]) == 1
    assert main(["overlay", str(root), "--force", "--quiet"]) == 0
    assert outside.read_text() == "precious"
    assert not (root / "etc" / "type").is_symlink()


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("obstacle", ["etc", "etc/type"])
def test_what_is_no_file_is_not_overwritten_even_by_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], obstacle: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    if obstacle == "etc":
        (root / "etc").write_text("a file where a folder belongs")
    else:
        (root / "etc" / "type").mkdir(parents=True)
    assert main(["overlay", str(root), "--force"]) == 1
    assert "something else than a file" in capsys.readouterr().err


@pytest.mark.usefixtures("source")
def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    assert main(["overlay", str(root), "--dry-run"]) == 0
    assert f"created {root}/usr/libexec/run" in capsys.readouterr().out
    assert not root.exists()


def test_a_package_without_the_files_says_where_it_looked(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source / "entry.sh").unlink()
    assert main(["overlay", str(tmp_path / "root")]) == 1
    assert str(source.parent) in capsys.readouterr().err


def test_a_source_checkout_lays_out_its_own_files(tmp_path: Path) -> None:
    assert main(["overlay", str(tmp_path), "--quiet"]) == 0
    entry = tmp_path / "usr/local/bin/refreshd-entry"
    assert entry.read_bytes() == (ROOT / "entry.sh").read_bytes()
    overlaid = {str(p.relative_to(ROOT / "s6-overlay")) for p in (ROOT / "s6-overlay").rglob("*") if p.is_file()}
    assert laid_out(tmp_path).keys() == overlaid | {"usr/local/bin/refreshd-entry"}


def test_a_folder_that_cannot_be_written_is_named(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert source.is_dir()

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main(["overlay", str(tmp_path / "root")]) == 1
    assert f"cannot lay out {tmp_path}/root/etc: Permission denied" in capsys.readouterr().err


def test_every_refusal_shows_the_daemons_own_sentence() -> None:
    error = RefusedError(sentence="cannot {do} this", refusal="x", http_status=422)
    assert str(error) == "cannot {do} this"
