"""Host and machine under different users, neither of them root: what one writes the other can read and take."""

import codecs
import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.command_file import contract
from daemon.command_file.folder import Folder
from daemon.host.inbox import Inbox
from daemon.models import now

HOST, MACHINE = 61_001, 61_002
_processes = multiprocessing.get_context("fork")


@pytest.fixture
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("only root can be two other users, and CI has to be root")
        pytest.skip("only root can be two other users")
    state = tmp_path_factory.mktemp("shared")
    for folder in (state, *state.parents):
        if folder.stat().st_mode & 0o001 == 0:
            folder.chmod(folder.stat().st_mode | 0o011)
    os.chown(state, HOST, HOST)
    return state


# the interpreter's own files may be another user's: what is needed later is here before
codecs.lookup("utf-8-sig")


def as_user(uid: int, work: Callable[..., Any], *arguments: Any) -> None:
    def run() -> None:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        os.umask(0o077 if uid == HOST else 0o022)
        work(*arguments)

    child = _processes.Process(target=run)
    child.start()
    child.join(20)
    assert child.exitcode == 0, f"as {uid}: {work.__name__} failed"


def make(state: Path) -> None:
    assert Inbox(state, *contract.INSIDE).next() is None


def write(state: Path) -> None:
    """As the document says, with nothing of ours; then what else the folder lets that user do."""
    folder = state.joinpath(*contract.INSIDE)
    aside = folder / "update-command.json.tmp"
    aside.write_text('{"command": "update_opencode", "request_id": "r"}')
    aside.rename(folder / contract.COMMAND)


def answer(state: Path) -> None:
    inbox = Inbox(state, *contract.INSIDE)
    assert inbox.next() is None
    claim = inbox.claim()
    assert claim
    request = contract.read_request(inbox.content(claim))
    inbox.tell(contract.Progress(state="staging", message="", update_id="", started_at=now(), at=now()))
    inbox.report(
        contract.Result(
            status="success", request_id=request.request_id, message="", started_at=now(), finished_at=now()
        )
    )
    inbox.forget(claim)


def read(state: Path) -> None:
    folder = state.joinpath(*contract.INSIDE)
    assert json.loads((folder / contract.RESULT).read_text())["request_id"] == "r"
    try:
        (folder / contract.RESULT).unlink()
    except PermissionError:
        return
    raise AssertionError("what the host has written is the host's")


def write_by_link(state: Path) -> None:
    with Folder.open(state.joinpath(*contract.INSIDE)) as folder:
        folder.create(contract.COMMAND, b'{"command": "update_opencode", "request_id": "r"}')


@pytest.mark.parametrize("writer", [write, write_by_link])
def test_whole_round_between_two_users(state: Path, writer: Callable[[Path], None]) -> None:
    for uid, work in (
        (HOST, make),
        (MACHINE, writer),
        (HOST, answer),
        (MACHINE, read),
        (MACHINE, writer),
        (HOST, answer),
    ):
        as_user(uid, work, state)
    assert {path.name for path in state.joinpath(*contract.INSIDE).iterdir()} == {contract.RESULT}
