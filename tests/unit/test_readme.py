"""The README's generated parts are those that the code prints."""

import re
from pathlib import Path

from daemon.control.settings import ControlSettings
from daemon.settings import table

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(name: str) -> str:
    match = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", README, re.DOTALL)
    assert match, f"the README has no block {name}"
    return match[1]


def test_the_settings_are_those_of_the_code() -> None:
    assert block("settings") == table(), "python -m daemon.settings prints it"


def test_the_control_planes_settings_are_those_of_the_code() -> None:
    assert block("control-settings") == table(ControlSettings), "python -m daemon.control.settings prints it"
