"""The TypeScript declaration, by the real compiler against the real `@trpc/client`."""

import shutil
from pathlib import Path

import pytest

from daemon.cli.types import CONTROL, MACHINE
from daemon.process import Command, run
from tests.support.trpc_node import install, newest

OLDEST = "11.0.0"
COMPILER = "7.0.2"
SOURCES = Path(__file__).parents[1] / "support" / "trpc_types"


@pytest.fixture(scope="module", params=[OLDEST, newest()])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has the client, the compiler and the declarations, as `refreshd types` prints them."""
    folder = install(request.param, tmp_path_factory.mktemp("typed-client"), typescript=COMPILER)
    shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
    shutil.copy(MACHINE, folder / "refreshd.d.ts")
    shutil.copy(CONTROL, folder / "control.d.ts")
    return folder


async def complaints(project: Path, source: str) -> list[str]:
    """What the compiler says, without the details of each complaint."""
    words = "--strict --noEmit --module nodenext --target es2022 --lib esnext,dom --pretty false"
    command = Command(
        argv=(project / "node_modules/.bin/tsc", *words.split(), source), cwd=project, timeout=60, ok_codes=(0, 1, 2)
    )
    return [line for line in (await run(command)).text.splitlines() if not line.startswith(" ")]


async def test_a_typed_client_compiles(project: Path) -> None:
    assert await complaints(project, "right.ts") == []


async def test_every_wrong_call_is_refused(project: Path) -> None:
    """Each of them stands on a line of its own, marked by a comment; no other line is complained about."""
    marked = [n for n, line in enumerate((project / "wrong.ts").read_text().splitlines(), 1) if "// wrong:" in line]
    found = [complaint.split(":", 1)[0] for complaint in await complaints(project, "wrong.ts")]
    assert {place.split(",")[0] for place in found} == {f"wrong.ts({line}" for line in marked}
