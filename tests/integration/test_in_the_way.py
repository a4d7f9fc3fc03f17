"""What git ignores is in no snapshot, unless an update puts a file of its own there: then it would be lost."""

import asyncio
from pathlib import Path

import pytest

from daemon.errors import CheckError, RepositoryInTheWayError
from daemon.models import Update
from daemon.refs import parse_ref
from daemon.snapshots.in_the_way import in_the_way
from daemon.sources.git import GitSource
from daemon.sources.mount import MountSource
from daemon.states import State
from tests.support.world import World, git

IGNORED = ".env\nlocal\n"
MINE = "SECRET=mine\n"


class Upstream:
    """A work tree beside the machine's, which is its remote or its mount."""

    def __init__(self, world: World) -> None:
        (world.repo / ".gitignore").write_text(f"installed\n{IGNORED}")
        world.first = world.commit({})
        self.tree = world.folder / "upstream"
        git(world.folder, "clone", "--quiet", str(world.repo), str(self.tree))
        git(world.repo, "remote", "add", "origin", str(self.tree))

    def commit(self, files: dict[str, str]) -> str:
        for name, content in files.items():
            (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / name).write_text(content)
        git(self.tree, "add", "--all", "--force")
        git(self.tree, "-c", "user.name=t", "-c", "user.email=t@example.invalid", "commit", "--quiet", "--message", "x")
        return git(self.tree, "rev-parse", "HEAD")


