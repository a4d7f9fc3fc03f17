"""Runs the rows of the kill matrix on a few machines side by side, and counts what came of them.

For each source: two with the usual time limits, one with short ones for what hangs, and one on a disk of its own.
One more has uv and a submodule.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from tests.support.faults import Fault
from tests.support.matrix_machine import Lane, Seen

SHORT_LIMITS = {
    "REFRESHD_STAGE_TIMEOUT": "8",
    "REFRESHD_APPLY_TIMEOUT": "8",
    "REFRESHD_INSTALL_TIMEOUT": "8",
    "REFRESHD_CHECK_TIMEOUT": "8",
    "REFRESHD_VERIFY_TIMEOUT": "3",
    "REFRESHD_UNDO_TIMEOUT": "8",
}


class LaneKind(NamedTuple):
    source: str
    patient: bool
    own_disk: bool
    extras: bool


@dataclass(frozen=True)
class Row:
    """One case: where the machine's code comes from, what goes wrong, and exactly what must come of it.

    `later` is the chain of the update that follows by itself. `chains` is a set of one, unless two ends are right.
    `code` is that of the error on record, empty for none. `back`: it is a rollback that is asked for.
    `extras`: the machine has a uv project and a submodule, and nothing for pnpm. `fresh`: the submodule has moved on.
    `pristine`: nobody has edited anything.
    """

    source: str
    kind: str
    name: str
    faults: tuple[Fault, ...]
    chains: frozenset[tuple[str, ...]]
    ends_at: str
    code: str
    bad_code: str = ""
    later: tuple[str, ...] = ()
    patient: bool = False
    back: bool = False
    extras: bool = False
    fresh: bool = False
    pristine: bool = False

    @property
    def lane(self) -> LaneKind:
        """Rows of one lane may share a machine."""
        own_disk = any(fault.action == "fill" for fault in self.faults)
        return LaneKind(self.source, self.patient, own_disk, self.extras)

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
        if seen.code != self.code:
            found.append(f"the error is {seen.code or 'none'}")
        return found


class Lanes:
    """The results of rows, as they come; `result` waits for one."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._results: dict[Row, asyncio.Future[Seen]] = {row: asyncio.Future() for row in rows}
        self._queues: dict[LaneKind, deque[Row]] = {}
        for row in self._results:
            self._queues.setdefault(row.lane, deque()).append(row)
        self._workers = [
            asyncio.create_task(self._work(lane, rows))
            for lane, rows in self._queues.items()
            for _ in range(1 if any(lane[1:]) else 2)
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

    async def _work(self, kind: LaneKind, rows: deque[Row]) -> None:
        env = SHORT_LIMITS if kind.patient else {}
        mounted = kind.source == "mount"
        while rows:
            try:
                async with Lane.open(mounted=mounted, own_disk=kind.own_disk, extras=kind.extras, env=env) as lane:
                    await self._work_off(lane, rows)
            except Exception as error:  # noqa: BLE001 - a machine that cannot be made fails the row that needed it
                if rows:
                    self._results[rows.popleft()].set_exception(error)

    async def _work_off(self, lane: Lane, rows: deque[Row]) -> None:
        """Returns early after a row that went wrong: the next one gets a new machine."""
        while rows:
            row = rows.popleft()
            try:
                if row.fresh:
                    await lane.move_submodule_on()
                seen = await lane.run(
                    row.faults,
                    bad_code=row.bad_code,
                    later=bool(row.later),
                    back=row.back,
                    pristine=row.pristine,
                )
            except Exception as error:  # noqa: BLE001 - it is the row's result, and told there
                self._results[row].set_exception(error)
                return
            self._results[row].set_result(seen)
            if row.complaints(seen):
                return
