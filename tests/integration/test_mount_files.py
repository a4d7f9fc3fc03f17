"""Which files the mount source copies, exactly how, what it removes, and what it never touches."""

import asyncio
import itertools
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.errors import MountError, NoSpaceError
from daemon.names import Names
from daemon.sources.mount import list as mount_list
from daemon.sources.mount.copy import Copier
from daemon.sources.mount.host import HostRepository
from daemon.sources.mount.list import Listing
from daemon.sources.mount.source import COPY_ATTEMPTS
from tests.support.mounts import Lab, files_below
from tests.support.repos import Repo


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab.create(tmp_path)
    lab.host.commit({"a": "a\n", ".gitignore": "/ignored\n*.log\n.env*\n!.env.example\nnode_modules/\n"})
    return lab


BASE = {"a", ".gitignore"}


# Which files


async def test_tracked_and_untracked_files_come_and_ignored_ones_do_not(lab: Lab) -> None:
    lab.host.commit({"tracked": "1"})
    for name in ("untracked", "ignored", "below/ignored", "x.log", ".env.local", ".env.example"):
        lab.host.write(name, "1")
    await lab.refresh()
    assert lab.files == BASE | {"tracked", "untracked", "below/ignored", ".env.example"}


async def test_a_tracked_file_comes_although_a_rule_ignores_it(lab: Lab) -> None:
    lab.host.commit({"forced.log": "1", ".env.production": "1"})
    await lab.refresh()
    assert lab.files == BASE | {"forced.log", ".env.production"}
    assert lab.checkout.status == ""


async def test_rules_of_the_hosts_own_exclude_file_count(lab: Lab) -> None:
    (lab.host.path / ".git" / "info").mkdir(exist_ok=True)
    (lab.host.path / ".git" / "info" / "exclude").write_text("private\n")
    lab.host.write("private", "1")
    await lab.refresh()
    assert lab.files == BASE


async def test_a_tracked_file_that_was_deleted_on_the_host_does_not_come(lab: Lab) -> None:
    lab.host.commit({"gone": "1"})
    lab.host.write("gone", None)
    await lab.refresh()
    assert lab.files == BASE


async def test_a_tracked_file_behind_a_symlink_of_the_host_does_not_come(lab: Lab) -> None:
    lab.host.commit({"docs/secret": "1"})
    (lab.root / "outside").mkdir()
    (lab.root / "outside" / "secret").write_text("outside")
    shutil.rmtree(lab.host.path / "docs")
    (lab.host.path / "docs").symlink_to(lab.root / "outside")
    await lab.refresh()
    assert lab.files == BASE | {"docs"}
    assert (lab.checkout.path / "docs").is_symlink()


async def test_a_checked_out_submodule_comes_without_its_repository(lab: Lab) -> None:
    Repo.create(lab.root / "inner").commit({"inner": "1"})
    Repo.create(lab.root / "lib").commit({"code": "1", ".gitignore": "built\n"})
    Repo(lab.root / "lib").add_submodule(str(lab.root / "inner"), "nested")
    lab.host.add_submodule(str(lab.root / "lib"), "lib")
    lab.host.git("submodule", "--quiet", "update", "--init", "--recursive")
    lab.host.write("lib/untracked", "1")
    lab.host.write("lib/built", "1")
    staged = await lab.refresh()
    below = {"lib/code", "lib/.gitignore", "lib/.gitmodules", "lib/untracked", "lib/nested/inner"}
    assert lab.files == BASE | {".gitmodules"} | below
    assert not (lab.checkout.path / "lib" / ".git").exists()
    assert lab.checkout.status == ""
    assert staged.notes == ()
    assert (await lab.stage()).current


async def test_a_submodule_that_is_not_checked_out_is_left_out(lab: Lab) -> None:
    Repo.create(lab.root / "lib").commit({"code": "1"})
    lab.host.add_submodule(str(lab.root / "lib"), "lib")
    lab.host.git("submodule", "--quiet", "deinit", "--force", "lib")
    await lab.refresh()
    assert lab.files == BASE | {".gitmodules"}


