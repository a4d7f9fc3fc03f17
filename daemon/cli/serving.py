"""`serve`, `check` and `sync`: the daemon itself, in this process."""

import importlib
import os
import runpy
import sys
from argparse import Namespace

from daemon.commands import main_check, main_recover, main_serve, main_sync


def serve(_arguments: Namespace) -> int:
    return main_serve()


def check(arguments: Namespace) -> int:
    if arguments.after_fd is None:
        return main_check()
    return _check_when_told(arguments.after_fd)


def _check_when_told(descriptor: int) -> int:
    """The libraries are here by now. Waits for a byte, then runs the check of the code that is on disk by then."""
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
    return main_recover(crashing=arguments.crashing)


def sync(arguments: Namespace) -> int:
    return main_sync(arguments.ref)
