"""What was equal is not read again while it cannot have changed, and is read as soon as it can."""

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.files import write_atomically
from daemon.names import Names
from daemon.sources.mount.compare import Difference, compare
from daemon.sources.mount.known import SETTLED, Known, KnownFiles
from daemon.sources.mount.look import Folder
from daemon.sources.mount.looks import entry
from tests.support.mounts import everything_about

NAMES = (b"a", b"bytes-\xff", b"dir/b", b"empty", b"new\nline")


class World:
    """A mount, a checkout that equals it, and a clock."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mount, self.checkout = folder / "mount", folder / "checkout"
        for name in map(os.fsdecode, NAMES):
            (self.mount / name).parent.mkdir(parents=True, exist_ok=True)
            (self.mount / name).write_bytes(b"" if name == "empty" else b"in it")
        (self.mount / "link").symlink_to("a")
        shutil.copytree(self.mount, self.checkout, symlinks=True)
        self.file = KnownFiles(folder / "state")
        self.now = 10 * SETTLED
        self.opened = 0
        monkeypatch.setattr("daemon.sources.mount.known.time.time_ns", lambda: self.now)
        really = Folder.open

        def counting(folder: Folder, path: bytes) -> object:
            self.opened += 1
            return really(folder, path)

        monkeypatch.setattr(Folder, "open", counting)

    async def compare(self, *, later: int = SETTLED) -> Difference:
        self.now += later
        self.opened = 0
        known = await self.recall()
        names = Names.of([*NAMES, b"link"])
        difference = await asyncio.to_thread(compare, self.mount, self.checkout, known.doubtful(names), known)
        await asyncio.to_thread(self.file.write, known, names, difference.learned, difference.proven)
        return difference

    async def recall(self) -> Known:
        return await self.file.recall(self.mount, self.checkout, limit=60)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


@pytest.fixture
async def known(world: World) -> World:
    """Everything is known to be equal, and a change gets the time of another second."""
    await world.compare()
    await world.compare()
    await world.compare()
    assert world.opened == 0
    youngest = max(path.lstat().st_ctime for path in world.mount.parent.rglob("*"))
    await asyncio.sleep(max(0.0, int(youngest) + 1.02 - time.time()))
    return world


async def test_files_that_were_first_seen_when_they_were_read_are_read_again(world: World) -> None:
    await world.compare()
    await world.compare(later=SETTLED // 4)
    await world.compare(later=SETTLED // 4)
    assert world.opened == 2 * len(NAMES)


async def test_files_that_had_been_as_they_are_for_long_when_they_were_read_are_not_read_again(known: World) -> None:
    assert not (await known.compare()).to_copy
    assert known.opened == 0


async def test_only_what_changed_is_read(known: World) -> None:
    (known.mount / "a").write_text("on it")
    assert (await known.compare()).changed == {b"a"}
    assert known.opened == 2


def other_bytes(path: Path) -> None:
    path.write_text("on it")


def other_file(path: Path) -> None:
    aside = path.with_name("aside")
    aside.write_text("on it")
    shutil.copystat(path, aside)
    aside.rename(path)


@pytest.mark.parametrize("side", ["mount", "checkout"])
@pytest.mark.parametrize("change", [other_bytes, other_file])
async def test_other_bytes_of_the_same_size_and_time_are_seen(
    known: World, side: str, change: Callable[[Path], None]
) -> None:
    path = getattr(known, side) / "a"
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert (await known.compare()).changed == {b"a"}


async def test_a_change_of_permissions_alone_is_seen(known: World) -> None:
    (known.mount / "a").chmod(0o600)
    assert (await known.compare()).changed == {b"a"}


async def test_another_target_of_a_symlink_is_seen(known: World) -> None:
    (known.checkout / "link").unlink()
    (known.checkout / "link").symlink_to("b")
    assert (await known.compare()).changed == {b"link"}


def gone(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def symlink(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def behind_symlink(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.symlink_to("elsewhere")


def behind_loop(path: Path) -> None:
    """Git cannot look there, says so and leaves the file out."""
    shutil.rmtree(path.parent)
    path.parent.symlink_to("dir")


@pytest.mark.parametrize("change", [gone, folder, symlink, behind_symlink, behind_loop])
async def test_what_is_no_such_file_any_more_is_seen(known: World, change: Callable[[Path], None]) -> None:
    change(known.checkout / "dir" / "b")
    assert (await known.compare()).to_copy == {b"dir/b"}


async def test_no_setting_of_the_user_hides_a_change(known: World, isolated_git: Path) -> None:
    core = "checkStat = minimal\n trustctime = false\n fileMode = false\n symlinks = false\n ignoreStat = true\n"
    (isolated_git / ".gitconfig").write_text(f"[core]\n {core} fsmonitor = true\n sparseCheckout = true\n")
    path = known.mount / "a"
    before = path.stat()
    other_bytes(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (await known.compare()).changed == {b"a"}


async def test_a_file_from_the_future_is_neither_read_again_nor_given_to_the_users_filters(
    world: World, isolated_git: Path
) -> None:
    (isolated_git / ".gitconfig").write_text(f'[filter "f"]\n clean = touch {isolated_git}/ran; cat\n')
    (world.mount / ".gitattributes").write_text("* filter=f\n")
    future = time.time() + 1_000_000
    os.utime(world.mount / "a", (future, future))
    for _ in range(3):
        assert not (await world.compare()).to_copy
    assert world.opened == 0
    assert not (isolated_git / "ran").exists()


async def test_looking_writes_nothing(known: World) -> None:
    before = everything_about(known.mount.parent)
    (known.mount / "a").touch()
    after = everything_about(known.mount.parent)
    await known.compare()
    changed = {path for path, look in everything_about(known.mount.parent).items() if after[path] != look}
    assert before.keys() == after.keys()
    assert {Path(path).name for path in changed} <= {"mount", "checkout"}  # the indexes' own times


async def test_a_file_that_changes_while_it_is_read_differs_and_nothing_is_learned_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Folder.open

    def restless(folder: Folder, path: bytes) -> object:
        (world.mount / os.fsdecode(path)).touch()
        return counting(folder, path)

    monkeypatch.setattr(Folder, "open", restless)
    difference = await world.compare()
    assert difference.changed == set(NAMES)
    assert difference.learned.keys() == {b"link"}


@pytest.mark.parametrize("file", ["equal", "equal.git/mount", "equal.git/checkout"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:5],
        lambda _: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    ],
)
async def test_files_that_are_not_whole_prove_nothing(
    known: World, file: str, damage: Callable[[bytes], bytes]
) -> None:
    path = known.checkout.parent / "state" / file
    path.write_bytes(damage(path.read_bytes()))
    assert await known.recall() == Known()
    await known.compare()
    assert known.opened == 2 * len(NAMES)


async def test_half_a_write_proves_nothing(known: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(path: Path, content: bytes) -> None:
        write_atomically(path, content)
        raise KeyboardInterrupt

    monkeypatch.setattr("daemon.sources.mount.known.write_atomically", dies)
    other_bytes(known.mount / "a")
    other_bytes(known.checkout / "a")
    before = await known.recall()
    equal = await asyncio.to_thread(compare, known.mount, known.checkout, [b"a"], before)
    with pytest.raises(KeyboardInterrupt):
        await asyncio.to_thread(known.file.write, before, before.names, equal.learned, frozenset(NAMES))
    assert await known.recall() == Known()


async def test_a_repository_that_is_damaged_is_made_anew(known: World) -> None:
    (known.checkout.parent / "state" / "equal.git" / "config").write_text("[")
    for _ in range(3):
        assert not (await known.compare()).to_copy
    assert known.opened == 0


async def test_a_few_files_more_are_not_worth_a_new_list(world: World) -> None:
    look = world.mount.stat()
    few = {str(number).encode(): (entry(str(number).encode(), look),) * 2 for number in range(201)}
    many, one = dict(list(few.items())[:200]), dict(list(few.items())[200:])
    await world.recall()
    await asyncio.to_thread(world.file.write, Known(), Names.of(few), many, frozenset())
    before = await world.recall()
    await asyncio.to_thread(world.file.write, before, Names.of(few), one, frozenset())
    assert (await world.recall()).names == before.names == Names.of(many)
