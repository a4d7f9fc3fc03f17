import subprocess
import sys
from xml.etree import ElementTree as ET

from tests.support.icicle import Imported, drawn, imports_of

REPORT = """import time: self [us] | cumulative | imported package
import time:         5 |          5 |     leaf
import time:        10 |         15 |   branch
import time:         1 |          1 |   other
import time:        20 |         36 | root
import time:         7 |          7 | second
"""
NAME = "{http://www.w3.org/2000/svg}"


def test_a_module_holds_those_that_it_brings() -> None:
    root, second = imports_of(REPORT)
    assert root == Imported("root", 36, [Imported("branch", 15, [Imported("leaf", 5)]), Imported("other", 1)])
    assert second == Imported("second", 7)


def test_what_an_interpreter_reports_becomes_a_picture_as_wide_as_its_time() -> None:
    argv = (sys.executable, "-X", "importtime", "-c", "import json")
    modules = imports_of(subprocess.run(argv, check=True, capture_output=True, text=True).stderr)
    picture = ET.fromstring(drawn("<imports>", modules))  # noqa: S314 - our own
    boxes = [box for box in picture.iter(f"{NAME}rect") if box.get("y") == "18"]
    widest = max(boxes, key=lambda box: float(box.get("width", 0)))
    assert "json " in "".join(title.text or "" for title in picture.iter(f"{NAME}title"))
    assert sum(float(box.get("width", 0)) for box in boxes) <= float(picture.get("width", 0)) + 0.1 * len(boxes)
    assert float(widest.get("width", 0)) > 0


def test_an_interpreter_that_reports_nothing_gives_an_empty_picture() -> None:
    assert ET.fromstring(drawn("nothing", imports_of("Traceback: no module"))).tag == f"{NAME}svg"  # noqa: S314 - our own
