"""A log line is one constant sentence and its facts."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from daemon.log import configure, get_logger

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _configuration_of_before() -> Iterator[None]:
    before, last_resort = structlog.get_config(), logging.lastResort
    yield
    structlog.configure(**before)
    logging.lastResort = last_resort


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_one_json_object_with_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    get_logger().info("commit fetched", commit="abc", seconds=0.2)
    (line,) = logged(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "commit fetched", "level": "info", "commit": "abc", "seconds": 0.2}


def test_a_pretty_traceback_shows_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    configure("pretty", "info")
    hidden = "planted-secret"
    try:
        int(hidden[:0])
    except ValueError:
        get_logger().exception("defect met")
    printed = capsys.readouterr().err
    assert "ValueError" in printed
    assert hidden not in printed


def test_newlines_in_a_fact_do_not_make_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    get_logger().info("child ended", output="one\ntwo\r\nthree\u2028four")
    (line,) = logged(capsys)
    assert line["output"] == "one\ntwo\r\nthree\u2028four"


def test_a_fact_that_json_does_not_know_is_still_told(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    get_logger().info("looked", path=Path("/etc"), name="\udcff")
    (line,) = logged(capsys)
    assert "/etc" in line["path"]
    assert line["name"] == "\udcff"


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["d", "i", "w", "e"]),
        ("info", ["i", "w", "e"]),
        ("warning", ["w", "e"]),
        ("error", ["e"]),
    ],
)
def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str], level: str, shown: list[str]) -> None:
    configure("json", level)
    log = get_logger()
    log.debug("d")
    log.info("i")
    log.warning("w")
    log.error("e")
    assert [line["event"] for line in logged(capsys)] == shown


def test_an_exception_is_told_whole_with_its_cause(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    try:
        try:
            int("the disk")
        except ValueError as error:
            raise RuntimeError("the update") from error
    except RuntimeError:
        get_logger().exception("update met a defect")
    (line,) = logged(capsys)
    assert line["level"] == "error"
    for part in ("Traceback", "ValueError: invalid literal", "direct cause", "RuntimeError: the update"):
        assert part in line["exception"]


async def test_facts_bound_in_a_context_are_on_every_line_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")

    async def work(update_id: str) -> None:
        with structlog.contextvars.bound_contextvars(update_id=update_id):
            await asyncio.sleep(0)
            get_logger().info("works")

    await asyncio.gather(work("a"), work("b"))
    get_logger().info("ends")
    assert [line.get("update_id") for line in logged(capsys)] == ["a", "b", None]


def test_auto_means_json_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    configure("auto", "info")
    get_logger().info("starts")
    assert logged(capsys)[0]["event"] == "starts"


def test_pretty_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure("pretty", "info")
    get_logger().info("starts", port=3000)
    line = capsys.readouterr().err
    assert not line.startswith("{")
    assert "port=3000" in line


def test_auto_means_pretty_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    configure("auto", "info")
    get_logger().info("starts")
    assert not capsys.readouterr().err.startswith("{")


def test_a_logger_that_a_module_keeps_follows_a_new_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    kept = get_logger()
    configure("json", "info")
    kept.info("first")
    configure("json", "error")
    kept.info("second")
    assert [line["event"] for line in logged(capsys)] == ["first"]


FOREIGN = """
import asyncio, logging, sys
from daemon.log import configure

configure("json", "info")
logging.getLogger("library").warning("is %s", "late")
logging.getLogger("library").info("chatters")

async def forgotten():
    raise ValueError("nobody awaited this")

async def main():
    task = asyncio.create_task(forgotten())
    await asyncio.sleep(0)
    del task

asyncio.run(main())
"""


def test_what_libraries_log_comes_as_lines_of_ours() -> None:
    """In a process of its own: pytest takes the records of its process."""
    ran = subprocess.run([sys.executable, "-c", FOREIGN], cwd=ROOT, capture_output=True, check=True, text=True)
    late, lost = (json.loads(line) for line in ran.stderr.splitlines())
    assert (late["event"], late["level"], late["logger"]) == ("is late", "warning", "library")
    assert (lost["event"].splitlines()[0], lost["logger"]) == ("Task exception was never retrieved", "asyncio")
    assert "ValueError: nobody awaited this" in lost["exception"]
