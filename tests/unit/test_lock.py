"""One update at a time, whichever process runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from daemon.errors import SystemCallError
from daemon.lock import MachineLock, held

HOLDER = """
import sys; from pathlib import Path; from daemon.lock import MachineLock, held
lock = MachineLock(Path(sys.argv[1])); print(lock.acquire(), flush=True); sys.stdin.read()
"""


def test_nobody_gets_what_is_held_not_even_the_holder(tmp_path: Path) -> None:
    first, second = MachineLock(tmp_path / "a" / "lock"), MachineLock(tmp_path / "a" / "lock")
    assert first.acquire()
    assert not first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


def test_a_holder_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    argv = (sys.executable, "-c", HOLDER, str(path))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "True\n"
        assert not MachineLock(path).acquire()
        holder.kill()
        holder.wait()
    lock = MachineLock(path)
    assert lock.acquire()
    lock.release()


def test_a_link_in_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SystemCallError, match="symbolic link"):
        MachineLock(tmp_path / "lock").acquire()
    assert not (tmp_path / "elsewhere").exists()


def test_who_waits_for_a_short_lock_gives_up_in_the_end(tmp_path: Path) -> None:
    with held(tmp_path / "lock"), pytest.raises(TimeoutError, match="is locked"), held(tmp_path / "lock", patience=0.1):
        pass
    with held(tmp_path / "lock", patience=0):
        pass
