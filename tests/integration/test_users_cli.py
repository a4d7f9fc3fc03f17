"""`refreshd user`: the same rules through a daemon that runs and beside one that does not."""

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daemon.cli import main
from daemon.cli.exit_codes import ExitCode
from tests.support.running import TOKEN, Served, served


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


TOLD = re.compile(r"rfd_[A-Za-z0-9_-]+|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00)?")
# every command, where it does what it is told and where the rules say no
LIFE = (
    "list",
    "add boss --role update",
    "add ana",
    "add ana",
    "add Bad",
    "add quiet --quiet",
    "list",
    "passwd ana --generate",
    "passwd nobody",
    "passwd ../x",
    "disable ana",
    "list",
    "disable boss",
    "disable nobody",
    "disable ../x",
    "enable ana",
    "enable nobody",
    "enable ../x",
    "role ana update",
    "role ana read",
    "role boss read",
    "role nobody update",
    "role ../x update",
    "remove ana",
    "remove ana",
    "remove boss",
    "remove ../x",
    "list",
)
REFUSALS = {
    *("add ana", "add Bad", "passwd nobody", "passwd ../x", "disable boss", "disable nobody", "disable ../x"),
    *("enable nobody", "enable ../x", "role boss read", "role nobody update", "role ../x update", "remove ana"),
    *("remove boss", "remove ../x"),
}


async def _life(machine: Machine, *options: str) -> list[tuple[str, Done]]:
    """What each command came to, apart from tokens and times."""
    told = []
    for line in LIFE:
        done = await machine.refreshd("user", *line.split(), *options)
        assert line != "passwd ana --generate" or "rfd_" in done.stdout
        told.append((line, Done(done.code, TOLD.sub("…", done.stdout), TOLD.sub("…", done.stderr))))
    return told


def _named(way: str, world: Served, folder: Path) -> tuple[str, ...]:
    match way:
        case "socket":
            return ("--socket", str(world.socket))
        case "url":
            (folder / "token").write_text(TOKEN)
            return ("--url", world.tcp_url, "--token-file", str(folder / "token"))
        case _:
            return ()


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
async def test_every_command_says_the_same_on_every_way(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    (machine.folder / "state").mkdir()
    beside = await _life(machine, *form)
    assert {line for line, done in beside if done.code} == REFUSALS
    assert {done.code for _, done in beside} == {ExitCode.DONE, ExitCode.REFUSED}
    assert all(bool(done.stderr) == bool(done.code) for _, done in beside)
    for way in ("default", "socket", "url"):
        folder = machine.folder / way
        folder.mkdir()
        monkeypatch.setenv("REFRESHD_RUN_DIR", str(folder / "run") if way == "default" else "/nowhere")
        async with served(folder, REFRESHD_TOKEN=TOKEN) as world:
            assert await _life(machine, *form, *_named(way, world, folder)) == beside


async def test_what_is_not_done_is_the_same_document_with_and_without_a_daemon(machine: Machine) -> None:
    (machine.folder / "state").mkdir()
    await machine.refreshd("user", "add", "boss", "--role", "update")
    refused = await machine.refreshd("user", "remove", "boss", "--json")
    assert (refused.code, refused.json["error"]["code"], refused.json["error"]["status"]) == (4, "last_user", 409)
    assert "add or enable another one first" in refused.stderr


async def test_a_token_is_in_no_list(machine: Machine) -> None:
    (machine.folder / "state").mkdir()
    token = (await machine.refreshd("user", "add", "boss", "--json")).json["token"]
    for form in ((), ("--json",)):
        listed = (await machine.refreshd("user", "list", *form)).stdout
        assert token not in listed
        assert "sha256" not in listed


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
    assert (refused.code, refused.json["error"]["code"]) == (4, "invalid_name")
