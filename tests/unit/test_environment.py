"""The environment follows from the mount, and the evidence for it is told."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import environment
from daemon.environment import detect, look_at_mount
from daemon.settings import Settings

NOBODY = 65534


def settings(mount: Path, **more: str) -> Settings:
    return Settings.from_environment(
        {"ITERATE_REPO": "/repo", "ITERATE_REPO_LOCAL_DOCKER_MOUNT": str(mount), **more},
    )


def test_with_a_mount_it_is_local_docker(tmp_path: Path) -> None:
    found = detect(settings(tmp_path))
    assert (found.name, found.overridden) == ("local-docker", False)


def test_without_a_mount_it_is_daytona(tmp_path: Path) -> None:
    found = detect(settings(tmp_path / "missing"))
    assert (found.name, found.overridden) == ("daytona", False)
    assert not found.mount.present


@pytest.mark.parametrize("name", ["local", "daytona", "local-docker"])
@pytest.mark.parametrize("mount", ["there", "missing"])
def test_the_setting_wins_and_the_evidence_stays(tmp_path: Path, name: str, mount: str) -> None:
    (tmp_path / "there").mkdir()
    found = detect(settings(tmp_path / mount, REFRESHD_ENVIRONMENT=name))
    assert (found.name, found.overridden) == (name, True)
    assert found.mount.present is (mount == "there")


def test_a_file_in_the_place_of_the_mount_is_no_mount(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not look_at_mount(tmp_path / "file").present
    assert not look_at_mount(tmp_path / "file" / "below").present


def test_a_dangling_symlink_is_no_mount(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert not look_at_mount(tmp_path / "link").present


def test_an_empty_mount_is_present_and_empty(tmp_path: Path) -> None:
    found = look_at_mount(tmp_path)
    assert found.present
    assert found.readable
    assert found.empty
    assert not found.git_repository


def test_a_repository_is_told_from_a_worktree(tmp_path: Path) -> None:
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    (tmp_path / "worktree").mkdir()
    (tmp_path / "worktree" / ".git").write_text("gitdir: /elsewhere/.git/worktrees/one\n")
    repository, worktree = look_at_mount(tmp_path / "repository"), look_at_mount(tmp_path / "worktree")
    assert (repository.git_repository, repository.worktree) == (True, False)
    assert (worktree.git_repository, worktree.worktree) == (True, True)
    assert not worktree.empty


@pytest.fixture
def private_folder() -> Iterator[Path]:
    """Only its owner may look into it, and that is not who the test runs as."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        folder = Path(made)
        (folder / "inner").mkdir()
        is_root = os.geteuid() == 0
        folder.chmod(0o700 if is_root else 0)
        if is_root:
            os.seteuid(NOBODY)
        yield folder
        if is_root:
            os.seteuid(0)
        folder.chmod(0o700)


def test_a_mount_that_may_not_be_listed_is_present_and_unreadable(private_folder: Path) -> None:
    found = look_at_mount(private_folder)
    assert (found.present, found.readable) == (True, False)


def test_a_mount_that_may_not_even_be_looked_at_is_not_taken_for_missing(private_folder: Path) -> None:
    found = look_at_mount(private_folder / "inner")
    assert (found.present, found.readable) == (True, False)


def test_the_mount_point_of_a_file_system_is_one() -> None:
    assert look_at_mount(Path("/proc")).mount_point
    assert look_at_mount(Path("/")).mount_point


def test_a_plain_folder_is_no_mount_point(tmp_path: Path) -> None:
    assert not look_at_mount(tmp_path).mount_point
    assert not look_at_mount(Path("/proc/self")).mount_point


@pytest.fixture
def mount_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    table = tmp_path / "table"
    monkeypatch.setattr(environment, "_MOUNT_TABLE", table)
    return table


def test_a_folder_of_the_same_file_system_that_is_bound_is_a_mount_point(tmp_path: Path, mount_table: Path) -> None:
    (tmp_path / "my mount").mkdir()
    (tmp_path / "link").symlink_to("my mount")
    escaped = str(tmp_path / "my mount").replace(" ", "\\040")
    mount_table.write_text(f"36 35 98:0 /host/folder {escaped} rw,noatime shared:1 - ext4 /dev/root rw\n")
    assert look_at_mount(tmp_path / "my mount").mount_point
    assert look_at_mount(tmp_path / "link").mount_point
    assert not look_at_mount(tmp_path).mount_point


def test_without_a_mount_table_nothing_is_a_mount_point(mount_table: Path) -> None:
    assert not mount_table.exists()
    assert not look_at_mount(Path("/")).mount_point


@pytest.mark.parametrize("flags", [0, os.ST_RDONLY, os.ST_RDONLY | os.ST_NOSUID])
def test_a_read_only_mount_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: int) -> None:
    real = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*real[:8], flags, *real[9:])))
    assert look_at_mount(tmp_path).read_only is bool(flags)


def test_a_mount_that_breaks_while_it_is_looked_at_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Path) -> os.statvfs_result:
        raise OSError(107, "Transport endpoint is not connected")

    monkeypatch.setattr(os, "statvfs", broken)
    found = look_at_mount(tmp_path)
    assert (found.present, found.readable) == (True, False)