@pytest.fixture(params=["git", "mount"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    world = World(tmp_path)
    world.upstream_tree = Upstream(world)  # type: ignore[attr-defined]  # of these tests

    async def no_token() -> None:
        return None

    if request.param == "git":
        world.source = GitSource(  # type: ignore[assignment]
            repo=world.repo, url="", token=no_token, run_dir=tmp_path, stage_timeout=30, apply_timeout=30
        )
    else:
        mount = world.upstream_tree.tree  # type: ignore[attr-defined]
        world.source = MountSource(  # type: ignore[assignment]
            repo=world.repo, mount=mount, state_dir=tmp_path / "state", stage_timeout=30, apply_timeout=30
        )
    world.new_process(world.first)
    return world


def upstream(world: World, files: dict[str, str]) -> str:
    return world.upstream_tree.commit(files)  # type: ignore[attr-defined,no-any-return]


def write(world: World, name: str, content: str = MINE) -> Path:
    path = world.repo / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


async def stored(world: World, update: Update, name: str) -> str:
    assert update.snapshot
    snapshots = world.machinery.snapshots
    assert name.encode() in await snapshots.trees.names(update.snapshot)
    return (await snapshots.git()("cat-file", "blob", f"{update.snapshot}:{name}")).text


async def test_an_ignored_file_that_an_update_replaces_is_in_its_snapshot(world: World) -> None:
    path = write(world, ".env")
    update = await world.update(upstream(world, {".env": "DEFAULT=1\n"}))
    assert (update.state, path.read_text()) == (State.RESTARTING, "DEFAULT=1\n")
    assert await stored(world, update, ".env") == MINE.strip()
    assert update.preserved
    assert update.preserved.files == ("A .env",)
    await world.restart_well()
    assert world.status() == ""


@pytest.mark.parametrize(
    ("there", "comes"), [("local/deep/f", "local"), ("local", "local/f"), ("local/f", "local/f")], ids=str
)
async def test_its_way_back_brings_it_back(world: World, there: str, comes: str) -> None:
    path = write(world, there)
    other = write(world, ".env", "not touched")
    world.checker.error = CheckError(reason="it does not run")
    update = await world.update(upstream(world, {comes: "theirs\n"}))
    assert update.state is State.ROLLED_BACK
    assert path.read_text() == MINE
    assert other.read_text() == "not touched"
    assert (world.head(), world.status()) == (world.first, "")


async def test_what_came_although_it_is_ignored_goes_with_the_way_back_and_an_edit_of_it_is_kept(world: World) -> None:
    async def check(*, new_libraries: bool) -> str:
        assert not new_libraries
        await asyncio.to_thread(write, world, ".env")
        raise CheckError(reason="it does not run")

    world.checker.check = check  # type: ignore[method-assign]  # the step in which it happens
    update = await world.update(upstream(world, {".env": "DEFAULT=1\n", "local/f": "theirs\n"}))
    assert update.state is State.ROLLED_BACK
    assert not (world.repo / ".env").exists()
    assert not (world.repo / "local").exists()
    (note,) = (note for note in update.notes if "edits made after" in note)
    assert (await world.machinery.snapshots.git()("cat-file", "blob", f"{note.split()[-2]}:.env")).text == MINE.strip()


async def test_a_link_in_place_of_a_folder_is_in_the_snapshot_and_what_it_leads_to_is_not(world: World) -> None:
    elsewhere = world.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "f").write_text(MINE)
    (world.repo / "local").symlink_to(elsewhere)
    update = await world.update(upstream(world, {"local/f": "theirs\n"}))
    assert await stored(world, update, "local") == str(elsewhere)
    assert (world.repo / "local" / "f").read_text() == "theirs\n"
    assert (elsewhere / "f").read_text() == MINE


async def test_a_rollback_keeps_what_it_replaces_too(world: World) -> None:
    with_it = upstream(world, {".env": "DEFAULT=1\n"})
    await world.update(with_it)
    await world.restart_well()
    git(world.upstream_tree.tree, "rm", "--quiet", ".env")  # type: ignore[attr-defined]
    await world.update(upstream(world, {"code": "C"}))
    await world.restart_well()
    path = write(world, ".env")
    back = await world.engine.rollback(None, trigger="test")
    back = await world.engine.wait(back.id)
    assert back.state is State.RESTARTING
    assert path.read_text() == "DEFAULT=1\n"
    assert await stored(world, back, ".env") == MINE.strip()


async def test_an_ignored_file_that_no_update_touches_is_not_stored(world: World) -> None:
    path = write(world, ".env")
    update = await world.update(upstream(world, {"new": "1\n"}))
    assert update.snapshot
    assert b".env" not in await world.machinery.snapshots.trees.names(update.snapshot)
    assert update.preserved is None
    assert path.read_text() == MINE


async def test_a_dry_run_stores_nothing(world: World) -> None:
    write(world, ".env")
    plan = await world.engine.plan(parse_ref(upstream(world, {".env": "DEFAULT=1\n"})))
    assert plan.apply
    assert not await asyncio.to_thread((world.folder / "state" / "snapshots").exists)


async def test_what_is_ignored_in_a_folder_that_took_the_place_of_a_file_is_kept(world: World) -> None:
    (world.repo / "code").unlink()
    path = write(world, "code/.env")
    world.checker.error = CheckError(reason="it does not run")
    update = await world.update(upstream(world, {"code": "C"}))
    assert update.state is State.ROLLED_BACK
    assert await stored(world, update, "code/.env") == MINE.strip()
    assert path.read_text() == MINE


async def test_an_ignored_file_that_is_tracked_no_more_is_kept_before_it_is_brought_back(world: World) -> None:
    await world.update(upstream(world, {".env": "DEFAULT=1\n"}))
    await world.restart_well()
    git(world.repo, "rm", "--quiet", "--cached", ".env")
    path = write(world, ".env")
    update = await world.update(upstream(world, {"more": "1\n"}))
    assert (update.state, path.read_text()) == (State.RESTARTING, "DEFAULT=1\n")
    assert await stored(world, update, ".env") == MINE.strip()


@pytest.mark.parametrize(("folder", "comes"), [("other", "other/f"), ("local", "local/f"), ("local/deep", "local")])
async def test_a_repository_in_the_way_is_not_touched_and_no_update_begins(
    world: World, folder: str, comes: str
) -> None:
    """Of what it has not committed nothing would be left."""
    path = write(world, f"{folder}/f")
    git(path.parent, "init", "--quiet")
    update = await world.update(upstream(world, {comes: "theirs\n"}))
    assert update.state is State.FAILED
    assert update.error
    assert update.error.code == "repository_in_the_way"
    assert f"into {folder}:" in update.error.message
    assert path.read_text() == MINE
    (world.repo / folder).rename(world.folder / "elsewhere")
    assert (await world.update(upstream(world, {"more": "1\n"}))).state is State.RESTARTING


async def test_a_repository_beside_what_comes_is_left_alone(world: World) -> None:
    path = write(world, "other/f")
    git(path.parent, "init", "--quiet")
    git(path.parent, "add", "f")
    git(path.parent, "-c", "user.name=t", "-c", "user.email=t@example.invalid", "commit", "--quiet", "--message", "x")
    update = await world.update(upstream(world, {"more": "1\n"}))
    assert (update.state, path.read_text()) == (State.RESTARTING, MINE)


def test_what_is_in_the_way_is_found_at_above_and_below_a_name(tmp_path: Path) -> None:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    for name in ("file", "folder/a", "folder/deep/b"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder" / "link").symlink_to("nowhere")
    assert in_the_way(tmp_path, [b"absent", b"absent/x", b"folder/absent"]) == frozenset()
    assert in_the_way(tmp_path, [b"file/x/y", b"file"]) == {b"file"}
    assert in_the_way(tmp_path, [b"folder"]) == {b"folder/a", b"folder/deep/b", b"folder/link"}
    assert in_the_way(tmp_path, [b"folder/link/x", b"folder/deep/b"]) == {b"folder/link", b"folder/deep/b"}


def test_a_submodule_that_is_known_is_in_the_way_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in (".git", "file"):
        (tmp_path / "inner" / name).write_text("")
    for path in (b"inner", b"inner/file"):
        assert in_the_way(tmp_path, [path], [b"inner"]) == frozenset()
        with pytest.raises(RepositoryInTheWayError, match="into inner:"):
            in_the_way(tmp_path, [path])
