"""The typed client of a daemon: what the CLI, the control plane and the tests ask with.

A daemon that updates itself goes away and comes back. So a connection that breaks proves nothing: an update is asked
for under an idempotency key and asked for again, its progress is resumed where it broke off, and its success is
believed only when a new process runs the expected commit.
"""

from daemon.client.command_file import CommandFile
from daemon.client.connection import server_url
from daemon.client.errors import (
    FailedError,
    InconsistentError,
    NoAnswerError,
    OutcomeError,
    RefusedError,
    RolledBackError,
    TimedOutError,
    UnreachableError,
)
from daemon.client.orders import Rollback, Target
from daemon.client.session import LIMIT, Client, Watcher
from daemon.socket_path import DEFAULT_SOCKET

__all__ = [
    "DEFAULT_SOCKET",
    "LIMIT",
    "Client",
    "CommandFile",
    "FailedError",
    "InconsistentError",
    "NoAnswerError",
    "OutcomeError",
    "RefusedError",
    "Rollback",
    "RolledBackError",
    "Target",
    "TimedOutError",
    "UnreachableError",
    "Watcher",
    "server_url",
]
