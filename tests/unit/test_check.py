"""A check may begin before it is asked for, and its limit counts from there."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from daemon.check import Checker
from daemon.errors import CheckError
from daemon.trees import FolderTree

NOTHING = FolderTree(Path(), ())
ANSWER = 'print(\'{"version": "7"}\')'
TOLD = """\
import os, sys, time, pathlib
if '--after-fd' in sys.argv:
    os.write(int(sys.argv[-1]), b'.')
    os.read(int(sys.argv[-1]), 1)
"""


def checker(folder: Path, program: str, *, timeout: float = 20) -> Checker:
    """Whose daemon is a program that says it is warm and waits to be told, as the real one does, and then does this."""
    daemon = folder / "launcher"
    daemon.write_text(f"#!{sys.executable}\n{TOLD}pathlib.Path('began').touch()\n{program}\n")
    daemon.chmod(0o755)
    return Checker(code_path=folder, launcher=daemon, environment={}, timeout=timeout, patience=20)


def appears(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


async def test_a_warm_child_waits_until_it_is_told(tmp_path: Path) -> None:
    check = checker(tmp_path, ANSWER)
    await check.warm(NOTHING)
    await asyncio.sleep(0.3)
    assert not await asyncio.to_thread((tmp_path / "began").exists)
    assert await check.check(new_libraries=False) == "7"


async def test_a_check_that_has_begun_is_only_awaited(tmp_path: Path) -> None:
    check = checker(tmp_path, ANSWER)
    await check.warm(NOTHING)
    check.begin()
    await asyncio.to_thread(appears, tmp_path / "began")
    await asyncio.to_thread((tmp_path / "launcher").unlink)
    assert await check.check(new_libraries=False) == "7"


async def test_the_limit_counts_from_when_it_began(tmp_path: Path) -> None:
    check = checker(tmp_path, "time.sleep(60)", timeout=1)
    await check.warm(NOTHING)
    check.begin()
    await asyncio.sleep(1.1)
    with pytest.raises(CheckError, match="not imported within 1 s"):
        async with asyncio.timeout(0.9):
            await check.check(new_libraries=False)


async def test_nothing_of_a_check_runs_after_it_was_given_up(tmp_path: Path) -> None:
    check = checker(tmp_path, "pathlib.Path('p').write_text(str(os.getpid()))\nos.rename('p', 'pid')\ntime.sleep(60)")
    await check.warm(NOTHING)
    check.begin()
    await asyncio.to_thread(appears, tmp_path / "pid")
    await check.cool()
    pid = int(await asyncio.to_thread((tmp_path / "pid").read_text))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_without_a_warm_child_a_check_begins_when_it_is_asked_for(tmp_path: Path) -> None:
    check = checker(tmp_path, ANSWER)
    check.begin()
    assert await check.check(new_libraries=True) == "7"


async def test_a_warm_child_that_died_is_replaced(tmp_path: Path) -> None:
    check = checker(tmp_path, ANSWER)
    await asyncio.to_thread((tmp_path / "launcher").rename, tmp_path / "kept")
    await check.warm(NOTHING)
    await asyncio.sleep(0.2)
    await asyncio.to_thread((tmp_path / "kept").rename, tmp_path / "launcher")
    assert await check.check(new_libraries=False) == "7"


@pytest.mark.parametrize("end", ["raise SystemExit(1)", "time.sleep(60)"])
async def test_old_code_that_cannot_be_imported_says_nothing_of_the_new(tmp_path: Path, end: str) -> None:
    warming = f"import sys, time\nif '--after-fd' in sys.argv:\n    time.sleep(0.5)\n    {end}\n"
    check = checker(tmp_path, ANSWER, timeout=2)
    launcher = tmp_path / "launcher"
    await asyncio.to_thread(launcher.write_text, launcher.read_text().replace(TOLD, warming + TOLD))
    await check.warm(NOTHING)
    check.begin()  # while it is still being imported
    assert await check.check(new_libraries=False) == "7"


async def test_new_code_that_fails_in_a_warm_child_is_not_tried_again(tmp_path: Path) -> None:
    check = checker(tmp_path, "pathlib.Path(f'tried{os.getpid()}').touch()\nraise SystemExit(3)")
    await check.warm(NOTHING)
    with pytest.raises(CheckError, match="exit code 3"):
        await check.check(new_libraries=False)
    assert len(await asyncio.to_thread(lambda: list(tmp_path.glob("tried*")))) == 1
