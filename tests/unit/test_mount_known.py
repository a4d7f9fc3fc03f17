"""What was equal is not read again while it cannot have changed, and is read as soon as it can."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.errors import MountError
from daemon.sources.mount.compare import Difference, compare
from daemon.sources.mount.known import SETTLED, Known, KnownFile, seen
from daemon.sources.mount.look import Folder

NAMES = (b"a", b"dir/b", b"new\nline")


class World:
    """A mount, a checkout that equals it, and a clock."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mount, self.checkout = folder / "mount", folder / "checkout"
        for name in map(os.fsdecode, NAMES):
            (self.mount / name).parent.mkdir(parents=True, exist_ok=True)
            (self.mount / name).write_text(f"in {name}")
        shutil.copytree(self.mount, self.checkout)
        self.file = KnownFile(folder / "state" / "equal")
        self.now = 10 * SETTLED
        self.opened = 0
        monkeypatch.setattr("daemon.sources.mount.compare.time.time_ns", lambda: self.now)
        really = Folder.open

        def counting(folder: Folder, path: bytes) -> object:
            self.opened += 1
            return really(folder, path)

        monkeypatch.setattr(Folder, "open", counting)

    def compare(self, *, later: int = SETTLED) -> Difference:
        self.now += later
        self.opened = 0
        known = self.file.read()
        looks = {path: seen(found) for path, found in Folder(self.mount, MountError).stats(NAMES) if found}
        difference = compare(self.mount, self.checkout, looks, known)
        self.file.write(known, difference.learned)
        return difference


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


@pytest.fixture
def known(world: World) -> World:
    """Everything is known to be equal."""
    world.compare()
    world.compare()
    world.compare()
    assert world.opened == 0
    return world


def test_files_that_were_first_seen_when_they_were_read_are_read_again(world: World) -> None:
    world.compare()
    world.compare(later=SETTLED // 4)
    world.compare(later=SETTLED // 4)
    assert world.opened == 2 * len(NAMES)


def test_files_that_had_been_as_they_are_for_long_when_they_were_read_are_not_read_again(known: World) -> None:
    assert not known.compare().to_copy
    assert known.opened == 0


def test_only_what_changed_is_read(known: World) -> None:
    (known.mount / "a").write_text("ou a")
    assert known.compare().changed == {b"a"}
    assert known.opened == 2


def other_bytes(path: Path) -> None:
    path.write_text("ou a")


def other_file(path: Path) -> None:
    aside = path.with_name("aside")
    aside.write_text("ou a")
    shutil.copystat(path, aside)
    aside.rename(path)


@pytest.mark.parametrize("side", ["mount", "checkout"])
@pytest.mark.parametrize("change", [other_bytes, other_file])
def test_other_bytes_of_the_same_size_and_time_are_seen(
    known: World, side: str, change: Callable[[Path], None]
) -> None:
    path = getattr(known, side) / "a"
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert known.compare().changed == {b"a"}


def test_a_change_of_permissions_alone_is_seen(known: World) -> None:
    (known.mount / "a").chmod(0o600)
    assert known.compare().changed == {b"a"}


def test_a_file_that_changes_while_it_is_read_differs_and_nothing_is_learned_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Folder.open

    def restless(folder: Folder, path: bytes) -> object:
        (world.mount / os.fsdecode(path)).touch()
        return counting(folder, path)

    monkeypatch.setattr(Folder, "open", restless)
    difference = world.compare()
    assert difference.changed == set(NAMES)
    assert not difference.learned


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:5],
        lambda _: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    ],
)
def test_a_file_that_is_not_whole_proves_nothing(known: World, damage: Callable[[bytes], bytes]) -> None:
    path = known.checkout.parent / "state" / "equal"
    path.write_bytes(damage(path.read_bytes()))
    assert known.file.read() == Known()
    known.compare()
    assert known.opened == 2 * len(NAMES)


def test_a_few_files_more_are_not_worth_a_new_file(world: World) -> None:
    entries = {str(number).encode(): bytes(80) for number in range(200)}
    world.file.write(Known(), entries)
    world.file.write(Known(entries), {b"one": bytes(80)})
    assert world.file.read() == Known(entries)
