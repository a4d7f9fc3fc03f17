"""The contract with s6: readiness, lame duck, exit code.

Readiness is a newline on a descriptor, written once this process really serves: s6 then restarts it without its usual
pause of a second. Exit 0 asks for a restart, 100 says that starting again would not help, 111 that a system call
failed.
"""

import asyncio
import contextlib
import os
from enum import IntEnum

from daemon.log import get_logger

log = get_logger()


class ExitCode(IntEnum):
    RESTART = 0
    MISCONFIGURED = 100
    SYSTEM_CALL_FAILED = 111


class Supervisor:
    """Says when to end and how; `leaving` is set from then on."""

    def __init__(self, notification_fd: int | None = None) -> None:
        self.leaving = asyncio.Event()
        self._notification_fd = notification_fd

    def ready(self) -> None:
        """Tells s6 once; later calls do nothing."""
        descriptor, self._notification_fd = self._notification_fd, None
        if descriptor is None:
            return
        # a descriptor that nobody listens on must not end a daemon that serves
        with contextlib.suppress(OSError):
            os.write(descriptor, b"\n")
            os.close(descriptor)

    def leave(self) -> None:
        """Asks for the end of the process: answers in flight still go out, then it exits with 0."""
        if not self.leaving.is_set():
            log.info("daemon leaves")
            self.leaving.set()
