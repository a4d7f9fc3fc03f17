"""The count of starts, which the guard writes and the daemon clears."""

from pathlib import Path

import pytest

from daemon.starts import Starts


async def test_there_were_none_before_the_first(tmp_path: Path) -> None:
    assert await Starts(tmp_path).count() == 0


async def test_the_count_is_what_the_guard_wrote(tmp_path: Path) -> None:
    (tmp_path / "starts").write_text("3\n")
    assert await Starts(tmp_path).count() == 3


@pytest.mark.parametrize("content", [b"", b"three", b"-1", b"1 2", b"\xff", "\u0663".encode(), b"1" * 10])
async def test_a_count_that_makes_no_sense_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "starts").write_bytes(content)
    assert await Starts(tmp_path).count() == 0


async def test_an_end_that_was_meant_clears_it_however_often(tmp_path: Path) -> None:
    (tmp_path / "starts").write_text("3\n")
    await Starts(tmp_path).clear()
    await Starts(tmp_path).clear()
    assert await Starts(tmp_path).count() == 0
    assert list(tmp_path.iterdir()) == []


async def test_stability_is_remembered_for_one_update_and_clears_the_count(tmp_path: Path) -> None:
    starts = Starts(tmp_path)
    (tmp_path / "starts").write_text("2\n")
    assert not await starts.was_stable_after("000001-abcdef")
    await starts.stable_after("000001-abcdef")
    assert await starts.count() == 0
    assert await starts.was_stable_after("000001-abcdef")
    await starts.stable_after("000002-abcdef")
    assert not await starts.was_stable_after("000001-abcdef")


async def test_stability_without_any_update_is_that_of_none(tmp_path: Path) -> None:
    starts = Starts(tmp_path)
    await starts.stable_after(None)
    assert not await starts.was_stable_after("000001-abcdef")
