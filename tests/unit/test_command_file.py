"""The writer's end: requests that do not overwrite each other, and results that are not somebody else's."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.cli import main
from daemon.client import CommandFile
from daemon.client.command_file import Ticket
from daemon.command_file.contract import Progress
from daemon.command_file.errors import CommandFolderError, CommandPendingError, NoResultError, UnacceptableError
from daemon.errors import InvalidRefError
from daemon.host.listener import Pace
from tests.support.fake_machine import NEW, FakeMachine, fails, finds_nothing_to_do, hosted
from tests.support.listening import App, listener_of, listening_process, new_folder, running

AT = "2026-01-01T00:00:00Z"


@pytest.fixture
def app(tmp_path: Path) -> App:
    return new_folder(tmp_path / "state")


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[FakeMachine]:
    async with FakeMachine(tmp_path / "m.sock") as machine:
        yield machine


def write_result(app: App, **fields: Any) -> None:
    aside = app.folder / "aside"
    aside.write_text(json.dumps({"status": "success", "message": "m", "started_at": AT, "finished_at": AT} | fields))
    aside.replace(app.result)


async def test_request_is_what_the_document_says(app: App) -> None:
    ticket = await CommandFile(app.folder).request(commit=NEW)
    written = json.loads(app.command.read_bytes())
    assert written == {"command": "update_opencode", "request_id": ticket.request_id, "commit": NEW}
    assert app.left() == {"update-command.json"}
    assert app.command.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("fields", [{"branch": "a", "commit": NEW}, {"branch": "-x"}, {"commit": "abc"}])
async def test_nonsense_is_not_written(app: App, fields: dict[str, Any]) -> None:
    with pytest.raises((UnacceptableError, InvalidRefError)):
        await CommandFile(app.folder).request(**fields)
    assert not app.left()


async def test_request_of_somebody_else_is_not_overwritten(app: App) -> None:
    app.ask(request_id="theirs")
    with pytest.raises(CommandPendingError, match="check that `refreshd listen` runs"):
        await CommandFile(app.folder).request(turn=0.1)
    assert json.loads(app.command.read_bytes())["request_id"] == "theirs"


async def test_request_waits_for_its_turn(app: App) -> None:
    app.ask(request_id="theirs")
    asking = asyncio.create_task(CommandFile(app.folder).request(request_id="mine"))
    await asyncio.sleep(0.1)
    app.command.unlink()
    await asking
    assert json.loads(app.command.read_bytes())["request_id"] == "mine"


async def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandFolderError, match="mount the host's state folder"):
        await CommandFile(tmp_path / "missing").request()


async def test_result_that_was_there_before_is_not_the_answer(app: App) -> None:
    write_result(app, request_id="again", message="old")
    file = CommandFile(app.folder)
    ticket = await file.request(request_id="again")
    assert await file.result(ticket) is None
    write_result(app, request_id="again", message="new")
    result = await file.result(ticket)
    assert result
    assert result.message == "new"


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"request_id": "r"}', b"x" * 100_000])
async def test_what_is_no_result_is_waited_over(app: App, content: bytes) -> None:
    app.result.write_bytes(content)
    assert await CommandFile(app.folder).result(Ticket("r", None)) is None


async def test_nobody_who_takes_the_request_is_told_apart_from_nobody_who_answers(app: App) -> None:
    file = CommandFile(app.folder)
    ticket = await file.request()
    with pytest.raises(NoResultError, match="nobody has taken the request"):
        await file.wait(ticket, limit=0.1)
    app.command.unlink()
    with pytest.raises(NoResultError, match="has taken the request and not answered"):
        await file.wait(ticket, limit=0.1)


async def test_whole_round_with_progress(app: App, machine: FakeMachine, tmp_path: Path) -> None:
    told: list[Progress] = []
    file = CommandFile(app.folder)
    async with running(listener_of(machine, tmp_path / "state")):
        ticket = await file.request(branch="main")
        result = await file.wait(ticket, limit=20, on_progress=told.append)
    assert (result.status, result.request_id, result.to_commit) == ("success", ticket.request_id, NEW)
    assert all(one.request_id == ticket.request_id for one in told)


async def test_of_many_writers_each_gets_its_own_answer(app: App, machine: FakeMachine, tmp_path: Path) -> None:
    machine.script = finds_nothing_to_do()
    file = CommandFile(app.folder)

    async def writer(number: int) -> str:
        ticket = await file.request(branch=f"b{number}", request_id=f"r{number}", turn=60)
        return str((await file.wait(ticket, limit=60)).request_id)

    readable = Pace(poll=0.02, interval=0.6)  # a result stays that long; writers look every quarter of a second
    async with running(listener_of(machine, tmp_path / "state", pace=readable)):
        answers = await asyncio.gather(*(writer(number) for number in range(6)))
    assert answers == [f"r{number}" for number in range(6)]
    assert sorted(seen.body["branch"] for seen in machine.asked()) == [f"b{number}" for number in range(6)]


# The command


@pytest.fixture
def settled(app: App, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setenv("REFRESHD_COMMANDS", str(app.folder))
    return app


def test_request_without_wait_says_how_it_is_named(settled: App, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["request", "--json", "--request-id", "r"]) == 0
    assert json.loads(capsys.readouterr().out) == {"request_id": "r"}
    assert settled.command.exists()


def test_request_knows_the_folder_of_the_document(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("REFRESHD_COMMANDS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["request"]) == 3
    assert f"{tmp_path}/.local/state/opencode/opencode-cloud/commands" in capsys.readouterr().err


@pytest.mark.parametrize(
    "case",
    [
        ({"status": "success", "message": "Update completed"}, 0, "Update completed"),
        ({"status": "error", "message": "cannot fetch", "outcome": "failed"}, 1, "refreshd: cannot fetch"),
        ({"status": "error", "message": "cannot undo", "outcome": "inconsistent"}, 6, "refreshd: cannot undo"),
    ],
)
def test_request_that_waits_ends_as_the_update_did(
    settled: App,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[dict[str, Any], int, str],
) -> None:
    fields, code, said = case
    original = CommandFile.request

    async def answered_at_once(file: CommandFile, **more: Any) -> Ticket:
        ticket = await original(file, **more)
        await asyncio.to_thread(write_result, settled, request_id=ticket.request_id, **fields)
        return ticket

    monkeypatch.setattr(CommandFile, "request", answered_at_once)
    assert main(["request", "--wait"]) == code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err


def test_request_that_nobody_takes_times_out(settled: App, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["request", "--wait", "--timeout", "0.1"]) == 5
    assert "nobody has taken the request" in capsys.readouterr().err
    assert settled.command.exists()


def test_request_for_nonsense_is_wrong_usage(settled: App) -> None:
    assert main(["request", "--commit", "abc"]) == 2
    assert not settled.left()


def test_listen_and_request_on_the_command_line(
    settled: App, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both commands as they are, the listener in a process of its own."""
    with hosted(FakeMachine(tmp_path / "m.sock")) as machine:
        machine.script = fails()
        with listening_process("--socket", str(machine.socket_path), "--state", str(tmp_path / "state")) as listener:
            assert main(["request", "--wait", "--timeout", "30", "--json"]) == 1
            listener.terminate()
            assert listener.wait(10) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["status"], document["outcome"]) == ("error", "failed")
    assert settled.left() == {"update-command.result.json"}
