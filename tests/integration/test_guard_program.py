"""The guard itself, in front of a daemon that does as it is told: what it runs, what it counts and what it ends."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.machine_root import PROJECT, MachineRoot

GUARD = PROJECT / "s6-overlay/usr/libexec/refreshd/guard"
SHORT = {"REFRESHD_CHECK_TIMEOUT": "1", "REFRESHD_VERIFY_TIMEOUT": "1", "REFRESHD_LISTEN": "none"}


class State:
    """A state folder with a way back that tells when it was run, and a launcher that ends with `codes` in turn."""

    def __init__(self, folder: Path, *codes: int) -> None:
        self.folder = folder
        self.undo = folder / "undo"
        self.launcher = folder / "launcher"
        self.undo.mkdir()
        (self.undo / "undo.sh").write_text(f"echo run >>{folder}/undone\n")
        (folder / "codes").write_text("".join(f"{code}\n" for code in codes))
        self.launcher.write_text(
            f'#!/bin/sh\necho "$@" >>{folder}/launched\n'
            f"code=$(head -n 1 {folder}/codes)\nsed -i 1d {folder}/codes\n"
            '[ "$code" -ne 137 ] || kill -KILL $$\nexit "$code"\n'
        )
        self.launcher.chmod(0o755)

    def guard(self) -> int:
        env = {"PATH": os.environ["PATH"], "REFRESHD_STATE_DIR": str(self.folder)}
        argv = (GUARD, self.launcher)
        return subprocess.run(argv, cwd=self.folder, env=env, check=False, capture_output=True, timeout=30).returncode

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


def test_a_half_applied_update_is_recovered_by_the_images_daemon_alone(tmp_path: Path) -> None:
    state = State(tmp_path, 0)
    assert state.guard() == 0
    assert (state.lines("launched"), state.lines("undone")) == (["recover"], [])


def test_a_verdict_for_the_rescue_is_final(tmp_path: Path) -> None:
    state = State(tmp_path, 3)
    assert state.guard() == 1
    assert (state.lines("launched"), state.lines("undone")) == (["recover"], [])


@pytest.mark.parametrize("code", [1, 100, 127])
def test_a_recovery_that_cannot_be_run_is_replaced_by_the_way_back_as_it_is(tmp_path: Path, code: int) -> None:
    state = State(tmp_path, code)
    assert state.guard() == 0
    assert (state.lines("launched"), state.lines("undone")) == (["recover"], ["run"])
    assert (state.undo / "undo.sh").exists()


def test_the_way_back_is_run_as_it_is_only_once_and_then_the_rescue_serves(tmp_path: Path) -> None:
    state = State(tmp_path, 1, 1)
    assert [state.guard(), state.guard()] == [0, 1]
    assert state.lines("undone") == ["run"]


def test_a_way_back_that_fails_needs_the_rescue(tmp_path: Path) -> None:
    state = State(tmp_path, 1)
    (state.undo / "undo.sh").write_text("exit 3\n")
    assert state.guard() == 1


def test_a_recovery_that_was_killed_is_tried_again(tmp_path: Path) -> None:
    state = State(tmp_path, 137, 137, 0)
    assert state.guard() == 0
    assert (state.lines("launched"), state.lines("undone")) == (["recover"] * 3, [])


def test_three_starts_in_vain_are_looked_into_at_the_fourth(tmp_path: Path) -> None:
    state = State(tmp_path, 0)
    (state.undo / "undo.sh").unlink()
    assert [state.guard() for _ in range(3)] == [0, 0, 0]
    assert state.lines("launched") == []
    assert state.guard() == 0
    assert state.lines("launched") == ["recover --crashing"]


@pytest.mark.parametrize("count", ["", "x", "-1", "99999999"])
def test_a_count_that_makes_no_sense_begins_anew(tmp_path: Path, count: str) -> None:
    state = State(tmp_path)
    (state.undo / "undo.sh").unlink()
    (tmp_path / "starts").write_text(count)
    assert state.guard() == 0
    assert state.lines("starts") == ["1"]


def test_a_folder_that_cannot_be_written_keeps_no_daemon_from_starting(tmp_path: Path) -> None:
    state = State(tmp_path)
    (state.undo / "undo.sh").unlink()
    env = {"PATH": os.environ["PATH"], "REFRESHD_STATE_DIR": "/proc/self/state"}
    assert subprocess.run((GUARD, state.launcher), cwd=tmp_path, env=env, check=False, timeout=30).returncode == 0


async def test_code_that_hangs_is_ended_counted_and_replaced_by_the_rescue(tmp_path: Path) -> None:
    machine = MachineRoot(tmp_path)
    machine.behave(serve={"ready": False})
    async with machine.start(**SHORT) as s6:
        await s6.service("refreshd").wait_ready()
    assert len(machine.starts("serve")) == 3
    assert machine.log().count("the code is not ready after 2 s and is ended") == 3
    assert "the guard looks into it: --crashing" in machine.log()
    assert "daemon is ready" in machine.log()


async def test_an_update_that_hangs_is_not_tried_again(tmp_path: Path) -> None:
    machine = MachineRoot(tmp_path)
    (tmp_path / "state/undo").mkdir(parents=True)
    for name in ("undo.sh", "applied"):
        (tmp_path / "state/undo" / name).touch()
    machine.behave(serve={"ready": False})
    async with machine.start(**SHORT) as s6:
        await s6.service("refreshd").wait_ready()
    assert len(machine.starts("serve")) == 1
    assert "the guard looks into it: --crashing" in machine.log()


@pytest.mark.parametrize("ready", [True, False], ids=["ready", "s6 is not told"])
async def test_a_daemon_is_left_alone_when_it_is_ready_or_when_nobody_can_know(tmp_path: Path, ready: bool) -> None:  # noqa: FBT001 - a case
    machine = MachineRoot(tmp_path)
    machine.behave(serve={"ready": ready})
    if not ready:
        (machine.definitions / "refreshd/notification-fd").unlink()
    async with machine.start(**SHORT) as s6:
        pid = await s6.service("refreshd").wait_up()
        await asyncio.sleep(3.5)
        assert await s6.service("refreshd").wait_up() == pid
    assert len(machine.starts("serve")) == 1
