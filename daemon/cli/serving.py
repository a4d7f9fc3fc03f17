"""`serve`, `check` and `sync`: the daemon itself, in this process."""

from argparse import Namespace

from daemon.commands import main_check, main_serve, main_sync


def serve(_arguments: Namespace) -> int:
    return main_serve()


def check(_arguments: Namespace) -> int:
    return main_check()


def sync(arguments: Namespace) -> int:
    return main_sync(arguments.ref)
