"""Snapshots for people over real sockets, their bounds, and what happens when their repository is damaged."""

import asyncio
import json
import os
import re
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from daemon.app import Daemon, build
from daemon.errors import BusyError, CommandFailedError, NoSpaceError, RestartingError
from daemon.full_disk import disk_full_blamed
from daemon.git import AUTHOR
from daemon.lock import MachineLock
from daemon.models import Update
from daemon.server.listening import listeners
from daemon.server.serve import serve
from daemon.settings import Settings
from daemon.snapshots import broken
from daemon.snapshots.kept import Kept
from daemon.snapshots.store import Snapshots
from daemon.states import Event, State
from daemon.supervisor import ExitCode
from daemon.trees import blob_id
from tests.support.running import TOKEN, Served, new_checkout, served
from tests.support.s6 import eventually
from tests.support.world import World, git

API = "/api/v1/snapshots"
ODD = b"new\nline-\xff"


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as running:
        yield running


def snapshots_of(machine: Served) -> Snapshots:
    return machine.daemon.shelf._snapshots


async def take(machine: Served, label: str = "a label", update: str | None = None, head: str | None = None) -> str:
    return (await snapshots_of(machine).take(label, update=update, head=head)).commit


def write(repo: Path, name: bytes, content: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(repo) + b"/" + name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def content(repo: Path, name: bytes) -> bytes:
    return Path(os.fsdecode(os.fsencode(repo) + b"/" + name)).read_bytes()


async def test_the_list_is_newest_first_by_order_and_not_by_the_clock(
    machine: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await machine.get(API)).json == {"snapshots": [], "next_cursor": None}
    snapshots, taken = snapshots_of(machine), []
    for year in (2030, 2001, 2020):
        clock = {"GIT_COMMITTER_DATE": f"{year}-01-02T03:04:05Z"}
        monkeypatch.setattr("daemon.snapshots.repository.AUTHOR", {**AUTHOR, **clock})
        taken.append((await snapshots.take(f"in {year}")).commit)
    listed = (await machine.get(API)).json["snapshots"]
    assert [one["id"] for one in listed] == taken[::-1]
    assert [one["label"] for one in listed] == ["in 2020", "in 2001", "in 2030"]
    assert listed[1]["taken_at"] == "2001-01-02T03:04:05.000Z"


async def test_a_snapshot_tells_its_update_and_the_local_edits_of_then(machine: Served) -> None:
    head = git(machine.repo, "rev-parse", "HEAD")
    write(machine.repo, b"file", b"mine")
    write(machine.repo, ODD, b"odd")
    commit = await take(machine, update="000001-abcdef", head=head)
    shown = (await machine.get(f"{API}/{commit[:8]}")).json
    assert (shown["id"], shown["update"], shown["head"], shown["label"]) == (commit, "000001-abcdef", head, "a label")
    assert set(shown["edits"]["files"]) == {"M file", r"A new\nline-\xff"}


async def test_local_edits_are_unknown_where_the_commit_of_then_is_gone(machine: Served) -> None:
    commit = await take(machine, head=git(machine.repo, "rev-parse", "HEAD"))
    for words in (
        ("remote", "remove", "origin"),
        ("commit", "--quiet", "--amend", "--message", "another"),
        ("reflog", "expire", "--expire=now", "--all"),
        ("prune", "--expire=now"),
    ):
        git(machine.repo, *words)
    assert (await machine.get(f"{API}/{commit}")).json["edits"] is None


async def test_two_snapshots_and_the_checkout_of_now_can_be_compared(machine: Served) -> None:
    first = await take(machine)
    write(machine.repo, b"file", b"two")
    second = await take(machine)
    write(machine.repo, b"added", b"x")
    (machine.repo / "file").unlink()
    between = (await machine.get(f"{API}/{first}/diff/{second}")).json
    assert (between["a"], between["b"], between["changes"]["files"]) == (first, second, ["M file"])
    now = (await machine.get(f"{API}/{second}/diff/now")).json
    assert (now["b"], now["changes"]["files"]) == ("now", ["A added", "D file"])


@pytest.mark.parametrize("wrong", ["zz", "abc", "f" * 40, "HEAD", "-x", "..", "%2e%2e"])
async def test_an_id_that_names_no_snapshot_is_not_found(machine: Served, wrong: str) -> None:
    await take(machine)
    assert (await machine.get(f"{API}/{wrong}")).status == 404


async def test_an_id_that_fits_two_snapshots_is_refused(machine: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.snapshots.kept._ID", re.compile("[0-9a-f]*"))
    for number in range(17):  # two of them begin alike
        await take(machine, f"label {number}")
    by_digit = [one["id"][0] for one in (await machine.get(API)).json["snapshots"]]
    twice = next(digit for digit in by_digit if by_digit.count(digit) > 1)
    answer = await machine.get(f"{API}/{twice}")
    assert (answer.status, answer.json["code"]) == (400, "bad_request")
    assert "give more of it" in answer.json["detail"]


async def test_a_restore_brings_everything_back_and_says_where_the_rest_is(machine: Served) -> None:
    write(machine.repo, b"file", b"mine\r\n")
    (machine.repo / "link").symlink_to("file")
    write(machine.repo, ODD, b"\xff\0")
    commit = await take(machine)
    write(machine.repo, b"file", b"spoilt")
    write(machine.repo, b"later", b"later")
    (machine.repo / "link").unlink()
    write(machine.repo, ODD, b"spoilt")
    answer = await machine.post(f"{API}/{commit}/restore", {})
    assert answer.status == 200
    assert set(answer.json["changes"]["files"]) == {"M file", "D later", "A link", r"M new\nline-\xff"}
    assert (content(machine.repo, b"file"), content(machine.repo, ODD)) == (b"mine\r\n", b"\xff\0")
    assert (machine.repo / "link").readlink() == Path("file")
    assert not (machine.repo / "later").exists()
    again = await machine.post(f"{API}/{answer.json['before']}/restore", {"paths": ["later", "file"]})
    assert again.status == 200
    assert (content(machine.repo, b"later"), content(machine.repo, b"file")) == (b"later", b"spoilt")


async def test_paths_are_restored_literally_and_folders_with_what_is_below_them(machine: Served) -> None:
    for name in (b"*", b"a/one", b"a/b/two", b"ab", b":(top)x"):
        write(machine.repo, name, b"old")
    commit = await take(machine)
    for name in (b"*", b"a/one", b"a/b/two", b"ab", b":(top)x"):
        write(machine.repo, name, b"new")
    answer = await machine.post(f"{API}/{commit}/restore", {"paths": ["*", "a/", ":(top)x"]})
    assert set(answer.json["changes"]["files"]) == {"M *", "M a/one", "M a/b/two", "M :(top)x"}
    assert content(machine.repo, b"ab") == b"new"


async def test_a_name_that_is_not_utf_8_goes_by_the_form_in_which_it_is_shown(machine: Served) -> None:
    write(machine.repo, ODD, b"old")
    commit = await take(machine)
    write(machine.repo, ODD, b"new")
    answer = await machine.post(f"{API}/{commit}/restore", {"paths": [r"new\nline-\xff"]})
    assert (answer.status, content(machine.repo, ODD)) == (200, b"old")


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./file", ".git/config", "sub/.GIT/hooks", "x\0y"]
)
async def test_a_path_outside_the_checkout_is_refused_and_nothing_is_touched(machine: Served, path: str) -> None:
    commit = await take(machine)
    write(machine.repo, b"file", b"changed")
    answer = await machine.post(f"{API}/{commit}/restore", {"paths": [path]})
    assert (answer.status, answer.json["code"]) == (400, "bad_request")
    assert content(machine.repo, b"file") == b"changed"
    assert len((await machine.get(API)).json["snapshots"]) == 1


async def test_an_unknown_path_is_not_found_and_nothing_is_touched(machine: Served) -> None:
    commit = await take(machine)
    write(machine.repo, b"file", b"changed")
    answer = await machine.post(f"{API}/{commit}/restore", {"paths": ["file", "fil"]})
    assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert content(machine.repo, b"file") == b"changed"


async def test_a_link_that_leads_out_of_the_checkout_is_replaced_and_not_followed(
    machine: Served, tmp_path: Path
) -> None:
    write(machine.repo, b"folder/file", b"inside")
    commit = await take(machine)
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.rmtree(machine.repo / "folder")
    (machine.repo / "folder").symlink_to(outside)
    answer = await machine.post(f"{API}/{commit}/restore", {"paths": ["folder/file"]})
    assert answer.status == 200
    assert list(outside.iterdir()) == []
    assert (machine.repo / "folder" / "file").read_bytes() == b"inside"
    assert not (machine.repo / "folder").is_symlink()


async def test_a_restore_needs_the_right_to_update(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    async with served(tmp_path, REFRESHD_TOKEN_FILE=str(token_file)) as machine:
        commit = await take(machine)
        assert (await machine.post(f"{API}/{commit}/restore", {}, tcp=True)).status == 401
        assert (await machine.get(API, tcp=True)).status == 401
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert (await machine.post(f"{API}/{commit}/restore", {}, tcp=True, **bearer)).status == 200


async def test_a_restore_is_refused_while_an_update_runs(machine: Served) -> None:
    commit = await take(machine)
    update = await running(machine, {"request": {"target_ref": "main"}})
    answer = await machine.post(f"{API}/{commit}/restore", {})
    assert (answer.status, answer.json["code"], answer.json["update"]) == (409, "machine_busy", update.id)
    assert (await machine.get(f"{API}/{commit}/diff/now")).status == 409
    assert (await machine.get(f"{API}/{commit}")).status == 200


async def test_the_command_line_lists_shows_compares_and_restores(machine: Served) -> None:
    async def refreshd(*words: str | bytes) -> tuple[int | None, str]:
        argv = (sys.executable, "-m", "daemon", "snapshots", *words, "--socket", str(machine.socket))
        child = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, stderr=DEVNULL)
        output, _ = await child.communicate()
        return child.returncode, output.decode()

    assert await refreshd("list") == (0, "no snapshots yet\n")
    write(machine.repo, ODD, b"old")
    commit = await take(machine, head=git(machine.repo, "rev-parse", "HEAD"))
    write(machine.repo, ODD, b"new")
    assert (await refreshd("list"))[1].startswith(commit[:12])
    assert r"A new\nline-\xff" in (await refreshd("show", commit[:8]))[1]
    assert await refreshd("diff", commit) == (0, "M new\\nline-\\xff\n")
    code, out = await refreshd("restore", commit, ODD, "--json")
    assert code == 0
    assert content(machine.repo, ODD) == b"old"
    assert (await refreshd("show", json.loads(out)["before"]))[0] == 0
    assert await refreshd("diff", commit) == (0, "no file differs\n")
    assert (await refreshd("show", "f" * 40))[0] == 4


# Bounds.


def kept_of(world: World, *, keep: int = 50, max_bytes: int = 1 << 30) -> Kept:
    return Kept(world.machinery.snapshots, keep=keep, max_bytes=max_bytes)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def filled(world: World, count: int, size: int = 100) -> list[str]:
    ids = []
    for number in range(count):
        (world.repo / f"noise-{number}").write_bytes(os.urandom(size))
        ids.append((await world.machinery.snapshots.take(f"number {number}")).commit)
        (world.repo / f"noise-{number}").unlink()
    return ids


async def test_the_newest_are_kept_and_what_only_the_others_held_is_gone(world: World) -> None:
    ids = await filled(world, 5)
    kept = kept_of(world, keep=2)
    assert await kept.prune(protected=()) == 3
    assert [one.id for one in await kept.all()] == ids[:2:-1]
    assert await world.machinery.snapshots.trees.of(ids[0]) is None
    assert await kept.damage() == ""
    assert await kept.prune(protected=()) == 0
    assert (await world.machinery.snapshots.take("after")).tree


async def test_the_order_goes_on_after_the_oldest_went(world: World) -> None:
    await filled(world, 3)
    kept = kept_of(world, keep=1)
    await kept.prune(protected=())
    newest = (await world.machinery.snapshots.take("newest")).commit
    assert next(iter(await kept.all())).id == newest


async def test_space_is_bounded_and_the_newest_stays_whatever_it_takes(world: World) -> None:
    ids = await filled(world, 6, size=100_000)
    kept = kept_of(world, max_bytes=350_000)
    await kept.prune(protected=())
    left = [one.id for one in await kept.all()]
    assert left == ids[: -len(left) - 1 : -1]
    assert 2 <= len(left) <= 3
    await kept_of(world, max_bytes=1).prune(protected=())
    assert [one.id for one in await kept.all()] == ids[-1:]


async def test_the_first_snapshot_is_one_pack_and_gives_its_space_back_too(world: World) -> None:
    for number in range(5):
        (world.repo / f"noise-{number}").write_bytes(os.urandom(100_000))
    first = await world.machinery.snapshots.take("first")
    packs = list((world.machinery.snapshots.folder / "objects" / "pack").glob("*.pack"))
    assert [path.stat().st_size > 500_000 for path in packs] == [True]
    assert b"noise-4" in await world.machinery.snapshots.trees.names(first.commit)
    for number in range(1, 5):
        (world.repo / f"noise-{number}").unlink()
    second = await world.machinery.snapshots.take("second")
    await kept_of(world, max_bytes=300_000).prune(protected=())
    assert [one.id for one in await kept_of(world).all()] == [second.commit]
    assert await kept_of(world)._size() < 300_000
    assert await kept_of(world).damage() == ""


def packs_of(world: World) -> dict[str, int]:
    """Each with the inode of its file: a repack writes it anew, under the same name."""
    return {
        path.name: path.stat().st_ino for path in (world.machinery.snapshots.folder / "objects/pack").glob("*.pack")
    }


async def test_a_repository_is_not_packed_again_and_again_because_its_newest_is_too_large(world: World) -> None:
    (world.repo / "noise").write_bytes(os.urandom(500_000))
    await world.machinery.snapshots.take("large")
    packs = packs_of(world)
    assert packs
    for _ in range(2):
        await kept_of(world, max_bytes=400_000).prune(protected=())
        assert packs_of(world) == packs


async def test_a_large_file_is_stored_at_once_and_as_it_is(world: World) -> None:
    """Making it smaller takes as long for one that cannot be made smaller."""
    await world.machinery.snapshots.take("before")
    (world.repo / "zeros").write_bytes(bytes(5_000_000))
    (world.repo / "few zeros").write_bytes(bytes(1_000_000))
    taken = await world.machinery.snapshots.take("large")
    assert 5_000_000 < await kept_of(world)._size() < 5_500_000
    (world.repo / "zeros").write_bytes(b"other")
    await world.machinery.snapshots.trees.restore_files(taken.tree, [b"zeros"])
    assert (world.repo / "zeros").read_bytes() == bytes(5_000_000)


async def test_what_is_needed_stays_whatever_the_bounds_say(world: World) -> None:
    ids = await filled(world, 4)
    kept = kept_of(world, keep=1, max_bytes=1)
    await kept.prune(protected=ids[:1])
    assert [one.id for one in await kept.all()] == [ids[3], ids[0]]


async def test_the_last_update_can_be_rolled_back_after_old_snapshots_went(machine: Served) -> None:
    first = await take(machine, "needed")
    update = await running(machine, {"request": {"target_ref": "main"}, "snapshot": first})
    others = []
    for number in range(3):
        write(machine.repo, b"file", str(number).encode())
        others.append(await take(machine))
    shelf = machine.daemon.shelf
    shelf._kept._keep = 1
    with pytest.raises(BusyError):
        await shelf.prune()
    await finish(machine, update.id)
    await shelf.prune()
    assert [one.id for one in (await shelf.page(200)).snapshots] == [others[-1], first]


async def running(machine: Served, facts: dict[str, object]) -> Update:
    """An update that holds the machine's lock until `finish`."""
    assert await asyncio.to_thread(machine.daemon.engine._m.lock.acquire)
    return await machine.daemon.journal.create(facts)


async def finish(machine: Served, update_id: str) -> None:
    await machine.daemon.journal.advance(update_id, Event.FAIL)
    machine.daemon.engine._m.lock.release()


async def test_upkeep_prunes_by_itself_and_ends_when_it_is_told(machine: Served) -> None:
    machine.daemon.shelf._kept._keep = 1
    for number in range(2):
        write(machine.repo, b"file", str(number).encode())
        await take(machine)
    upkeep = asyncio.create_task(machine.daemon.shelf.upkeep())
    folder = snapshots_of(machine).folder / "refs" / "snapshots"
    await eventually(lambda: len(list(folder.iterdir())) == 1, "one snapshot is left")
    upkeep.cancel()
    await asyncio.wait({upkeep})
    assert upkeep.cancelled()


# Damage.


def objects(folder: Path) -> list[Path]:
    return [path for path in (folder / "objects").glob("*/*") if path.is_file()]


def truncate(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:5])


