"""Files that must survive: a file is old or new, never half."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.errors import NoSpaceError
from daemon.files import disk_full_named, sweep, sync_folder, write_atomically

OLD, NEW = b"old\n", b"new and longer\n" * 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


def names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


@pytest.mark.parametrize("content", [b"", NEW, os.urandom(3_000_000)])
def test_the_new_content_is_there_and_nothing_beside_it(content: bytes, path: Path) -> None:
    write_atomically(path, content)
    assert path.read_bytes() == content
    assert names(path.parent) == ["file"]


def test_a_file_that_was_not_there_is_made(tmp_path: Path) -> None:
    write_atomically(tmp_path / "made", NEW)
    assert (tmp_path / "made").read_bytes() == NEW


def test_only_the_owner_may_read_unless_another_mode_is_given(path: Path) -> None:
    path.chmod(0o666)
    write_atomically(path, NEW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_atomically(path, NEW, mode=0o644)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_who_reads_meanwhile_keeps_reading_the_old_file(path: Path) -> None:
    with path.open("rb") as reader:
        write_atomically(path, NEW)
        assert reader.read() == OLD


def test_content_is_synced_before_the_rename_and_the_folder_after_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could leave the new name with no content, or the old one after a report of success."""
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        steps.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        sync(descriptor)

    def note_replace(source: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write_atomically(path, NEW)
    assert steps == ["sync file", "rename", "sync folder"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.EIO, "bad disk"), KeyboardInterrupt()])
def test_a_failure_on_the_way_leaves_the_old_file_and_nothing_beside_it(
    step: str, failure: BaseException, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(type(failure)):
        write_atomically(path, NEW)
    assert path.read_bytes() == OLD
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_by_its_name(code: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(NoSpaceError, match="the disk is full; free some space") as raised:
        write_atomically(path, NEW)
    assert raised.value.path == str(path)
    assert path.read_bytes() == OLD
    assert names(path.parent) == ["file"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tiny"
    folder.mkdir()
    tmpfs = ("mount", "-t", "tmpfs", "-o", "size=64k", "none", folder)
    if subprocess.run(tmpfs, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount")
    yield folder
    subprocess.run(("umount", folder), check=True)


def test_a_disk_that_is_really_full_keeps_the_old_file(tiny_disk: Path) -> None:
    path = tiny_disk / "file"
    write_atomically(path, OLD)
    with pytest.raises(NoSpaceError):
        write_atomically(path, b"x" * 100_000)
    assert path.read_bytes() == OLD
    assert names(tiny_disk) == ["file"]
    write_atomically(path, NEW)
    assert path.read_bytes() == NEW


def test_a_file_size_limit_is_not_taken_for_a_full_disk(path: Path) -> None:
    """Freeing space would not help."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # where the limit is reached, a signal would end the process
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomically(path, NEW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == OLD
    assert names(path.parent) == ["file"]


def test_a_missing_folder_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "gone/file", NEW)


def test_a_process_that_is_killed_while_it_writes_leaves_the_file_old_or_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    script = (
        "import sys; from pathlib import Path; from daemon.files import write_atomically\n"
        "path, n = Path(sys.argv[1]), 0\n"
        "while True:\n"
        "    n += 1; write_atomically(path, (str(n % 10) * 200_000).encode()); n == 3 and print('go', flush=True)\n"
    )
    for _ in range(5):
        argv = (sys.executable, "-c", script, str(path))
        with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"go\n"
            child.kill()
        content = path.read_bytes()
        assert content == content[:1] * 200_000


def test_a_synced_folder_must_be_a_folder(path: Path) -> None:
    sync_folder(path.parent)
    with pytest.raises(NotADirectoryError):
        sync_folder(path)


def test_other_errors_keep_their_own_name(path: Path) -> None:
    with pytest.raises(PermissionError), disk_full_named(path):
        raise PermissionError(errno.EACCES, "no")


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    ended = subprocess.run((sys.executable, "-c", "import os; print(os.getpid())"), capture_output=True, check=True)
    left = tmp_path / f".pnpm-lock.yaml.{int(ended.stdout)}.tmp"
    others = [f".file.{os.getpid()}.tmp", ".file.tmp", f"file.{int(ended.stdout)}.tmp", "file"]
    for path in (left, *(tmp_path / name for name in others)):
        path.write_bytes(OLD)
    assert sweep(tmp_path) == [left]
    assert sorted(names(tmp_path)) == sorted(others)


def test_a_folder_that_is_not_there_needs_no_sweeping(tmp_path: Path) -> None:
    assert sweep(tmp_path / "gone") == []
