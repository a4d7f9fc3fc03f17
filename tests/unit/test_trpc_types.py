"""The declaration says what the models say."""

from pathlib import Path
from typing import Literal

import pytest
from aiohttp import web
from pydantic import BaseModel, Field

from daemon.auth.access import Access
from daemon.cli import main, types
from daemon.triggers.trpc import Procedure
from daemon.triggers.trpc_types import declaration, type_of


class Inner(BaseModel):
    numbers: list[int | None]
    kind: Literal["a", "b"] = "a"


class Asked(BaseModel):
    """What is asked. */ And more."""

    name: str = Field(description="Of whom.")
    inner: Inner | None = None
    by_name: dict[str, bool] = {}


class Optional(BaseModel):
    limit: int = 1


async def _call(_request: web.Request, _input: object) -> None:
    return None


def test_the_files_in_the_package_are_what_the_procedures_say() -> None:
    files = {file: file.read_text(encoding="utf-8") for file in (types.MACHINE, types.CONTROL)}
    assert files == types.written_anew(), "python -m daemon.cli.types writes them"


def test_models_become_interfaces_with_their_descriptions() -> None:
    text = declaration({"a.b": Procedure("query", Access.READ, _call, Asked, list[Asked])})
    assert "/** What is asked. * / And more. */\nexport interface Asked {\n  /** Of whom. */\n  name: string;\n" in text
    assert "  inner?: Inner | null;\n  by_name?: Record<string, boolean>;\n" in text
    assert '  numbers: readonly (number | null)[];\n  kind?: "a" | "b";\n' in text
    assert "  a: {\n    b: Query<Asked, readonly Asked[]>;\n  };\n" in text


def test_an_input_of_which_nothing_is_required_may_be_left_out() -> None:
    text = declaration({"all": Procedure("mutation", Access.READ, _call, Optional)})
    assert "all: Mutation<Optional | undefined, unknown>;" in text


def test_what_has_no_type_is_refused_and_not_guessed() -> None:
    with pytest.raises(ValueError, match="no TypeScript is known"):
        type_of({"type": "unheard-of"})


@pytest.mark.parametrize(("words", "file"), [([], types.MACHINE), (["--control"], types.CONTROL)])
def test_the_command_prints_the_file(words: list[str], file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["types", *words]) == 0
    assert capsys.readouterr().out == file.read_text(encoding="utf-8")
