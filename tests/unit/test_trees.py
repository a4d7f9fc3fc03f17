"""The files of an update, before they are in the checkout."""

import os
import subprocess
from pathlib import Path

import pytest

from daemon.trees import FolderTree, blob_id


def everything(_: str) -> bool:
    return True


def is_manifest(path: str) -> bool:
    return path.rpartition("/")[2] == "package.json"


@pytest.mark.parametrize("content", [b"", b"one line\n", b"\r\n\x00\xff" * 5000])
def test_an_id_is_the_one_that_git_gives(content: bytes, tmp_path: Path) -> None:
    command = ["git", "hash-object", "--no-filters", "--stdin"]
    hashed = subprocess.run(command, input=content, cwd=tmp_path, capture_output=True, check=True)
    assert blob_id(content) == hashed.stdout.decode().strip()


async def test_find_gives_the_files_that_match_and_their_ids(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "package.json").write_bytes(b"{}")
    (tmp_path / "app/package.json").write_bytes(b"[]")
    (tmp_path / "app/index.js").write_bytes(b"")
    tree = FolderTree(tmp_path, [b"package.json", b"app/package.json", b"app/index.js"])
    assert await tree.find(is_manifest) == {"package.json": blob_id(b"{}"), "app/package.json": blob_id(b"[]")}


async def test_a_narrowed_look_asks_about_the_ends_and_the_folder_alone(tmp_path: Path) -> None:
    names = ("package.json", "a/package.json", "own/a.py", "a/own/b.py", "a\town/c.py", "x.json/y", "own")
    asked = []

    def match(path: str) -> bool:
        asked.append(path)
        return False

    tree = FolderTree(tmp_path, map(os.fsencode, names))
    await tree.find(match, ends=("package.json", ".patch"), below="own/")
    assert asked == ["a/package.json", "own/a.py", "package.json"]


async def test_a_file_outside_the_list_is_no_file_of_the_tree(tmp_path: Path) -> None:
    """An ignored lockfile does not arrive with the update, so nobody may decide by it."""
    (tmp_path / "listed").write_bytes(b"1")
    (tmp_path / "ignored").write_bytes(b"2")
    (tmp_path.parent / "outside").write_bytes(b"3")
    tree = FolderTree(tmp_path, [b"listed"])
    assert list(await tree.find(everything)) == ["listed"]
    assert await tree.read("listed") == b"1"
    assert await tree.read("ignored") is None
    assert await tree.read("../outside") is None


async def test_a_listed_file_that_is_gone_is_no_file(tmp_path: Path) -> None:
    tree = FolderTree(tmp_path, [b"gone", b"folder", b"file/below"])
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    assert await tree.find(everything) == {}
    assert await tree.read("gone") is None
    assert await tree.read("folder") is None
    assert await tree.read("file/below") is None


async def test_a_file_that_vanishes_while_it_is_read_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    assert await FolderTree(tmp_path, [b"gone"]).find(everything) == {}


async def test_a_fifo_is_no_file_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "package.json")
    tree = FolderTree(tmp_path, [b"package.json"])
    assert await tree.find(everything) == {}
    assert await tree.read("package.json") is None


async def test_names_need_not_be_utf_8(tmp_path: Path) -> None:
    name = b"caf\xe9\n.json"
    (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    tree = FolderTree(tmp_path, [name])
    found = await tree.find(everything)
    assert [os.fsencode(path) for path in found] == [name]
    assert await tree.read(os.fsdecode(name)) == b"x"


async def test_only_files_that_match_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree has some thousand files, and four of them are manifests."""
    read: list[str] = []
    original = Path.read_bytes

    def recorded(path: Path) -> bytes:
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", recorded)
    for name in ("package.json", "index.js"):
        (tmp_path / name).write_bytes(b"")
    await FolderTree(tmp_path, [b"index.js", b"package.json"]).find(is_manifest)
    assert read == ["package.json"]
