"""A PostgreSQL server of its own in a temporary folder, reached by a Unix socket only."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE = 60.0  # seconds
_USERS = ("postgres", "nobody")  # the server refuses to run as root


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database. Without the program the test is skipped, but in CI it fails."""
    server, initdb = _program("postgres"), _program("initdb")
    folder = Path(tempfile.mkdtemp(prefix="refreshd-pg-"))
    user = _user()
    if user:
        shutil.chown(folder, user)
    try:
        _run(user, initdb, "--no-sync", "--auth=trust", "--username=control", "--pgdata", str(folder / "data"))
        options = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off")
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(
                (server, "-D", str(folder / "data"), *options),
                user=user,
                stdout=log,
                stderr=log,
                cwd="/",
                group=_group(user),
            )
        try:
            _wait_for(folder, child)
            yield f"postgresql://control@/postgres?host={folder}"
        finally:
            child.terminate()
            child.wait(PATIENCE)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(folder: Path, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while "ready to accept connections" not in (folder / "log").read_text():
        assert child.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.05)


def _run(user: str | None, *argv: str) -> None:
    done = subprocess.run(
        argv, user=user, group=_group(user), capture_output=True, check=False, timeout=PATIENCE, cwd="/"
    )
    assert done.returncode == 0, done.stderr.decode()


def _user() -> str | None:
    if os.geteuid() != 0:
        return None
    return next(name for name in _USERS if _exists(name))


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _group(user: str | None) -> int | None:
    return pwd.getpwnam(user).pw_gid if user else None


def _program(name: str) -> str:
    found = shutil.which(name) or next(map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"{name} is missing, and CI must have it")
    if found is None:
        pytest.skip(f"{name} is missing")
    return found
