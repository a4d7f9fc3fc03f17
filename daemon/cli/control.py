"""`control`: the control plane, which is an extra."""

import sys
from argparse import Namespace

from daemon.cli.exit_codes import ExitCode


def run(_arguments: Namespace) -> int:
    try:
        from daemon.control.serve import main  # noqa: PLC0415 - what it stands on may not be installed
    except ModuleNotFoundError as error:
        if (error.name or "daemon").partition(".")[0] == "daemon":
            raise
        message = f"cannot run the control plane: {error.name} is missing; install refreshd[control]"
        print(message, file=sys.stderr)  # noqa: T201 - the program's output
        return ExitCode.USAGE
    return main()
