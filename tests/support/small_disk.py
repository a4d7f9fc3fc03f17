"""A small file system of its own in a folder, so that a full disk is a real one."""

import contextlib
import functools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SUDO = () if os.geteuid() == 0 else ("sudo", "-n")


def mount(folder: Path, *, megabytes: int) -> None:
    """In memory; the folder has to be empty."""
    options = f"size={megabytes}m,mode=755,uid={os.geteuid()},gid={os.getegid()}"
    subprocess.run((*_SUDO, "mount", "-t", "tmpfs", "-o", options, "tmpfs", folder), check=True, capture_output=True)


def unmount(folder: Path) -> None:
    """Lazily: whoever is still inside keeps what it has open, and nobody else comes in."""
    subprocess.run((*_SUDO, "umount", "--lazy", folder), check=True, capture_output=True)


@contextlib.contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[None]:
    mount(folder, megabytes=megabytes)
    try:
        yield
    finally:
        unmount(folder)


@functools.cache
def can_mount(folder: Path) -> bool:
    try:
        with small_disk(folder, megabytes=1):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
