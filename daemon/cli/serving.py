"""`serve`, `check` and `sync`: the daemon itself, in this process."""

import contextlib
import importlib
import os
import runpy
import sys
from argparse import Namespace

from daemon.server.lean import import_server


def serve(_arguments: Namespace) -> int:
    import_server()
    return _run("daemon.commands", "main_serve")


def check(arguments: Namespace) -> int:
    import_server()
    if arguments.after_fd is None:
        return _run("daemon.commands", "main_check")
    return _check_when_told(arguments.after_fd)


def _check_when_told(descriptor: int) -> int:
    """Imports all libraries and says so. Waits for a byte, then runs the check of the code that is on disk by then."""
    importlib.import_module("daemon.app")
    # who started it may be of an earlier version, and not listen
    with contextlib.suppress(OSError):
        os.write(descriptor, b"\n")
    if not os.read(descriptor, 1):
        return 1
    for name in [name for name in sys.modules if name.partition(".")[0] == "daemon"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    # as `python -m daemon check` does it: that much the new code and this one agree upon, and no more
    sys.argv[1:] = ["check"]
    runpy.run_module("daemon", run_name="__main__", alter_sys=True)
    return 0


def recover(arguments: Namespace) -> int:
    return _run("daemon.maintenance", "main_recover", crashing=arguments.crashing)


def sync(arguments: Namespace) -> int:
    return _run("daemon.maintenance", "main_sync", target_ref=arguments.ref)


def _run(module: str, function: str, **arguments: object) -> int:
    """Imported only now: each of these needs other parts of the daemon, and starts are waited for."""
    code: int = getattr(importlib.import_module(module), function)(**arguments)
    return code
