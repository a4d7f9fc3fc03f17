"""Prints, after the run, what came of all rows of the kill matrix; from the reports, which other processes send too."""

from collections import Counter

import pytest

PROPERTY = "kill matrix"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    total: Counter[tuple[str, str]] = Counter()
    passed: Counter[tuple[str, str]] = Counter()
    for report in _reports(terminalreporter):
        for name, row in report.user_properties:
            if name == PROPERTY and isinstance(row, list | tuple):
                kind, source = row
                total[kind, source] += 1
                passed[kind, source] += report.passed
    if not total:
        return
    terminalreporter.section("kill matrix")
    sources = sorted({source for _, source in total})
    terminalreporter.write_line(f"{'fault':<44}" + "".join(f"{source:>12}" for source in sources))
    for kind in sorted({kind for kind, _ in total}):
        cells = (f"{passed[kind, source]}/{total[kind, source]}" for source in sources)
        terminalreporter.write_line(f"{kind:<44}" + "".join(f"{cell:>12}" for cell in cells))
    terminalreporter.write_line(f"{sum(passed.values())} of {sum(total.values())} cases passed")


def _reports(terminalreporter: pytest.TerminalReporter) -> list[pytest.TestReport]:
    stats = (terminalreporter.stats.get(outcome, []) for outcome in ("passed", "failed"))
    return [report for reports in stats for report in reports if report.when == "call"]