async def test_a_submodules_files_go_when_the_submodule_goes(lab: Lab) -> None:
    Repo.create(lab.root / "lib").commit({"code": "1"})
    lab.host.add_submodule(str(lab.root / "lib"), "lib")
    await lab.refresh()
    lab.host.git("rm", "--quiet", "-r", "lib")
    lab.host.commit({})
    await lab.refresh()
    assert not (lab.checkout.path / "lib").exists()


async def test_a_repository_inside_the_mount_that_is_no_submodule_is_left_out_and_noted(lab: Lab) -> None:
    Repo.create(lab.host.path / "vendor" / "clone").commit({"x": "1"})
    lab.host.git("worktree", "add", "--quiet", "trees/side")
    staged = await lab.refresh()
    assert lab.files == BASE
    assert staged.notes == ("not copied, because it is a repository of its own: trees/side, vendor/clone",)


async def test_a_submodule_whose_repository_cannot_be_seen_comes_without_its_pointer(lab: Lab) -> None:
    Repo.create(lab.root / "lib").commit({"code": "1"})
    lab.host.add_submodule(str(lab.root / "lib"), "lib")
    shutil.rmtree(lab.host.path / ".git")
    await lab.refresh()
    assert lab.files == BASE | {".gitmodules", "lib/code"}
    assert not (lab.checkout.path / "lib" / ".git").exists()


async def test_without_readable_repository_the_checkout_knows_what_is_tracked(lab: Lab) -> None:
    lab.host.commit({"forced.log": "1", "gone.log": "1"})
    await lab.refresh()
    shutil.rmtree(lab.host.path / ".git")
    lab.host.write("forced.log", "2")
    lab.host.write("gone.log", None)
    lab.host.write("new.log", "1")
    await lab.refresh()
    assert lab.checkout.read("forced.log") == "2"
    assert lab.files == BASE | {"forced.log"}


