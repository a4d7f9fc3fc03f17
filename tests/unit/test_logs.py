"""The reader of logs, file by file: what real s6-log writes is the integration tests' business."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from daemon.errors import NotFoundError
from daemon.logs import Cursor, Line, Places, Selection, read
from daemon.logs.files import LONGEST_LINE, LogReader
from daemon.logs.lines import parse
from daemon.s6 import ScanDirectory

NOWHERE = Cursor(0, 0)


def write(folder: Path, *lines: str, name: str = "current") -> Path:
    path = folder / name
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    return path


def rotate(folder: Path, number: int) -> None:
    (folder / "current").rename(folder / f"@400000006b02a5a{number:x}00000000.s")


async def texts(folder: Path, selection: Selection) -> list[str]:
    return [line.text async for lines in read(folder, selection) for line in lines]


async def lines_of(folder: Path) -> list[Line]:
    return [line async for lines in read(folder, Selection()) for line in lines]


@pytest.mark.parametrize(
    ("raw", "at", "text"),
    [
        (b"2026-11-22 08:19:08.175508184  a line", "2026-11-22 08:19:08.175508184", "a line"),
        (b"2026-11-22 08:19:08.175508184    indented", "2026-11-22 08:19:08.175508184", "  indented"),
        (b"@400000006b02a5a1091e57b1 a line", "2026-11-22 08:19:08.152983473", "a line"),
        (b"no stamp at all", "", "no stamp at all"),
        (b"@4000 too short", "", "@4000 too short"),
        (b"", "", ""),
    ],
)
def test_the_stamp_is_told_from_the_text(raw: bytes, at: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert parse(raw, NOWHERE)[:2] == (at, text)


def test_bytes_that_are_not_utf8_are_shown_and_end_nothing() -> None:
    assert parse(b"caf\xe9 and on", NOWHERE).text == "caf\\xe9 and on"


@pytest.mark.parametrize(
    "text", ["", "1", "1-", "a-1", "1-2-3", "-1-2", "1" * 30 + "-1", "\N{ARABIC-INDIC DIGIT ONE}-1"]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no position"):
        Cursor.parse(text)


async def test_a_folder_without_a_log_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        await texts(tmp_path / "none", Selection())


async def test_all_lines_come_from_the_oldest_file_to_the_newest(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, f"{number}a", f"{number}b")
        if number < 2:
            rotate(tmp_path, number)
    assert await texts(tmp_path, Selection()) == ["0a", "0b", "1a", "1b", "2a", "2b"]


@pytest.mark.parametrize(("count", "expected"), [(0, []), (1, ["d"]), (3, ["b", "c", "d"]), (9, ["a", "b", "c", "d"])])
async def test_the_last_lines_reach_back_over_a_rotation(tmp_path: Path, count: int, expected: list[str]) -> None:
    write(tmp_path, "a", "b")
    rotate(tmp_path, 1)
    write(tmp_path, "c", "d")
    assert await texts(tmp_path, Selection(lines=count)) == expected


async def test_grep_comes_before_tail(tmp_path: Path) -> None:
    write(tmp_path, "wanted 1", "wanted 2")
    rotate(tmp_path, 1)
    write(tmp_path, *["noise"] * 50)
    assert await texts(tmp_path, Selection(lines=1, grep="wanted")) == ["wanted 2"]


async def test_grep_is_plain_text_and_does_not_look_at_the_time(tmp_path: Path) -> None:
    write(tmp_path, "2026-11-22 08:19:08.175508184  a.c", "2026-11-22 08:19:08.175508184  abc 2026")
    assert await texts(tmp_path, Selection(grep="a.c")) == ["a.c"]
    assert await texts(tmp_path, Selection(grep="2026")) == ["abc 2026"]


def test_a_line_that_is_being_written_waits_for_its_end(tmp_path: Path) -> None:
    path = write(tmp_path, "whole")
    with path.open("a") as file:
        file.write("ha")
    with LogReader(tmp_path, lambda _line: True) as reader:
        assert [line.text for line in reader.last(5)] == ["whole"]
        write(tmp_path, "lf")
        assert [line.text for line in reader.read() or []] == ["half"]


async def test_a_line_without_end_is_cut_and_its_cursor_is_right(tmp_path: Path) -> None:
    write(tmp_path, "x" * (LONGEST_LINE + 300_000), "next")
    lines = await lines_of(tmp_path)
    assert sum(len(line.text) for line in lines[:-1]) == LONGEST_LINE + 300_000
    assert lines[-1].text == "next"
    assert lines[-1].cursor.offset == (tmp_path / "current").stat().st_size


async def test_following_goes_on_over_two_rotations_between_two_looks(tmp_path: Path) -> None:
    write(tmp_path, "a")
    found: list[str] = []
    async with aclosing(read(tmp_path, Selection(lines=10, follow=True))) as batches:
        async for lines in batches:
            found += [line.text for line in lines]
            if found == ["a"]:
                write(tmp_path, "b")
                rotate(tmp_path, 1)
                write(tmp_path, "c")
                rotate(tmp_path, 2)
                write(tmp_path, "d")
            if "d" in found:
                break
    assert found == ["a", "b", "c", "d"]


def test_following_survives_the_moment_in_which_there_is_no_current_file(tmp_path: Path) -> None:
    write(tmp_path, "a")
    with LogReader(tmp_path, lambda _line: True) as reader:
        assert [line.text for line in reader.last(1)] == ["a"]
        rotate(tmp_path, 1)
        assert reader.read() is None
        write(tmp_path, "b")
        assert reader.read() == []
        assert [line.text for line in reader.read() or []] == ["b"]


def test_following_goes_on_where_its_file_was_removed(tmp_path: Path) -> None:
    write(tmp_path, "a")
    with LogReader(tmp_path, lambda _line: True) as reader:
        reader.last(1)
        (tmp_path / "current").unlink()
        write(tmp_path, "b")
        assert reader.read() == []
        assert [line.text for line in reader.read() or []] == ["b"]


async def test_a_cursor_reads_on_behind_its_line_after_a_rotation(tmp_path: Path) -> None:
    write(tmp_path, "a", "b")
    first = (await lines_of(tmp_path))[0]
    rotate(tmp_path, 1)
    write(tmp_path, "c")
    assert await texts(tmp_path, Selection(after=Cursor.parse(str(first.cursor)))) == ["b", "c"]


async def test_a_cursor_of_a_file_that_is_gone_reads_all_that_is_left(tmp_path: Path) -> None:
    write(tmp_path, "a")
    assert await texts(tmp_path, Selection(after=Cursor(1, 100))) == ["a"]


async def test_a_reader_that_is_cancelled_leaves_no_file_open(tmp_path: Path) -> None:
    """An open one would be a warning, and those are errors here."""
    write(tmp_path, "a")

    async def follow() -> None:
        async with aclosing(read(tmp_path, Selection(follow=True))) as batches:
            async for _ in batches:
                pass

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


@pytest.mark.parametrize("name", ["", "..", "../etc", "-o", "/etc", "a/b", "a\n", "x" * 200])
async def test_a_name_that_is_no_service_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, "secret")
    with pytest.raises(NotFoundError):
        await Places(tmp_path / "log", ScanDirectory(tmp_path)).find(name)


async def test_the_log_of_another_service_is_looked_for_beside_the_daemons(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    write(tmp_path / "web", "hello")
    places = Places(tmp_path / "refreshd", ScanDirectory(tmp_path))
    assert await places.find("web") == tmp_path / "web"
    with pytest.raises(NotFoundError):
        await places.find("worker")
