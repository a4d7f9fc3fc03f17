"""How a command ends, for scripts. `serve` and `check` have the supervisor's contract instead."""

from enum import IntEnum


class ExitCode(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    TIMED_OUT = 5
    INCONSISTENT = 6
    INTERRUPTED = 130
    READER_LEFT = 141


DESCRIPTION = """\
exit codes:
  0    done: the update succeeded or found nothing to do, or the daemon is healthy
  1    the update failed or was rolled back, the daemon is unhealthy, or files differ
  2    wrong usage
  3    the daemon cannot be reached
  4    the daemon refused (bad ref, no or wrong token, another update is running, ...)
  5    timed out: an update may still go on
  6    inconsistent: the machine does not run what its records say
  130  interrupted; an update that was accepted goes on
  serve and check end with 0 (start again), 100 (misconfigured) or 111 (a system call failed)"""
