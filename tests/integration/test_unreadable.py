"""Files that the daemon's user may not read: an update that could lose what is in them does not begin."""

import concurrent.futures.thread  # noqa: F401 - now: the interpreter's own files may be another user's
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.errors import UnreadableFilesError
from daemon.states import State
from tests.support.world import World

NOBODY = 65_534


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The daemon is not root, and somebody who is works in its checkout."""
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("only root can be somebody else, and CI has to be root")
        pytest.skip("only root can be somebody else")
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        os.chown(made, NOBODY, NOBODY)
        monkeypatch.setenv("HOME", made)
        os.seteuid(NOBODY)
        try:
            yield World(Path(made))
        finally:
            os.seteuid(0)


def write_as_root(path: Path, content: str) -> None:
    """As programs do that write atomically: a temporary file of mode 600, which is renamed."""
    os.seteuid(0)
    try:
        aside = path.with_name(".aside")
        aside.write_text(content)
        aside.chmod(0o600)
        aside.rename(path)
    finally:
        os.seteuid(NOBODY)


def content(path: Path) -> str:
    os.seteuid(0)
    try:
        return path.read_text()
    finally:
        os.seteuid(NOBODY)


@pytest.mark.parametrize("known", [False, True], ids=["in the first snapshot", "in a later one"])
@pytest.mark.parametrize("name", ["code", "new"])
async def test_an_edit_that_cannot_be_read_keeps_an_update_from_beginning(
    world: World, name: str, *, known: bool
) -> None:
    if known:
        await world.machinery.snapshots.take("earlier")
    target = world.upstream({"code": "B"})
    write_as_root(world.repo / name, "edited")
    update = await world.update(target)
    assert update.state is State.FAILED
    assert update.error
    assert update.error.code == "unreadable_files"
    assert f"what is in {name}:" in update.error.message
    assert content(world.repo / name) == "edited"
    assert world.head() == world.first


async def test_it_goes_on_when_the_file_can_be_read(world: World) -> None:
    target = world.upstream({"code": "B"})
    write_as_root(world.repo / "code", "edited")
    assert (await world.update(target)).state is State.FAILED
    os.seteuid(0)
    os.chown(world.repo / "code", NOBODY, NOBODY)
    os.seteuid(NOBODY)
    update = await world.update(target)
    assert update.state is State.RESTARTING
    assert update.preserved
    assert update.preserved.files == ("M code",)


async def test_a_file_that_git_ignores_need_not_be_read(world: World) -> None:
    target = world.upstream({"code": "B"})
    write_as_root(world.repo / "installed", "one")
    await world.machinery.snapshots.take("ignored")
    (world.repo / ".git" / "info").mkdir(exist_ok=True)
    (world.repo / ".git" / "info" / "exclude").write_text("core.*\n")
    write_as_root(world.repo / "core.1234", "dumped")
    await world.machinery.snapshots.take("excluded")
    assert content(world.repo / "core.1234") == "dumped"
    assert world.head() != target


async def test_a_folder_that_may_not_be_listed_is_left_alone(world: World) -> None:
    """Nothing in it can be replaced either."""
    target = world.upstream({"code": "B"})
    os.seteuid(0)
    (world.repo / "data").mkdir(mode=0o700)
    (world.repo / "data" / "rows").write_text("kept")
    os.seteuid(NOBODY)
    assert (await world.update(target)).state is State.RESTARTING
    assert content(world.repo / "data" / "rows") == "kept"


async def test_all_files_are_counted_and_some_named(world: World) -> None:
    for number in range(9):
        write_as_root(world.repo / f"core.{number}", "dumped")
    with pytest.raises(UnreadableFilesError, match=r"core\.0, core\.1.* more: .*chmod, chown"):
        await world.machinery.snapshots.take("some")
