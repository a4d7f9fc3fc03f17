"""The command `refreshd`.

Nothing but the standard library is imported before the arguments are understood: each command names its module, and
that module brings what it needs.
"""

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from daemon.cli.exit_codes import ExitCode
from daemon.cli.parser import parse


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code. Raises SystemExit as argparse does, for --help, --version and wrong usage."""
    arguments = parse(argv)
    _print_what_cannot_be_encoded()
    # the module is complete in memory from here on: the code on disk may be another at the end of the command
    module = import_module(arguments.module)
    try:
        code: int = getattr(module, arguments.function)(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has seen enough; the interpreter must not complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.READER_LEFT
    return code


def _print_what_cannot_be_encoded() -> None:
    """As escapes: the name of a branch must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
