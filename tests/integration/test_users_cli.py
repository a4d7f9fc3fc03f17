"""`refreshd user`: the same rules through a daemon that runs and beside one that does not."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daemon.cli import main
from tests.support.running import served


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


class Machine:
    """The commands in this process, with the state and the socket below the folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    async def refreshd(self, *words: str) -> Done:
        self._capsys.readouterr()
        code = await asyncio.to_thread(main, words)
        return Done(code, *self._capsys.readouterr())


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Machine:
    monkeypatch.setenv("REFRESHD_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("REFRESHD_RUN_DIR", str(tmp_path / "run"))
    return Machine(tmp_path, capsys)


async def test_a_token_from_the_command_opens_the_api(machine: Machine) -> None:
    async with served(machine.folder) as world:
        added = await machine.refreshd("user", "add", "ana", "--role", "update")
        sentence, token = added.stdout.splitlines()
        assert sentence == "user ana added (role update); the token, shown this once:"
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await world.get("/api/v1/version", tcp=True, **bearer)).status == 200
        renewed = (await machine.refreshd("user", "passwd", "ana", "--generate", "--json")).json["token"]
        assert (await world.get("/api/v1/version", tcp=True, **bearer)).status == 401
        bearer = {"Authorization": f"Bearer {renewed}"}
        assert (await world.get("/api/v1/version", tcp=True, **bearer)).status == 200


async def _whole_life(machine: Machine) -> None:
    assert (await machine.refreshd("user", "list")).stdout == "no users yet\n"
    assert (await machine.refreshd("user", "add", "boss", "--role", "update")).code == 0
    assert (await machine.refreshd("user", "add", "ana")).code == 0
    assert (await machine.refreshd("user", "disable", "ana")).stdout == "user ana is disabled\n"
    assert (await machine.refreshd("user", "enable", "ana")).stdout == "user ana is enabled\n"
    assert (await machine.refreshd("user", "role", "ana", "update")).stdout == "user ana has the role update\n"
    assert (await machine.refreshd("user", "remove", "boss")).stdout == "user boss is removed\n"
    refused = await machine.refreshd("user", "remove", "ana", "--json")
    assert refused.code != 0
    assert refused.json["error"]["code"] == "last_user"
    assert "add or enable another one first" in refused.stderr
    listed = await machine.refreshd("user", "list", "--json")
    assert [(user["name"], user["role"], user["enabled"]) for user in listed.json["users"]] == [("ana", "update", True)]
    assert "token_sha256" not in listed.stdout


async def test_the_rules_are_the_same_through_a_daemon(machine: Machine) -> None:
    async with served(machine.folder):
        await _whole_life(machine)


async def test_the_rules_are_the_same_where_no_daemon_listens(machine: Machine) -> None:
    (machine.folder / "state").mkdir()
    await _whole_life(machine)


async def test_where_there_is_neither_a_daemon_nor_its_state_nothing_is_made_up(machine: Machine) -> None:
    assert (await machine.refreshd("user", "add", "ana")).code == 3
    assert list(machine.folder.iterdir()) == []


async def test_a_daemon_that_was_named_is_not_replaced_by_files(machine: Machine) -> None:
    (machine.folder / "state").mkdir()
    named = ("--socket", str(machine.folder / "other.sock"))
    assert (await machine.refreshd("user", "add", "ana", *named)).code == 3
    assert list((machine.folder / "state").iterdir()) == []


@pytest.mark.parametrize("command", ["add", "passwd", "enable", "disable", "remove"])
async def test_each_command_refuses_a_name_that_could_be_misread(machine: Machine, command: str) -> None:
    (machine.folder / "state").mkdir()
    refused = await machine.refreshd("user", command, "../x", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (1, "invalid_name")
