"""`status`: how the daemon is, by its process and by its socket. Healthy is exit code 0, everything else 1."""

import os
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import daemon.log
from daemon.cli import texts
from daemon.cli.asking import ask, connection_words
from daemon.cli.exit_codes import ExitCode
from daemon.cli.output import Output
from daemon.client import Client, NoAnswerError, RefusedError
from daemon.health import Status, Verdict
from daemon.health.judging import Judgement, Probed, judge_from_outside
from daemon.s6 import OURS, ScanDirectory

DEFAULT_RUN_DIR = "/run/refreshd"
START_LIMIT = 90.0  # seconds; with the default time limits the guard ends new code after as long


class Probe(NamedTuple):
    """What s6 knows of the process; `unknown` from outside the machine, and where there is no s6."""

    process: Probed = "unknown"
    up_for: float = 0


def run(arguments: Namespace) -> int:
    return ask(arguments, partial(_status, arguments))


async def _status(arguments: Namespace, client: Client, output: Output) -> ExitCode:
    probe = Probe() if connection_words(arguments) else await _probe()
    report: Status | None = None
    try:
        report = await client.status()
        verdict, reasons = _judge(probe, (report.status, report.reasons), "")
    except NoAnswerError as error:
        verdict, reasons = _judge(probe, None, str(error))
    except RefusedError as error:
        verdict, reasons = Verdict.CHECK_FAILED, (str(error),)
    output.result(texts.of_status(verdict, reasons, report), _document(verdict, reasons, probe, report))
    return ExitCode.DONE if verdict is Verdict.HEALTHY else ExitCode.FAILED


def _judge(probe: Probe, answer: Judgement | None, silence: str) -> Judgement:
    return judge_from_outside(
        process=probe.process, up_for=probe.up_for, start_limit=START_LIMIT, answer=answer, silence=silence
    )


def _document(verdict: Verdict, reasons: tuple[str, ...], probe: Probe, report: Status | None) -> dict[str, Any]:
    known = report.snake() if report else dict.fromkeys(Status.model_fields)
    healthy = verdict is Verdict.HEALTHY
    return known | {"status": verdict, "healthy": healthy, "reasons": reasons, "supervised": probe.process}


async def _probe() -> Probe:
    daemon.log.configure("pretty", "warning")
    run_dir = Path(os.environ.get("REFRESHD_RUN_DIR") or DEFAULT_RUN_DIR)
    found = await ScanDirectory(run_dir).status(OURS)
    return Probe("up" if found.up else "down", found.since) if found else Probe()