def truncate_all_objects(folder: Path) -> None:
    for path in objects(folder):
        truncate(path)


def empty_all_objects(folder: Path) -> None:
    for path in objects(folder):
        path.chmod(0o600)
        path.write_bytes(b"")


def remove_head(folder: Path) -> None:
    (folder / "HEAD").unlink()


def lose_objects(folder: Path) -> None:
    shutil.rmtree(folder / "objects")


@pytest.mark.parametrize("damage", [truncate_all_objects, empty_all_objects, remove_head, lose_objects])
async def test_a_damaged_repository_is_put_aside_and_the_update_goes_on(
    world: World, damage: Callable[[Path], None]
) -> None:
    snapshots = world.machinery.snapshots
    await snapshots.take("earlier")
    damage(snapshots.folder)
    target = world.upstream({"code": "B"})
    (world.repo / "mine").write_text("mine")
    update = await world.update(target)
    assert update.state is State.RESTARTING
    assert any("damaged" in note and "snapshots.broken-1" in note for note in update.notes)
    assert (snapshots.folder.parent / "snapshots.broken-1").is_dir()
    assert update.snapshot
    assert b"mine" in await snapshots.trees.names(update.snapshot)
    assert await kept_of(world).damage() == ""


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"DIRC\0\0\0\2\xff\xff\xff\xff"])
async def test_a_garbled_index_costs_no_snapshot(world: World, garbage: bytes) -> None:
    snapshots = world.machinery.snapshots
    earlier = await snapshots.take("earlier")
    snapshots.index.write_bytes(garbage)
    again = await snapshots.take("again")
    assert again.tree == earlier.tree
    assert again.notes == ()
    assert [one.id for one in await kept_of(world).all()] == [again.commit, earlier.commit]


