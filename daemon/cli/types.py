"""`refreshd types`: the TypeScript declaration of the tRPC router, as it is in the package.

`python -m daemon.cli.types` writes it again after the procedures have changed.
"""

import asyncio
from argparse import Namespace
from pathlib import Path

from daemon import triggers
from daemon.cli.exit_codes import ExitCode

FILE = Path(triggers.__file__).with_name("app_router.d.ts")


def show(_arguments: Namespace) -> ExitCode:
    print(FILE.read_text(encoding="utf-8"), end="")  # noqa: T201 - the command's output
    return ExitCode.DONE


def written_anew() -> str:
    """What the procedures say of themselves now."""
    from daemon.app import build  # noqa: PLC0415 - showing the file must not cost the daemon's imports
    from daemon.settings import Settings  # noqa: PLC0415 - as above
    from daemon.triggers.trpc_types import declaration  # noqa: PLC0415 - as above

    daemon = asyncio.run(build(Settings.from_environment({"ITERATE_REPO": "/"}), {}))
    return declaration(daemon.procedures)


if __name__ == "__main__":
    FILE.write_text(written_anew(), encoding="utf-8")
