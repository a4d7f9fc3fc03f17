"""What each machine said when it was last seen: shown of machines that are stopped or away."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.control.database.clock import db_now
from daemon.control.database.operations import moment
from daemon.control.database.tables import SIGHTINGS
from daemon.models import Version


@dataclass(frozen=True)
class Sighting:
    version: Version
    seen_at: datetime


class Sightings:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def all(self) -> Mapping[str, Sighting]:
        """What an older version of this program wrote and nobody can read any more is left out."""
        async with self._engine.connect() as connection:
            rows = (await connection.execute(sa.select(SIGHTINGS))).all()
        found = {}
        for row in rows:
            with contextlib.suppress(ValidationError):
                found[row.machine] = Sighting(Version.model_validate(row.version, extra="ignore"), moment(row.seen_at))
        return found

    async def remember(self, versions: Mapping[str, Version]) -> None:
        if not versions:
            return
        insert = (postgresql if self._engine.dialect.name == "postgresql" else sqlite).insert(SIGHTINGS)
        newer = insert.on_conflict_do_update(
            index_elements=[SIGHTINGS.c.machine],
            set_={"seen_at": insert.excluded.seen_at, "version": insert.excluded.version},
        )
        async with self._engine.begin() as connection:
            for machine, version in versions.items():
                await connection.execute(newer.values(machine=machine, seen_at=db_now(), version=version.snake()))

    async def forget(self, machine: str) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(SIGHTINGS).where(SIGHTINGS.c.machine == machine))