async def test_a_stale_lock_is_removed(world: World) -> None:
    snapshots = world.machinery.snapshots
    await snapshots.take("earlier")
    lock = snapshots.index.with_name(f"{snapshots.index.name}.lock")
    lock.write_bytes(b"")
    (snapshots.folder / "packed-refs.lock").write_bytes(b"")
    (world.repo / "code").write_text("changed")
    assert (await snapshots.take("again")).notes == ()
    assert not lock.exists()


async def test_where_a_new_repository_does_not_help_the_old_one_is_put_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots = world.machinery.snapshots
    earlier = (await snapshots.take("earlier")).commit

    async def fails(*_: object) -> None:
        raise CommandFailedError(command="git add", exit_code=128)

    monkeypatch.setattr(snapshots, "_take", fails)
    with pytest.raises(CommandFailedError):
        await snapshots.take("again")
    monkeypatch.undo()
    assert [one.id for one in await kept_of(world).all()] == [earlier]
    assert list(snapshots.folder.parent.glob("*.broken-*")) == []


async def test_a_damaged_file_is_found_before_it_is_needed(machine: Served) -> None:
    snapshots = snapshots_of(machine)
    await take(machine)
    write(machine.repo, b"file", b"precious")
    await take(machine)
    blob = (await snapshots.git()("rev-parse", ":file")).text
    truncate(snapshots.folder / "objects" / blob[:2] / blob[2:])
    shelf = machine.daemon.shelf
    await shelf.examine()
    assert [path.name for path in snapshots.folder.parent.glob("*.broken-*")] == ["snapshots.broken-1"]
    commit = await take(machine)
    await shelf.examine()
    assert [one.id for one in (await shelf.page(200)).snapshots] == [commit]