async def test_what_is_no_file_is_left_out_and_noted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.host.commit({"fifo": "1", "socket": "1"})
    for name in ("fifo", "socket"):
        lab.host.write(name, None)
    os.mkfifo(lab.host.path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(lab.host.path)  # the address of a socket is short
        server.bind("socket")
    staged = await lab.refresh()
    assert lab.files == BASE
    assert staged.notes == ("not copied, because it is no file: fifo, socket",)


async def test_node_modules_that_the_host_does_not_ignore_stay_there_and_are_noted(lab: Lab) -> None:
    lab.host.commit({".gitignore": "", "vendored/node_modules/kept": "1"})
    for name in ("node_modules/x/index.js", "apps/web/node_modules/y", ".venv/bin/python", "my_node_modules/z"):
        lab.host.write(name, "1")
    staged = await lab.refresh()
    assert lab.files == BASE | {"vendored/node_modules/kept", "my_node_modules/z"}
    why = "not copied, although the host's git does not ignore it"
    assert staged.notes == (f"{why}: .venv, apps/web/node_modules, node_modules",)


async def test_what_a_sparse_checkout_leaves_out_is_noted(lab: Lab) -> None:
    lab.host.commit({"one/file": "1", "two/file": "1"})
    lab.host.git("sparse-checkout", "set", "one")
    staged = await lab.refresh()
    assert lab.files == BASE | {"one/file"}
    assert staged.notes == ("not copied, because the host's sparse checkout leaves it out: two/file",)


async def test_a_file_in_conflict_comes_once_as_it_is(lab: Lab) -> None:
    lab.host.commit({"both": "base\n"})
    lab.host.git("checkout", "--quiet", "-b", "side")
    lab.host.commit({"both": "side\n"})
    lab.host.git("checkout", "--quiet", "main")
    lab.host.commit({"both": "main\n"})
    with pytest.raises(AssertionError):
        lab.host.git("merge", "--quiet", "side")
    await lab.refresh()
    assert "<<<<<<<" in lab.checkout.read("both")


ODD = ("new\nline", "-dash", "--delete", "a:b", "host:/etc", "#hash", ";semicolon", " space ", "tab\t", "back\\#012")
GLOBS = ("*", "[a]", "?", "{a,b}", "'quote\"", "$HOME", "~", "ünï", "...", ".a", "x" * 255)
RAW = b"bytes-\xff\xfe"


async def test_any_name_comes(lab: Lab) -> None:
    names = {*ODD, *GLOBS, os.fsdecode(RAW)}
    for name in names:
        lab.host.write(name, name.encode("utf-8", "surrogateescape"))
        lab.host.write(f"below/{name}/{name}", "1")
    await lab.refresh()
    assert lab.files == BASE | names | {f"below/{name}/{name}" for name in names}
    assert lab.checkout.read("#hash") == "#hash"
    assert (await lab.stage()).current


async def test_any_name_goes(lab: Lab) -> None:
    names = {*ODD, *GLOBS, os.fsdecode(RAW)}
    for name in names:
        lab.host.write(f"below/{name}/{name}", "1")
    await lab.refresh()
    shutil.rmtree(lab.host.path / "below")
    await lab.refresh()
    assert lab.files == BASE
    assert not (lab.checkout.path / "below").exists()


# How they come


async def test_other_bytes_of_the_same_size_and_time_are_seen(lab: Lab) -> None:
    await lab.refresh()
    here, there = lab.checkout.path / "a", lab.host.path / "a"
    there.write_text("b\n")
    os.utime(there, ns=(0, here.stat().st_mtime_ns))
    os.utime(here, ns=(0, there.stat().st_mtime_ns))
    staged = await lab.refresh()
    assert not staged.current
    assert lab.checkout.read("a") == "b\n"


async def test_a_difference_late_in_a_large_file_is_seen(lab: Lab) -> None:
    size = 3 << 20
    lab.host.write("large", b"x" * size)
    await lab.refresh()
    lab.host.write("large", b"x" * (size - 1) + b"y")
    await lab.refresh()
    assert (lab.checkout.path / "large").read_bytes()[-2:] == b"xy"


async def test_a_file_that_was_only_touched_is_no_change(lab: Lab) -> None:
    await lab.refresh()
    os.utime(lab.host.path / "a", (0, 0))
    assert (await lab.stage()).current


async def test_a_file_that_comes_is_as_young_as_its_coming(lab: Lab) -> None:
    """Byte code caches and watchers compare times: an old time on new code would hide it."""
    await lab.refresh()
    lab.host.write("a", "b\n")
    os.utime(lab.host.path / "a", (0, 0))
    before = (lab.checkout.path / "a").stat().st_mtime_ns
    await lab.refresh()
    assert (lab.checkout.path / "a").stat().st_mtime_ns > before


async def test_a_file_that_did_not_change_is_not_touched(lab: Lab) -> None:
    lab.host.write("b", "b")
    await lab.refresh()
    before = (lab.checkout.path / "a").stat()
    lab.host.write("b", "bb")
    os.utime(lab.host.path / "a")
    await lab.refresh()
    after = (lab.checkout.path / "a").stat()
    assert (before.st_ino, before.st_ctime_ns) == (after.st_ino, after.st_ctime_ns)


async def test_permissions_come_and_privileges_do_not(lab: Lab) -> None:
    for name, mode in (("script", 0o755), ("private", 0o600), ("privileged", 0o6755)):
        lab.host.write(name, "1")
        (lab.host.path / name).chmod(mode)
    await lab.refresh()
    modes = {name: (lab.checkout.path / name).stat().st_mode & 0o7777 for name in ("script", "private", "privileged")}
    assert modes == {"script": 0o755, "private": 0o600, "privileged": 0o755}
    assert (await lab.stage()).current


async def test_a_change_of_permissions_alone_is_a_change(lab: Lab) -> None:
    await lab.refresh()
    (lab.host.path / "a").chmod(0o755)
    staged = await lab.refresh()
    assert not staged.current
    assert (lab.checkout.path / "a").stat().st_mode & 0o777 == 0o755


async def test_a_folder_without_write_permission_is_no_obstacle(lab: Lab) -> None:
    lab.host.write("locked/file", "1")
    (lab.host.path / "locked").chmod(0o555)
    await lab.refresh()
    assert (lab.checkout.path / "locked").stat().st_mode & 0o777 == 0o755


async def test_symlinks_stay_symlinks_wherever_they_lead(lab: Lab) -> None:
    targets = {"dangling": "nowhere", "absolute": "/etc/hostname", "relative": "a", "folder": "/tmp", "up": "../.."}
    for name, target in targets.items():
        (lab.host.path / name).symlink_to(target)
    await lab.refresh()
    assert {name: str((lab.checkout.path / name).readlink()) for name in targets} == targets
    (lab.host.path / "relative").unlink()
    (lab.host.path / "relative").symlink_to("b")
    assert not (await lab.refresh()).current
    assert str((lab.checkout.path / "relative").readlink()) == "b"
    assert (await lab.stage()).current


KINDS = ("file", "folder", "symlink", "missing")


def make(root: Path, kind: str) -> None:
    path = root / "x"
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    match kind:
        case "file":
            path.write_text("file")
        case "folder":
            path.mkdir()
            (path / "y").write_text("y")
        case "symlink":
            path.symlink_to("a")
        case _:
            pass


def kind_of(path: Path) -> str:
    if path.is_symlink():
        return "symlink"
    return "folder" if path.is_dir() else "file" if path.exists() else "missing"


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(KINDS, 2)))
async def test_a_path_may_become_something_else(lab: Lab, before: str, after: str) -> None:
    make(lab.host.path, before)
    await lab.refresh()
    make(lab.host.path, after)
    assert not (await lab.refresh()).current
    assert kind_of(lab.checkout.path / "x") == after
    assert lab.files == files_below(lab.host.path)
    assert (await lab.stage()).current


