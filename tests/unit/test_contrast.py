"""Every text of the pages can be read: 4.5 to 1 against what is behind it, in the light and in the dark."""

import re
from pathlib import Path

import pytest

SHEET = (Path(__file__).parents[2] / "daemon/web/base.css").read_text()
PAIRS = [
    *(("text", behind) for behind in ("canvas", "surface", "sunken", "good-soft", "bad-soft", "warn-soft")),
    *(("muted", behind) for behind in ("canvas", "surface", "sunken", "good-soft", "bad-soft", "warn-soft")),
    *((tone, f"{tone}-soft") for tone in ("good", "bad", "warn", "busy")),
    ("accent", "surface"),
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("bad", "surface"),
]


def tokens(*, dark: bool) -> dict[str, str]:
    light, night = SHEET.split("@media (prefers-color-scheme: dark)", 1)
    found = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6});", light))
    return found | dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6});", night)) if dark else found


def luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[index : index + 2], 16) / 255 for index in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_measure_knows_black_on_white_and_grey_on_white() -> None:
    assert contrast("#000", "#fff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") < 4.5


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "behind"), PAIRS)
def test_text_stands_out(text: str, behind: str, *, dark: bool) -> None:
    colours = tokens(dark=dark)
    assert contrast(colours[text], colours[behind]) >= 4.5


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_edge_of_a_control_stands_out(*, dark: bool) -> None:
    colours = tokens(dark=dark)
    assert contrast(colours["line-strong"], colours["surface"]) >= 3