async def test_a_file_that_git_would_frown_upon_is_no_damage(machine: Served) -> None:
    write(machine.repo, b".gitmodules", b'[submodule "x"]\n\tpath = x\n\turl = -broken://corrupt\nmissing blob\n')
    await take(machine)
    assert await machine.daemon.shelf._kept.damage() == ""


def test_only_the_newest_of_the_broken_ones_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    for number in range(4):
        folder.mkdir()
        (folder / str(number)).touch()
        broken.put_aside(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["snapshots.broken-3", "snapshots.broken-4"]


def test_a_full_disk_is_told_from_damage(tmp_path: Path) -> None:
    full = CommandFailedError(command="git add", exit_code=128, detail="error: No space left on device")
    with pytest.raises(NoSpaceError), disk_full_blamed(tmp_path):
        raise full


async def test_a_full_disk_while_a_snapshot_is_taken_leaves_the_old_state(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = world.upstream({"code": "B"})

    async def full(*_: object) -> None:
        raise CommandFailedError(command="git add", exit_code=1, detail="error: file write: No space left on device")

    monkeypatch.setattr("daemon.snapshots.look._add_all", full)
    update = await world.update(target)
    assert update.error
    assert (update.state, update.error.code) == (State.FAILED, "no_space")
    assert (world.head(), world.status()) == (world.first, "")


async def test_a_snapshot_that_could_not_store_a_file_is_none(world: World) -> None:
    """`git add` goes on after a file that it cannot store; where the store is to blame, that is no snapshot."""
    snapshots = world.machinery.snapshots
    await snapshots.take("earlier")
    (world.repo / "code").write_text("changed")
    blob = blob_id(b"changed")
    (snapshots.folder / "objects" / blob[:2]).touch()  # where a folder has to be, whoever we are
    taken = await snapshots.take("again")
    assert (await snapshots.git()("cat-file", "blob", f"{taken.commit}:code")).stdout == b"changed"
    assert taken.notes == ()  # a pack has room for it


async def test_upkeep_outlives_whatever_it_meets(machine: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, tried = machine.daemon.shelf, asyncio.Queue[Exception]()
    errors = iter((BusyError(what="x", running="x", running_ref="x", state="x"), OSError("no"), ValueError("a defect")))

    async def prune() -> None:
        error = next(errors)
        tried.put_nowait(error)
        raise error

    monkeypatch.setattr("daemon.shelf.UPKEEP_EVERY", 0)
    monkeypatch.setattr(shelf, "prune", prune)
    upkeep = asyncio.create_task(shelf.upkeep())
    met = [type(await asyncio.wait_for(tried.get(), 20)) for _ in range(3)]
    upkeep.cancel()
    await asyncio.wait({upkeep})
    assert met == [BusyError, OSError, ValueError]


async def test_a_daemon_that_is_stable_keeps_its_snapshots_within_bounds_and_leaves_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {
        "ITERATE_REPO": str(new_checkout(tmp_path)),
        "ITERATE_REPO_LOCAL_DOCKER_MOUNT": str(tmp_path / "no-mount"),
        "REFRESHD_STATE_DIR": str(tmp_path / "state"),
        "REFRESHD_RUN_DIR": str(tmp_path / "run"),
        "REFRESHD_LISTEN": "none",
        "REFRESHD_SNAPSHOTS_KEEP": "1",
    }
    daemon = await build(Settings.from_environment(environ), environ)
    taken = []
    for number in range(3):
        write(tmp_path / "checkout", b"file", str(number).encode())
        taken.append((await daemon.shelf._snapshots.take(f"number {number}")).commit)
    monkeypatch.setattr("daemon.server.serve.STABLE_AFTER", 0.05)

    async def assembled(_: str) -> Daemon:
        return daemon

    serving = asyncio.create_task(serve(daemon.settings, listeners(daemon.settings, {}), assembled))
    folder = tmp_path / "state" / "snapshots" / "refs" / "snapshots"
    await eventually(lambda: len(list(folder.iterdir())) == 1, "one snapshot is left")
    daemon.supervisor.leave()
    assert await serving is ExitCode.RESTART
    assert [one.id for one in (await daemon.shelf.page(200)).snapshots] == taken[-1:]


async def test_an_update_that_is_asked_for_meanwhile_waits_and_then_owns_the_machine(world: World) -> None:
    target = world.upstream({"code": "B"})
    async with world.engine.idle("look"):
        update = asyncio.create_task(world.update(target))
        await asyncio.sleep(0.1)
        assert await world.journal.history() == []
    assert (await update).state is State.RESTARTING
    with pytest.raises(RestartingError):
        async with world.engine.idle("look"):
            pytest.fail("the machine was given away")


async def test_a_machine_that_another_process_updates_is_not_given_away(world: World, tmp_path: Path) -> None:
    other = MachineLock(tmp_path / "state" / "update.lock")
    assert await asyncio.to_thread(other.acquire)
    with pytest.raises(BusyError):
        async with world.engine.idle("look"):
            pytest.fail("the machine was given away")
    other.release()
    async with world.engine.idle("look"):
        assert not await asyncio.to_thread(other.acquire)