@pytest.mark.parametrize(("here", "there"), list(itertools.permutations(KINDS[:3], 2)))
async def test_what_is_only_here_makes_way_for_the_hosts(lab: Lab, here: str, there: str) -> None:
    await lab.refresh()
    make(lab.checkout.path, here)
    make(lab.host.path, there)
    await lab.refresh()
    assert kind_of(lab.checkout.path / "x") == there
    assert lab.files == files_below(lab.host.path)


async def test_local_files_whose_folder_makes_way_are_named(lab: Lab) -> None:
    lab.host.write("x/copied", "1")
    await lab.refresh()
    lab.checkout.write("x/mine", "1")
    lab.checkout.write("x/deep/mine.log", "1")
    (lab.checkout.path / "x" / "link").symlink_to("/tmp")
    shutil.rmtree(lab.host.path / "x")
    lab.host.write("x", "1")
    staged = await lab.refresh()
    why = "removed, because a file of the mount takes the place of its folder"
    assert staged.notes == (f"{why}: x/deep/mine.log, x/link, x/mine",)
    assert staged.changes is not None
    assert staged.changes.files == ("A x", "D x/copied", "D x/deep/mine.log", "D x/link", "D x/mine")
    assert lab.checkout.read("x") == "1"


async def test_a_reader_sees_the_old_file_or_the_new_one_and_none_beside_it(lab: Lab) -> None:
    old, new = 20 << 20, 30 << 20
    lab.host.write("large", b"o" * old)
    await lab.refresh()
    lab.host.write("large", b"n" * new)
    sizes: set[int] = set()
    names: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            sizes.add((lab.checkout.path / "large").stat().st_size)
            names.update(os.listdir(lab.checkout.path))  # noqa: PTH208 - names alone, quickly

    watcher = threading.Thread(target=watch)
    watcher.start()
    await lab.refresh()
    done.set()
    watcher.join()
    sizes.add((lab.checkout.path / "large").stat().st_size)
    assert sizes == {old, new}
    assert names == BASE | {"large", ".git"}


async def test_leftovers_of_a_copy_that_was_killed_are_outside_of_the_files_and_go(lab: Lab) -> None:
    await lab.refresh()
    left = lab.checkout.path / ".git" / "refreshd-incoming" / "half.Xy12ab"
    left.parent.mkdir(exist_ok=True)
    left.write_text("half")
    assert lab.checkout.status == ""
    lab.host.write("a", "b\n")
    await lab.refresh()
    assert not left.exists()


