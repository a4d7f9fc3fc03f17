"""Nothing of an update is believed before the disk has it; and a disk that is merely slow holds nothing up."""

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.durable import flush
from daemon.errors import CommandFailedError, NoSpaceError
from daemon.states import State
from tests.support.world import World


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for `sync`; to be written."""
    program = tmp_path / "bin" / "sync"
    program.parent.mkdir()
    program.touch(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


async def test_the_file_system_of_the_folder_is_synced(tmp_path: Path, program: Path) -> None:
    program.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/called\nexec /bin/sync "$@"\n')
    await flush(tmp_path, 30)
    assert (tmp_path / "called").read_text() == f"-f {tmp_path}\n"


async def test_a_slow_disk_is_told_and_not_waited_for(tmp_path: Path, program: Path) -> None:
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    with capture_logs() as logs:
        await flush(tmp_path, 0.2)
    assert [entry["event"] for entry in logs] == ["the update may not survive a power cut yet"]


async def test_a_disk_that_loses_what_it_is_given_is_an_error(tmp_path: Path, program: Path) -> None:
    program.write_text("#!/bin/sh\necho 'sync: error syncing: Input/output error' >&2\nexit 1\n")
    with pytest.raises(CommandFailedError) as failed:
        await flush(tmp_path, 30)
    assert "Input/output error" in failed.value.detail


async def test_a_disk_that_is_full_when_it_writes_is_called_full(tmp_path: Path, program: Path) -> None:
    program.write_text("#!/bin/sh\necho 'sync: error syncing: No space left on device' >&2\nexit 1\n")
    with pytest.raises(NoSpaceError):
        await flush(tmp_path, 30)


async def test_an_update_that_the_disk_does_not_keep_is_undone(tmp_path: Path, program: Path) -> None:
    (tmp_path / "machine").mkdir()
    world = World(tmp_path / "machine")
    program.write_text("#!/bin/sh\ntest $# -eq 0\n")  # the way back ends with a plain one
    update = await world.update(world.upstream({"code": "B"}))
    assert (update.state, world.head(), world.restarts) == (State.ROLLED_BACK, world.first, 0)
