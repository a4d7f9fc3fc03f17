"""`refreshd types`: the TypeScript declarations of the tRPC routers, as they are in the package.

`python -m daemon.cli.types` writes them again after the procedures have changed.
"""

import asyncio
from argparse import Namespace
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import daemon
from daemon.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from daemon.triggers.trpc import Procedures

_PACKAGE = Path(daemon.__file__).parent
MACHINE = _PACKAGE / "triggers" / "app_router.d.ts"
CONTROL = _PACKAGE / "control" / "app_router.d.ts"


def show(arguments: Namespace) -> ExitCode:
    file = CONTROL if arguments.control else MACHINE
    print(file.read_text(encoding="utf-8"), end="")  # noqa: T201 - the command's output
    return ExitCode.DONE


def written_anew() -> dict[Path, str]:
    """What the procedures say of themselves now, by file."""
    with TemporaryDirectory() as folder:
        return {MACHINE: _of_machine(), CONTROL: _of_control(folder)}


def _of_machine() -> str:
    from daemon.app import build  # noqa: PLC0415 - showing the file must not cost the daemon's imports
    from daemon.settings import Settings  # noqa: PLC0415 - as above
    from daemon.triggers.trpc_types import declaration  # noqa: PLC0415 - as above

    return declaration(asyncio.run(build(Settings.from_environment({"ITERATE_REPO": "/"}), {})).procedures)


def _of_control(folder: str) -> str:
    from daemon.control.app import build  # noqa: PLC0415 - as above, and it is an extra
    from daemon.control.settings import ControlSettings  # noqa: PLC0415 - as above
    from daemon.triggers.trpc_types import declaration  # noqa: PLC0415 - as above

    async def procedures() -> "Procedures":
        async with AsyncExitStack() as stack:
            return (await build(ControlSettings.from_environment({"CONTROL_STATE_DIR": folder}), stack)).procedures

    return declaration(asyncio.run(procedures()), "refreshd's control plane")


if __name__ == "__main__":
    for file, text in written_anew().items():
        file.write_text(text, encoding="utf-8")