@pytest.fixture
def small_disk(lab: Lab) -> Iterator[Path]:
    """The checkout is on a file system of 2 MiB."""
    folder = lab.checkout.path
    folder.mkdir()
    command = ("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder)
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("the kernel does not let us mount")
    yield folder
    subprocess.run(("umount", folder), check=True)


async def test_a_full_disk_is_told_as_such_and_the_old_file_stays(lab: Lab, small_disk: Path) -> None:
    await lab.refresh()
    lab.host.write("a", b"x" * (3 << 20))
    with pytest.raises(NoSpaceError, match=str(small_disk)):
        await lab.refresh()
    assert lab.checkout.read("a") == "a\n"


# What goes


async def test_what_goes_from_the_host_goes_here(lab: Lab) -> None:
    lab.host.commit({"tracked": "1", "deep/er/tracked": "1"})
    lab.host.write("untracked", "1")
    await lab.refresh()
    lab.host.commit({"tracked": None, "deep/er/tracked": None, "untracked": None})
    await lab.refresh()
    assert lab.files == BASE
    assert not (lab.checkout.path / "deep").exists()


async def test_what_becomes_ignored_on_the_host_goes_here(lab: Lab) -> None:
    lab.host.write("notes", "1")
    await lab.refresh()
    lab.host.write(".gitignore", "notes\n")
    await lab.refresh()
    assert "notes" not in lab.files


async def test_what_was_never_copied_stays(lab: Lab) -> None:
    lab.host.write("folder/copied", "1")
    await lab.refresh()
    mine = {"mine", "folder/mine", "a.log", "node_modules/x/index.js", ".env"}
    for name in mine:
        lab.checkout.write(name, "1")
    (lab.checkout.path / "empty").mkdir()
    lab.host.commit({"folder/copied": None, "new": "1"})
    await lab.refresh()
    assert lab.files == BASE | mine | {"new"}
    assert (lab.checkout.path / "empty").is_dir()


async def test_a_checkout_that_came_from_elsewhere_loses_the_committed_files_that_the_host_does_not_have(
    lab: Lab,
) -> None:
    lab.checkout.path.mkdir()
    Repo.create(lab.checkout.path).commit({"a": "old", "old/file": "1"})
    lab.checkout.write("mine", "1")
    staged = await lab.refresh()
    assert lab.files == BASE | {"mine"}
    assert staged.changes is not None
    assert "D old/file" in staged.changes.files
    assert lab.checkout.head == lab.host.head


async def test_the_record_of_what_was_copied_is_complete(lab: Lab) -> None:
    lab.host.write("new\nline", "1")
    await lab.refresh()
    entries = (lab.state_dir / "mount" / "copied").read_bytes().split(b"\0")
    assert entries == [b"+.gitignore", b"+a", b"+new\nline", b""]


async def test_what_an_undo_brought_back_goes_again(lab: Lab) -> None:
    lab.host.write("untracked", "1")
    lab.host.write("other", "1")
    await lab.refresh()
    lab.host.write("untracked", None)
    lab.host.write("other", None)
    await lab.refresh()
    lab.checkout.write("untracked", "1")
    lab.checkout.write("other", "written anew by somebody")
    assert not (await lab.stage()).current
    await lab.refresh()
    assert lab.files == BASE | {"other"}
    assert (await lab.stage()).current


async def test_what_a_copy_brought_before_it_died_goes_with_the_host(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    await lab.refresh()
    lab.host.write("untracked", "1")
    real = Copier.copy

    async def dies(self: Copier, files: Iterable[bytes], *, aside: Path | None) -> None:
        await real(self, files, aside=aside)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Copier, "copy", dies)
        staged = await lab.stage()
        with pytest.raises(KeyboardInterrupt):
            await lab.source().apply(staged)
    assert "untracked" in lab.files
    lab.host.write("untracked", None)
    await lab.refresh()
    assert lab.files == BASE


# What is never left: the checkout


@pytest.fixture
def outside(lab: Lab) -> Path:
    outside = lab.root / "outside"
    outside.mkdir()
    (outside / "file").write_text("outside")
    return outside


async def test_nothing_is_written_through_a_symlink_in_place_of_a_folder(lab: Lab, outside: Path) -> None:
    lab.host.write("x/file", "1")
    lab.host.write("x/deep/file", "1")
    await lab.refresh()
    shutil.rmtree(lab.checkout.path / "x")
    (lab.checkout.path / "x").symlink_to(outside)
    lab.host.write("x/file", "2")
    await lab.refresh()
    assert files_below(outside) == {"file"}
    assert (outside / "file").read_text() == "outside"
    assert kind_of(lab.checkout.path / "x") == "folder"
    assert lab.checkout.read("x/file") == "2"


async def test_equal_files_behind_a_symlink_are_not_taken_for_ours(lab: Lab, outside: Path) -> None:
    lab.host.write("x/file", "outside")
    await lab.refresh()
    shutil.rmtree(lab.checkout.path / "x")
    (lab.checkout.path / "x").symlink_to(outside)
    assert not (await lab.refresh()).current
    assert kind_of(lab.checkout.path / "x") == "folder"


async def test_nothing_is_removed_through_a_symlink_in_place_of_a_folder(lab: Lab, outside: Path) -> None:
    lab.host.write("x/file", "1")
    await lab.refresh()
    shutil.rmtree(lab.checkout.path / "x")
    (lab.checkout.path / "x").symlink_to(outside)
    shutil.rmtree(lab.host.path / "x")
    await lab.refresh()
    assert (outside / "file").read_text() == "outside"
    assert kind_of(lab.checkout.path / "x") == "symlink"


async def test_nothing_is_written_through_a_symlink_in_place_of_a_file(lab: Lab, outside: Path) -> None:
    (lab.host.path / "x").write_text("1")
    await lab.refresh()
    (lab.checkout.path / "x").unlink()
    (lab.checkout.path / "x").symlink_to(outside / "file")
    await lab.refresh()
    assert (outside / "file").read_text() == "outside"
    assert kind_of(lab.checkout.path / "x") == "file"


async def test_a_record_that_was_tampered_with_removes_nothing_outside_and_nothing_of_git(
    lab: Lab, outside: Path
) -> None:
    await lab.refresh()
    record = lab.state_dir / "mount" / "copied"
    names = (b"../outside/file", os.fsencode(outside / "file"), b".git/config", b"x/../../outside/file", b"")
    record.write_bytes(record.read_bytes() + b"".join(b"+" + name + b"\0" for name in names))
    lab.host.write("a", "b\n")
    await lab.refresh()
    assert (outside / "file").exists()
    assert (lab.checkout.path / ".git" / "config").exists()


# What vanishes meanwhile


async def test_a_file_that_vanished_after_staging_is_no_failure(lab: Lab) -> None:
    lab.host.write("kept", "1")
    lab.host.write("vanishing", "1")
    staged = await lab.stage()
    lab.host.write("vanishing", None)
    await lab.source().apply(staged)
    assert lab.files == BASE | {"kept"}
    assert lab.checkout.head == lab.host.head
    assert (await lab.stage()).current


async def test_a_file_that_was_copied_before_and_vanished_after_staging_goes(lab: Lab) -> None:
    lab.host.write("vanishing", "1")
    await lab.refresh()
    lab.host.write("vanishing", "2")
    lab.host.write("folder/new", "1")
    staged = await lab.stage()
    lab.host.write("vanishing", None)
    await lab.source().apply(staged)
    assert lab.files == BASE | {"folder/new"}
    assert lab.checkout.status == lab.host.status


async def test_what_was_removed_before_a_file_vanished_is_not_forgotten(lab: Lab) -> None:
    lab.host.write("untracked", "1")
    await lab.refresh()
    lab.host.write("untracked", None)
    lab.host.write("vanishing", "1")
    staged = await lab.stage()
    lab.host.write("vanishing", None)
    await lab.source().apply(staged)
    lab.checkout.write("untracked", "1")  # as an undo does
    await lab.refresh()
    assert lab.files == BASE


async def test_files_that_keep_vanishing_end_in_an_error(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real = mount_list.look_at
    listed = 0

    async def restless(mount: HostRepository, *about: Any, tracked_here: Names) -> Listing:
        nonlocal listed
        listed += 1
        await asyncio.to_thread(lab.host.write, f"swap{listed}", "1")
        entries = await mount_list.ask_git(mount)
        listing = await real(mount, entries, *about[1:], tracked_here=tracked_here)
        await asyncio.to_thread(lab.host.write, f"swap{listed}", None)
        return listing

    monkeypatch.setattr("daemon.sources.mount.source.look_at", restless)
    with pytest.raises(MountError, match="No such file"):
        await lab.refresh()
    assert listed == COPY_ATTEMPTS
