"""A folder in which somebody else can put whatever he likes."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.command_file.errors import UnacceptableError
from daemon.command_file.folder import Folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "commands"
    path.mkdir()
    return path


@pytest.fixture
def folder(path: Path) -> Iterator[Folder]:
    with Folder.open(path) as folder:
        yield folder


def refusal(folder: Folder, name: str = "x") -> str:
    with pytest.raises(UnacceptableError) as caught:
        folder.read(name, 10)
    return caught.value.reason


def test_symlink_is_not_read(folder: Folder, path: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (path / "x").symlink_to(tmp_path / "secret")
    assert refusal(folder) == "it is not a regular file"


def test_fifo_is_not_waited_for(folder: Folder, path: Path) -> None:
    os.mkfifo(path / "x")
    assert refusal(folder) == "it is not a regular file"


def test_folder_and_socket_are_refused(folder: Folder, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path / "x").mkdir()
    assert refusal(folder) == "it is not a regular file"
    monkeypatch.chdir(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        assert refusal(folder, "s") == "it is not a regular file"


def test_large_file_is_refused(folder: Folder, path: Path) -> None:
    (path / "x").write_bytes(b"1" * 10)
    assert len(folder.read("x", 10)) == 10
    (path / "x").write_bytes(b"1" * 11)
    assert refusal(folder) == "it is larger than 10 bytes"


def test_missing_file_is_missing(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        folder.read("x", 10)


def test_write_replaces_a_symlink_and_not_what_it_names(folder: Folder, path: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("p")
    for name in ("result", ".result.tmp"):
        (path / name).symlink_to(precious)
    folder.replace("result", b"new")
    assert precious.read_text() == "p"
    assert (path / "result").read_text() == "new"
    assert not (path / "result").is_symlink()


def test_folder_behind_a_symlink_inside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere/commands").mkdir(parents=True)
    (tmp_path / "state").mkdir()
    (tmp_path / "state/opencode-cloud").symlink_to(tmp_path / "elsewhere")
    for open_it in (Folder.open, Folder.make):
        with pytest.raises(OSError, match="opencode-cloud"):
            open_it(tmp_path / "state", "opencode-cloud", "commands")


def test_state_folder_itself_may_be_behind_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "real/commands").mkdir(parents=True)
    (tmp_path / "state").symlink_to(tmp_path / "real")
    with Folder.open(tmp_path / "state", "commands") as folder:
        assert folder.identity[1] == (tmp_path / "real/commands").stat().st_ino


def test_folder_that_was_created_can_be_written_by_every_user(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        Folder.make(tmp_path, "a", "b").close()
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o7777 for name in ("a", "a/b")] == [0o1777, 0o1777]


def test_what_is_there_already_keeps_its_mode(path: Path) -> None:
    path.chmod(0o750)
    Folder.make(path.parent, path.name).close()
    assert path.stat().st_mode & 0o7777 == 0o750


def test_files_can_be_read_by_every_user(folder: Folder, path: Path) -> None:
    before = os.umask(0o077)
    try:
        folder.replace("result", b"")
        folder.create("command", b"")
    finally:
        os.umask(before)
    assert [(path / name).stat().st_mode & 0o777 for name in ("result", "command")] == [0o644, 0o644]


def test_names_are_looked_up_in_the_folder_that_was_opened(folder: Folder, path: Path) -> None:
    moved = path.rename(path.with_name("moved"))
    path.mkdir()
    folder.replace("result", b"1")
    assert (moved / "result").exists()
    assert not (path / "result").exists()


def test_of_many_who_create_one_gets_through(folder: Folder, path: Path) -> None:
    made: list[int] = []
    begin = threading.Barrier(8)

    def create(number: int) -> None:
        begin.wait()
        try:
            folder.create("x", f"{number}".encode())
        except FileExistsError:
            return
        made.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(path / "x").read_text()] == [str(number) for number in made]
    assert [found.name for found in path.iterdir()] == ["x"]


def test_where_there_are_no_links_a_file_is_created_all_the_same(
    folder: Folder, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    folder.create("x", b"1")
    with pytest.raises(FileExistsError):
        folder.create("x", b"2")
    assert (path / "x").read_text() == "1"
    assert [found.name for found in path.iterdir()] == ["x"]


def test_a_reader_never_sees_half_a_file(folder: Folder, path: Path) -> None:
    ends = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not ends.is_set():
            seen.add((path / "x").read_bytes())

    folder.replace("x", b"a" * 4000)
    reader = threading.Thread(target=read)
    reader.start()
    for letter in (b"b", b"c") * 50:
        folder.replace("x", letter * 4000, durable=False)
    ends.set()
    reader.join()
    assert {(len(content), len(set(content))) for content in seen} == {(4000, 1)}


def test_one_lock_at_a_time(folder: Folder, path: Path) -> None:
    assert folder.lock()
    with Folder.open(path) as other:
        assert not other.lock()
    folder.close()
    folder._descriptor = os.dup(0)
    with Folder.open(path) as other:
        assert other.lock()


def test_remove_takes_what_is_there(folder: Folder, path: Path) -> None:
    (path / "a").mkdir()
    (path / "b").symlink_to("nowhere")
    for name in ("a", "b", "c"):
        folder.remove(name)
    assert list(path.iterdir()) == []


def test_a_full_folder_is_not_removed(folder: Folder, path: Path) -> None:
    (path / "a/b").mkdir(parents=True)
    with pytest.raises(OSError, match="not empty"):
        folder.remove("a")
