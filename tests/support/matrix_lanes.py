"""Runs the rows of the kill matrix on a few machines side by side, and counts what came of them.

For each source: two with the usual time limits, and one with short ones for what hangs.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from tests.support.faults import Fault
from tests.support.matrix_machine import Lane, Seen

SHORT_LIMITS = {
    "REFRESHD_STAGE_TIMEOUT": "8",
    "REFRESHD_APPLY_TIMEOUT": "8",
    "REFRESHD_INSTALL_TIMEOUT": "8",
    "REFRESHD_CHECK_TIMEOUT": "8",
    "REFRESHD_VERIFY_TIMEOUT": "3",
}


@dataclass(frozen=True)
class Row:
    """One case: where the machine's code comes from, what goes wrong, and exactly what must come of it.

    `later` is the chain of the update that follows by itself. `chains` is a set of one, unless two ends are right.
    """

    source: str
    kind: str
    name: str
    faults: tuple[Fault, ...]
    chains: frozenset[tuple[str, ...]]
    ends_at: str
    code: str | None = None
    bad_code: str = ""
    later: tuple[str, ...] = ()
    patient: bool = False

    @property
    def id(self) -> str:
        return f"{self.source}-{self.kind}-{self.name}"

    def complaints(self, seen: Seen) -> list[str]:
        found = list(seen.problems)
        if seen.chain not in self.chains:
            found.append(f"the chain is {' '.join(seen.chain)}")
        if seen.later != self.later:
            found.append(f"the later chain is {' '.join(seen.later)}")
        if seen.ended_at != self.ends_at:
            found.append(f"the machine ended at {seen.ended_at}")
        if self.code is not None and seen.code != self.code:
            found.append(f"the error is {seen.code}")
        return found


class Lanes:
    """The results of rows, as they come; `result` waits for one."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._results: dict[Row, asyncio.Future[Seen]] = {row: asyncio.Future() for row in rows}
        self._queues: dict[tuple[str, bool], deque[Row]] = {}
        for row in self._results:
            self._queues.setdefault((row.source, row.patient), deque()).append(row)
        self._workers = [
            asyncio.create_task(self._work(source, rows, SHORT_LIMITS if patient else {}))
            for (source, patient), rows in self._queues.items()
            for _ in range(1 if patient else 2)
        ]

    async def result(self, row: Row) -> Seen:
        return await asyncio.shield(self._results[row])

    async def close(self) -> None:
        """Ends the machines in order: what is under way may come to its end, and nothing begins."""
        for rows in self._queues.values():
            rows.clear()
        await asyncio.wait(self._workers)
        for result in self._results.values():
            if not result.cancel():
                result.exception()

    async def _work(self, source: str, rows: deque[Row], env: dict[str, str]) -> None:
        while rows:
            try:
                async with Lane.open(mounted=source == "mount", env=env) as lane:
                    await self._work_off(lane, rows)
            except Exception as error:  # noqa: BLE001 - a machine that cannot be made fails the row that needed it
                if rows:
                    self._results[rows.popleft()].set_exception(error)

    async def _work_off(self, lane: Lane, rows: deque[Row]) -> None:
        """Returns early after a row that went wrong: the next one gets a new machine."""
        while rows:
            row = rows.popleft()
            try:
                seen = await lane.run(row.faults, bad_code=row.bad_code, later=bool(row.later))
            except Exception as error:  # noqa: BLE001 - it is the row's result, and told there
                self._results[row].set_exception(error)
                return
            self._results[row].set_result(seen)
            if row.complaints(seen):
                return
