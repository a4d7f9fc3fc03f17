"""Which answers may be given again: the version's, while it is what it was and the caller may still ask for it."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from daemon.auth.access import rights_unchanged
from daemon.server.repeat import LASTING
from daemon.version import Report


@dataclass(frozen=True)
class _Told:
    report: Report
    rights_unchanged: Callable[[], bool]

    def holds(self) -> bool:
        return self.report.holds() and self.rights_unchanged()

    def fresh(self) -> bool:
        return self.report.fresh()


def may_be_repeated(request: web.Request, report: Report) -> None:
    """The answer to this request is that report and nothing else."""
    request[LASTING] = _Told(report, rights_unchanged(request))
