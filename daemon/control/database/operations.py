"""Operations and their leases: one at a time for each machine, also where several control planes share a database.

An operation belongs to the control plane that holds its lease. Where that one dies, the lease runs out, and whoever
looks next takes the operation over and finds out how it ended.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.control.database.clock import db_now
from daemon.control.database.tables import OPERATIONS
from daemon.control.errors import MachineNotFoundError, OperationRunningError
from daemon.control.models import Activity, Operation, RefreshResult
from daemon.states import State

LEASE_SECONDS = 30.0

_COLUMNS = [column for column in OPERATIONS.c if column.name not in {"owner", "leased_until"}]


class Operations:
    """`owner` names this control plane in the leases; it is another one after each start."""

    def __init__(self, engine: AsyncEngine, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._engine = engine
        self._lease = lease_seconds
        self.owner = secrets.token_hex(8)

    async def begin(self, machine: str, activity: Activity, *, by: str, target_ref: str = "") -> Operation:
        """Raises OperationRunningError where the machine is busy, whoever made it so."""
        row = {
            "id": secrets.token_hex(8),
            "machine": machine,
            "activity": activity.value,
            "target_ref": target_ref,
            "asked_by": by,
            "asked_at": db_now(),
            "owner": self.owner,
            "leased_until": db_now() + self._lease,
        }
        try:
            async with self._engine.begin() as connection:
                await connection.execute(sa.insert(OPERATIONS).values(**row))
        except IntegrityError:
            raise await self._conflict(machine, activity) from None
        return await self.get(str(row["id"]))

    async def renew(self, operation_id: str) -> bool:
        """False when the operation is not ours any more."""
        return await self._change_mine(operation_id, {"leased_until": db_now() + self._lease})

    async def reached(self, operation_id: str, step: State) -> bool:
        return await self._change_mine(operation_id, {"step": step.value})

    async def finish(self, operation_id: str, result: RefreshResult) -> bool:
        """False when somebody else has finished it or has taken it over."""
        return await self._change_mine(operation_id, {"finished_at": db_now(), "result": result.snake()})

    async def let_go(self, operation_id: str) -> None:
        """Whoever looks next may take it over."""
        await self._change_mine(operation_id, {"leased_until": db_now()})

    async def take_over(self) -> Sequence[Operation]:
        """The operations that nobody works on any more; they are ours from now on."""
        abandoned = (OPERATIONS.c.finished_at.is_(None), OPERATIONS.c.leased_until < db_now())
        taking = (
            sa.update(OPERATIONS)
            .where(*abandoned)
            .values(owner=self.owner, leased_until=db_now() + self._lease)
            .returning(OPERATIONS.c.id)
        )
        async with self._engine.begin() as connection:
            ids = (await connection.execute(taking)).scalars().all()
        return [await self.get(operation_id) for operation_id in ids]

    async def get(self, operation_id: str) -> Operation:
        found = await self._read(sa.select(*_COLUMNS).where(OPERATIONS.c.id == operation_id))
        if not found:
            raise MachineNotFoundError(machine=operation_id)
        return found[0]

    async def running(self) -> Mapping[str, Operation]:
        """By machine, of all control planes."""
        rows = await self._read(sa.select(*_COLUMNS).where(OPERATIONS.c.finished_at.is_(None)))
        return {operation.machine: operation for operation in rows}

    async def latest(self) -> Mapping[str, Operation]:
        """The last operation of each machine that has ended."""
        ended = OPERATIONS.c.finished_at.is_not(None)
        newest = sa.select(OPERATIONS.c.machine, sa.func.max(OPERATIONS.c.asked_at).label("at")).where(ended)
        last = newest.group_by(OPERATIONS.c.machine).subquery()
        same = (OPERATIONS.c.machine == last.c.machine) & (OPERATIONS.c.asked_at == last.c.at)
        rows = await self._read(sa.select(*_COLUMNS).join(last, same))
        return {operation.machine: operation for operation in rows}

    async def history(self, machine: str, limit: int = 20) -> Sequence[Operation]:
        """Newest first."""
        mine = sa.select(*_COLUMNS).where(OPERATIONS.c.machine == machine)
        return await self._read(mine.order_by(OPERATIONS.c.asked_at.desc()).limit(limit))

    async def _conflict(self, machine: str, activity: Activity) -> OperationRunningError:
        other = (await self.running()).get(machine)
        return OperationRunningError(
            action=activity.value,
            machine=machine,
            running=other.id if other else "that has just ended",
            running_action=other.activity.value if other else "an operation",
            by=other.asked_by if other else "somebody",
        )

    async def _change_mine(self, operation_id: str, values: Mapping[str, Any]) -> bool:
        mine = (
            OPERATIONS.c.id == operation_id,
            OPERATIONS.c.owner == self.owner,
            OPERATIONS.c.finished_at.is_(None),
        )
        async with self._engine.begin() as connection:
            changed = await connection.execute(sa.update(OPERATIONS).where(*mine).values(**values))
        return changed.rowcount == 1

    async def _read(self, query: sa.Select[Any]) -> Sequence[Operation]:
        async with self._engine.connect() as connection:
            return [_operation(row._mapping) for row in await connection.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name


def _operation(row: Mapping[Any, Any]) -> Operation:
    finished = row["finished_at"]
    return Operation(
        id=row["id"],
        machine=row["machine"],
        activity=Activity(row["activity"]),
        target_ref=row["target_ref"],
        asked_by=row["asked_by"],
        asked_at=moment(row["asked_at"]),
        step=State(row["step"]) if row["step"] else None,
        finished_at=None if finished is None else moment(finished),
        result=RefreshResult.model_validate(row["result"], extra="ignore") if row["result"] else None,
    )


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
