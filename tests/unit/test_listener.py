"""The listener against a small machine: what the document promises, and what broke in earlier ones."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from daemon.command_file import contract
from daemon.command_file.folder import Folder
from daemon.host import commands
from daemon.host.inbox import Inbox
from daemon.host.listener import Listener, Pace, listen
from tests.support.fake_machine import (
    NEW,
    OLD,
    FakeMachine,
    Pause,
    begins,
    ends_inconsistent,
    fails,
    finds_nothing_to_do,
    rolls_back,
    succeeds,
)
from tests.support.listening import QUICK, App, listener_of, new_folder, running, until


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[FakeMachine]:
    async with FakeMachine(tmp_path / "m.sock") as machine:
        yield machine


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def app(state: Path) -> App:
    return new_folder(state)


@pytest.fixture
async def listener(machine: FakeMachine, state: Path, app: App) -> AsyncIterator[Listener]:  # noqa: ARG001 - its folder
    async with running(listener_of(machine, state)) as listener:
        yield listener


def targets(machine: FakeMachine) -> list[dict[str, Any]]:
    assert {seen.body["trigger"] for seen in machine.asked()} <= {"command_file"}
    return [{name: seen.body[name] for name in ("branch", "commit") if name in seen.body} for seen in machine.asked()]


# What the document says


@pytest.mark.usefixtures("listener")
async def test_update_is_done_and_reported(app: App, machine: FakeMachine) -> None:
    result = await app.asked(request_id="r1", branch="main")
    assert (result["status"], result["request_id"]) == ("success", "r1")
    assert result["message"] == f"Update completed: {OLD[:12]}..{NEW[:12]}"
    assert (result["outcome"], result["from"], result["to"]) == ("succeeded", OLD, NEW)
    assert result["update_id"] in machine.entries
    assert result["started_at"] < result["finished_at"]
    assert all(result[name].endswith("Z") for name in ("started_at", "finished_at"))
    await until(lambda: app.left() == {"update-command.result.json"}, "nothing else is left")


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ({}, {"branch": "dev"}),
        ({"branch": "", "commit": ""}, {"branch": "dev"}),
        ({"branch": None}, {"branch": "dev"}),
        ({"branch": "a/b"}, {"branch": "a/b"}),
        ({"commit": NEW}, {"commit": NEW}),
        ({"branch": "", "commit": NEW}, {"commit": NEW}),
    ],
)
async def test_target_is_what_was_asked_for(
    app: App,
    machine: FakeMachine,
    fields: dict[str, Any],
    target: dict[str, Any],
) -> None:
    assert (await app.asked(**fields))["status"] == "success"
    assert targets(machine) == [target]


@pytest.mark.usefixtures("listener")
async def test_already_up_to_date_is_said(app: App, machine: FakeMachine) -> None:
    machine.script = finds_nothing_to_do()
    result = await app.asked(request_id="r")
    assert (result["status"], result["outcome"]) == ("success", "unchanged")
    assert result["message"].startswith("Already up to date")


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize(
    ("script", "outcome"), [(fails(), "failed"), (rolls_back(), "rolled_back"), (ends_inconsistent(), "inconsistent")]
)
async def test_failure_is_reported_with_its_message(
    app: App,
    machine: FakeMachine,
    script: Any,
    outcome: str,
) -> None:
    machine.script = script
    result = await app.asked(request_id="r")
    assert (result["status"], result["outcome"]) == ("error", outcome)
    assert result["message"].startswith("cannot ")


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"command": "update_everything", "request_id": "r"}, "'update_everything' is none of: update_opencode"),
        ({"command": "update_opencode", "request_id": "r", "branch": "a", "commit": NEW}, "a branch and a commit"),
        ({"command": "update_opencode", "request_id": "r", "commit": "abc123"}, "40 hexadecimal digits"),
        ({"command": "update_opencode", "request_id": "r", "branch": "-x; reboot"}, "begins with a dash"),
        ({"request_id": "r"}, "command: Field required"),
    ],
)
async def test_nonsense_is_refused_and_removed(
    app: App,
    machine: FakeMachine,
    content: dict[str, Any],
    said: str,
) -> None:
    app.write(json.dumps(content))
    result = await app.answer("r")
    assert result["status"] == "error"
    assert said in result["message"]
    assert machine.asked() == []
    await until(lambda: app.left() == {"update-command.result.json"}, "the command is removed")


async def test_next_command_waits_until_the_interval_has_passed(machine: FakeMachine, state: Path, app: App) -> None:
    machine.script = finds_nothing_to_do()
    async with running(listener_of(machine, state, pace=Pace(poll=0.01, interval=0.5))):
        await app.asked(request_id="r1")
        began = time.monotonic()
        await app.asked(request_id="r2")
    assert time.monotonic() - began >= 0.4


def test_interval_is_five_seconds() -> None:
    assert Pace().interval == 5


async def test_missing_command_is_no_matter(listener: Listener, app: App, machine: FakeMachine) -> None:
    await asyncio.sleep(0.2)
    assert not app.left()
    assert machine.asked() == []
    assert not listener.stopped


@pytest.mark.usefixtures("listener")
async def test_json_that_is_still_being_written_is_waited_for(
    app: App,
    machine: FakeMachine,
) -> None:
    with app.command.open("wb", buffering=0) as file:
        for part in (b'{"command": "update_', b'opencode", "request_id"', b': "slow", "branch": "dev"}'):
            file.write(part)
            await asyncio.sleep(0.08)
    assert (await app.answer("slow"))["status"] == "success"
    assert targets(machine) == [{"branch": "dev"}]


@pytest.mark.usefixtures("listener")
async def test_invalid_json_is_an_error_after_a_grace(app: App) -> None:
    began = time.monotonic()
    app.write('{"command": "update_opencode", "request_id": "r", ')
    result = await app.answer("r")
    assert "not valid JSON" in result["message"]
    assert time.monotonic() - began >= QUICK.grace
    await until(lambda: app.left() == {"update-command.result.json"}, "the command is removed")


@pytest.mark.usefixtures("listener")
async def test_json_that_never_comes_to_an_end_is_given_up(app: App) -> None:
    with app.command.open("wb", buffering=0) as file:
        async with asyncio.timeout(10):
            while not app.found():
                file.write(b"[")
                await asyncio.sleep(0.02)
    assert (await app.answer())["status"] == "error"


async def test_missing_folder_is_created_and_then_listened_to(machine: FakeMachine, state: Path) -> None:
    async with running(listener_of(machine, state)):
        await asyncio.sleep(0.1)
        assert not state.exists(), "the mount itself is nobody's to create"
        state.mkdir()
        folder = App(state.joinpath(*contract.INSIDE))
        await until(folder.folder.exists, "the folder is made")
        assert folder.folder.stat().st_mode & 0o7777 == 0o1777, "the machine's user may write"
        assert (await folder.asked(request_id="r"))["status"] == "success"


@pytest.mark.usefixtures("listener")
async def test_folder_that_goes_and_comes_is_listened_to_again(
    app: App,
    state: Path,
) -> None:
    assert (await app.asked(request_id="r1"))["status"] == "success"
    state.rename(state.with_name("unmounted"))
    await asyncio.sleep(0.1)
    new_folder(state)
    assert (await app.asked(request_id="r2"))["status"] == "success"


async def test_folder_that_refuses_writes_suspends_listening_and_says_so_once(
    machine: FakeMachine, state: Path, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a read-only mount answers."""
    read_only = True

    def refusing(original: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            if read_only and any("update-command" in str(argument) for argument in arguments):
                raise OSError(30, "Read-only file system")
            return original(*arguments, **more)

        return call

    app.ask(request_id="r")
    for name in ("rename", "unlink"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    with capture_logs() as said:
        async with running(listener_of(machine, state)):
            await until(lambda: "Read-only" in str(said), "it says so")
            await asyncio.sleep(0.1)
            assert [entry["event"] for entry in said] == ["listening is suspended until the folder can be used"]
            assert machine.asked() == []
            read_only = False
            assert (await app.answer("r"))["status"] == "success"


async def test_listener_that_ends_has_let_go_of_its_folder_however_slow_that_is(
    machine: FakeMachine, state: Path, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Inbox.next

    def slow(inbox: Inbox) -> str | None:
        time.sleep(0.1)
        return original(inbox)

    with monkeypatch.context() as patched:
        patched.setattr(Inbox, "next", slow)
        listening = asyncio.create_task(listen([listener_of(machine, state, gone_after=0.1)]))
        await asyncio.sleep(0.3)
        await machine.stop_listening()
        async with asyncio.timeout(10):
            await listening
        await asyncio.sleep(0.3)  # for whatever would still be under way
    await machine.listen()
    machine.script = finds_nothing_to_do()
    async with running(listener_of(machine, state)):
        assert (await app.asked(request_id="later"))["status"] == "success"


async def test_machine_that_stops_ends_listening(machine: FakeMachine, state: Path, app: App) -> None:
    machine.script = finds_nothing_to_do()
    listener = listener_of(machine, state, gone_after=0.1)
    listening = asyncio.create_task(listen([listener]))
    assert (await app.asked(request_id="r"))["status"] == "success"
    await machine.stop_listening()
    async with asyncio.timeout(5):
        await listening
    assert listener.stopped
    app.ask(request_id="later")
    await machine.listen()
    async with running(listener_of(machine, state)):
        assert (await app.answer("later"))["status"] == "success"


async def test_one_machine_that_stops_does_not_end_listening_to_another(
    machine: FakeMachine, state: Path, app: App, tmp_path: Path
) -> None:
    async with FakeMachine(tmp_path / "other.sock") as other:
        other_app = new_folder(tmp_path / "other")
        pair = [listener_of(machine, state, gone_after=0.05), listener_of(other, tmp_path / "other")]
        listening = asyncio.create_task(listen(pair))
        await machine.stop_listening()
        await until(lambda: pair[0].stopped, "the first is stopped")
        assert (await other_app.asked(request_id="r"))["status"] == "success"
        app.ask(request_id="mine")
        await machine.listen()
        assert (await app.answer("mine"))["status"] == "success"
        listening.cancel()
        await asyncio.wait({listening})


@pytest.mark.usefixtures("listener")
async def test_progress_is_told_beside_the_result(app: App, machine: FakeMachine) -> None:
    machine.script = [*begins(), Pause(0.3), *succeeds()[4:]]
    app.ask(request_id="r")
    await until(lambda: app.progress.exists() and b"checking" in app.progress.read_bytes(), "progress")
    told = json.loads(app.progress.read_bytes())
    assert (told["request_id"], told["state"]) == ("r", "checking")
    assert told["update_id"] in machine.entries
    await app.answer("r")
    await until(lambda: not app.progress.exists(), "no progress once there is a result")


# What broke in the first implementation, by the number in the notes


@pytest.mark.usefixtures("listener")
async def test_2_command_is_gone_before_the_update_begins(
    app: App,
    machine: FakeMachine,
) -> None:
    machine.script = [Pause(0.3), *succeeds()]
    app.ask(request_id="r")
    await until(machine.asked, "the update is asked for")
    assert not app.command.exists()


@pytest.mark.usefixtures("listener")
async def test_2_request_written_during_an_update_is_handled_next(
    app: App,
    machine: FakeMachine,
) -> None:
    machine.script = [Pause(0.2), *succeeds()]
    app.ask(request_id="r1", branch="one")
    await until(machine.asked, "the first update is asked for")
    app.ask(request_id="r2", branch="two")
    await app.answer("r1")
    assert (await app.answer("r2"))["status"] == "success"
    assert targets(machine) == [{"branch": "one"}, {"branch": "two"}]


async def test_2_claim_that_cannot_be_removed_is_not_executed_again(
    machine: FakeMachine, state: Path, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, broken = Folder.remove, True

    def remove(folder: Folder, name: str) -> None:
        if broken and contract.claim_in(name):
            raise PermissionError(1, "Operation not permitted")
        original(folder, name)

    monkeypatch.setattr(Folder, "remove", remove)
    monkeypatch.setattr(Folder, "rename", _refusing_names(Folder.rename, ".refused"))
    async with running(listener_of(machine, state)):
        first = await app.asked(request_id="r")
        await asyncio.sleep(0.2)
    async with running(listener_of(machine, state)):
        await asyncio.sleep(0.2)
        assert app.found() == first
        assert len(machine.asked()) == 1
        broken = False
        await until(lambda: app.left() == {"update-command.result.json"}, "it is removed as soon as it can be")


def _refusing_names(original: Any, ending: str) -> Any:
    def rename(folder: Folder, old: str, new: str) -> None:
        if new.endswith(ending):
            raise PermissionError(1, "Operation not permitted")
        original(folder, old, new)

    return rename


@pytest.mark.usefixtures("listener")
async def test_3_old_result_is_gone_when_a_command_is_taken(
    app: App,
    machine: FakeMachine,
) -> None:
    await app.asked()
    machine.script = [Pause(0.3), *fails()]
    app.ask()
    await until(lambda: len(machine.asked()) == 2, "the second update is asked for")
    assert not app.result.exists()
    assert (await app.answer())["status"] == "error"


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize("request_id", [42, 4.5, "text", True])
async def test_4_id_is_echoed_as_it_was_written(app: App, request_id: Any) -> None:
    assert (await app.asked(request_id=request_id))["status"] == "success"


@pytest.mark.usefixtures("listener")
async def test_4_id_is_echoed_out_of_invalid_json(app: App) -> None:
    app.write('{"request_id": 42, "branch": dev}')
    assert (await app.answer(42))["status"] == "error"


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'{"a": ' * 3000, b"{" + b" " * 70_000 + b"}", b""])
async def test_5_no_content_ends_listening(app: App, content: bytes) -> None:
    app.write(content)
    assert (await app.answer())["status"] == "error"
    assert (await app.asked(request_id="after"))["status"] == "success"


@pytest.mark.usefixtures("listener")
async def test_5_folder_in_place_of_the_command_does_not_end_listening(app: App) -> None:
    (app.command / "full").mkdir(parents=True)
    assert "not a regular file" in (await app.answer())["message"]
    await until(lambda: not app.command.exists(), "it is put aside")
    assert (await app.asked(request_id="after"))["status"] == "success"


@pytest.mark.usefixtures("listener")
async def test_5_folder_in_place_of_the_result_suspends_until_it_is_gone(app: App) -> None:
    (app.result / "full").mkdir(parents=True)
    app.ask(request_id="r")
    await asyncio.sleep(0.2)
    # in one step: an empty one in its place is replaced
    app.result.rename(app.result.with_name("aside"))
    assert (await app.answer("r"))["status"] == "success"


@pytest.mark.usefixtures("listener")
async def test_5_full_disk_holds_the_result_back_and_loses_nothing(
    app: App,
    machine: FakeMachine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original, full = Folder.replace, True

    def replace(folder: Folder, name: str, content: bytes, *, durable: bool = True) -> None:
        if full and name == contract.RESULT:
            raise OSError(28, "No space left on device")
        original(folder, name, content, durable=durable)

    monkeypatch.setattr(Folder, "replace", replace)
    app.ask(request_id="r")
    await until(lambda: machine.entries and machine.record(next(iter(machine.entries))).state.final, "the update")
    await asyncio.sleep(0.1)
    assert not app.result.exists()
    full = False
    assert (await app.answer("r"))["status"] == "success"
    assert len(machine.asked()) == 1


@pytest.mark.usefixtures("listener")
async def test_7_symlink_is_neither_read_nor_written_through(
    app: App,
    machine: FakeMachine,
    tmp_path: Path,
) -> None:
    precious = tmp_path / "precious"
    precious.write_text(json.dumps({"command": "update_opencode", "request_id": "stolen"}))
    before = precious.read_bytes()
    for name in (app.result.name, app.progress.name, f".{app.result.name}.tmp", app.command.name):
        (app.folder / name).symlink_to(precious)
    await until(lambda: not app.result.is_symlink() and app.found(), "a result")
    result = app.found()
    assert result
    assert result["status"] == "error"
    assert "request_id" not in result
    assert precious.read_bytes() == before
    assert machine.asked() == []


async def test_7_folder_replaced_by_a_symlink_is_not_used(
    machine: FakeMachine, state: Path, app: App, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    app.folder.rename(elsewhere)
    app.folder.symlink_to(elsewhere)
    App(elsewhere).ask(request_id="r")
    async with running(listener_of(machine, state)):
        await asyncio.sleep(0.2)
    assert App(elsewhere).left() == {"update-command.json"}
    assert machine.asked() == []


@pytest.mark.usefixtures("listener")
async def test_8_fifo_does_not_hang_it(app: App) -> None:
    os.mkfifo(app.command)
    assert "not a regular file" in (await app.answer())["message"]
    assert (await app.asked(request_id="after"))["status"] == "success"


@pytest.mark.usefixtures("listener")
@pytest.mark.parametrize("offset", [10_000_000, -10_000_000])
async def test_9_time_of_the_file_decides_nothing(app: App, offset: float) -> None:
    with app.command.open("wb", buffering=0) as file:
        file.write(b'{"command": "update_opencode", ')
        os.utime(file.fileno(), (time.time() + offset,) * 2)
        await asyncio.sleep(0.08)
        file.write(b'"request_id": "late"}')
        os.utime(file.fileno(), (time.time() + offset,) * 2)
    assert (await app.answer("late"))["status"] == "success"


@pytest.mark.usefixtures("listener")
async def test_14_update_that_somebody_else_started_is_named(
    app: App,
    machine: FakeMachine,
) -> None:
    machine.script = [*begins(), Pause(1.0), *succeeds()[4:]]
    manual = await machine.begin()
    result = await app.asked(request_id="r")
    assert result["status"] == "error"
    assert manual in result["message"]


async def test_14_update_that_takes_too_long_is_an_error(machine: FakeMachine, state: Path, app: App) -> None:
    machine.script = [*begins(), Pause(5), *succeeds()[4:]]
    async with running(listener_of(machine, state, pace=Pace(poll=0.01, limit=0.3))):
        result = await app.asked(request_id="r")
    assert (result["status"], result["request_id"]) == ("error", "r")
    assert "0.3 s have passed" in result["message"]


async def test_daemon_that_does_not_answer_is_an_error(
    machine: FakeMachine, state: Path, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "WAITS_FOR_DAEMON", 0.2)
    await machine.stop_listening()
    async with running(listener_of(machine, state)):
        result = await app.asked(request_id="r")
        assert result["status"] == "error"
        assert "nobody listens there" in result["message"] or "no such socket" in result["message"]
        await machine.listen()


@pytest.mark.usefixtures("listener")
async def test_defect_is_an_error_and_does_not_end_listening(
    app: App,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def defective(_order: commands.Order) -> contract.Result:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(commands, "COMMANDS", {contract.UPDATE: defective})
        result = await app.asked(request_id="r")
    assert (result["status"], result["message"]) == (
        "error",
        "cannot finish because of a defect in refreshd; see its log",
    )
    assert (await app.asked(request_id="after"))["status"] == "success"


async def test_second_listener_waits_for_the_first(machine: FakeMachine, state: Path, app: App) -> None:
    first, second = listener_of(machine, state), listener_of(machine, state)
    async with running(second):
        async with running(first):
            for number in range(3):
                assert (await app.asked(request_id=f"r{number}"))["status"] == "success"
            assert len(machine.asked()) == 3
        assert (await app.asked(request_id="r3"))["status"] == "success"
    assert len(machine.asked()) == 4


async def test_claim_of_a_listener_that_died_is_done_once(machine: FakeMachine, state: Path, app: App) -> None:
    """It died after it had asked for the update: the id of the claim is the key under which it had."""
    claim = "ab" * 16
    key = await machine.begin("dev", claim)
    (app.folder / contract.claim_name(claim)).write_text('{"command": "update_opencode", "request_id": "r"}')
    async with running(listener_of(machine, state)):
        result = await app.answer("r")
    assert (result["status"], result["update_id"]) == ("success", key)
    assert list(machine.entries) == [key]


async def test_claim_whose_result_is_there_is_forgotten(machine: FakeMachine, state: Path, app: App) -> None:
    claim = "ab" * 16
    (app.folder / contract.claim_name(claim)).write_text('{"command": "update_opencode", "request_id": "r"}')
    at = "2026-01-01T00:00:00Z"
    done = {"status": "success", "request_id": "r", "message": "m", "started_at": at, "finished_at": at, "claim": claim}
    app.result.write_text(json.dumps(done))
    async with running(listener_of(machine, state)):
        await until(lambda: app.left() == {"update-command.result.json"}, "the claim is forgotten")
    assert app.found() == done
    assert machine.asked() == []


async def test_result_of_another_claim_is_not_taken_for_this_ones(machine: FakeMachine, state: Path, app: App) -> None:
    (app.folder / contract.claim_name("ab" * 16)).write_text('{"command": "update_opencode", "request_id": "new"}')
    app.result.write_text('{"claim": "x"}')
    async with running(listener_of(machine, state)):
        assert (await app.answer("new"))["status"] == "success"
