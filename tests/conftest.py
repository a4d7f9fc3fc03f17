"""What every test gets: a git that knows nothing of this machine, and a loop in which the daemon must not block."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

import daemon.log
from tests.support.closing_table import pytest_terminal_summary as pytest_terminal_summary  # noqa: PLC0414 - a hook
from tests.support.repos import ISOLATED


def pytest_configure() -> None:
    """What runs in the background of a script ignores SIGINT, and its children would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def isolated_git(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder is empty. The daemon's own children drop most GIT_ variables: for them the home folder counts."""
    home = tmp_path_factory.mktemp("home")
    # caches of package managers change the time that a test takes, not its result
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(caches))
    monkeypatch.setenv("NPM_CONFIG_CACHE", os.environ.get("NPM_CONFIG_CACHE") or str(Path.home() / ".npm"))
    for name in [name for name in os.environ if name.startswith(("GIT_", "SSH_", "XDG_CONFIG"))]:
        monkeypatch.delenv(name)
    for name, value in ISOLATED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def _log() -> None:
    daemon.log.configure("pretty", "debug")


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """A blocking call in the event loop fails if it comes from the daemon's code.

    What may: starting a child (the standard library does it that way), a byte into an empty pipe; the two small files
    that tell the commit, and looks whether the files of users and of the token were replaced, which for each request
    take less time than a thread takes to wake up; pydantic, which looks for its plugins once, when the first model is
    used; and asyncpg, which looks for a password file when it opens one of the control plane's few connections.
    """
    with blockbuster_ctx("daemon") as active:
        active.functions["os.read"].can_block_in("subprocess.py", "_execute_child")
        active.functions["os.write"].can_block_in("daemon/supervisor.py", "ready")
        active.functions["os.write"].can_block_in("daemon/check.py", "let_go")
        for name in ("os.stat", "io.BufferedReader.read"):
            active.functions[name].can_block_in("daemon/head.py", {"look", "unchanged"})
        active.functions["os.stat"].can_block_in("daemon/stamps.py", "stamp")
        active.functions["os.stat"].can_block_in("daemon/auth/users.py", "_look")
        for function in active.functions.values():
            function.can_block_in("pydantic/plugin/_loader.py", "get_plugins")
            function.can_block_in("asyncpg/connect_utils.py", "_parse_connect_dsn_and_args")
            # on hosts: where the docker command finds its engine
            function.can_block_in("aiodocker/docker.py", "__init__")
        yield active
