"""The control plane's memory, on a real SQLite file and a real PostgreSQL server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from daemon.control.database import Operations, Sightings
from daemon.control.database.engine import database_url, migrate, open_database
from daemon.control.database.tables import METADATA
from daemon.control.errors import OperationRunningError
from daemon.control.models import Activity, RefreshResult
from daemon.errors import ConfigurationError
from daemon.states import State
from tests.support.postgres import postgres
from tests.support.versions import version_of

OLD, NEW = "a" * 40, "b" * 40
DONE = RefreshResult(success=True, outcome="succeeded", message="it runs", from_commit=OLD, to_commit=NEW)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    url = f"sqlite:///{tmp_path}/control.sqlite" if request.param == "sqlite" else request.getfixturevalue("server")
    engine = await open_database(database_url(url))
    yield engine
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.drop_all)
        await connection.execute(sa.text("DROP TABLE alembic_version"))
    await engine.dispose()


async def test_the_migrations_make_the_tables_that_the_code_expects(engine: AsyncEngine) -> None:
    def differences(connection: Connection) -> object:
        return compare_metadata(MigrationContext.configure(connection), METADATA)

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_again_changes_nothing(engine: AsyncEngine) -> None:
    operations = Operations(engine)
    begun = await operations.begin("m", Activity.REFRESH, by="ann", target_ref="main")
    await migrate(engine)
    assert await operations.get(begun.id) == begun


async def test_of_many_that_begin_at_once_exactly_one_may(engine: AsyncEngine) -> None:
    planes = [Operations(engine) for _ in range(8)]
    begun = await asyncio.gather(
        *(plane.begin("m", Activity.REFRESH, by="ann") for plane in planes), return_exceptions=True
    )
    refused = [error for error in begun if isinstance(error, OperationRunningError)]
    assert len(refused) == 7
    assert {error.running for error in refused} == {(await planes[0].running())["m"].id}


async def test_another_machine_is_not_in_the_way(engine: AsyncEngine) -> None:
    operations = Operations(engine)
    await operations.begin("m", Activity.REFRESH, by="ann")
    await operations.begin("n", Activity.RESTART, by="bob")
    assert set(await operations.running()) == {"m", "n"}


async def test_an_operation_that_ended_makes_room_and_is_remembered(engine: AsyncEngine) -> None:
    operations = Operations(engine)
    first = await operations.begin("m", Activity.REFRESH, by="ann", target_ref="main")
    assert await operations.reached(first.id, State.STAGING)
    assert (await operations.get(first.id)).step is State.STAGING
    assert await operations.finish(first.id, DONE)
    second = await operations.begin("m", Activity.RESTART, by="bob")
    assert [operation.id for operation in await operations.history("m")] == [second.id, first.id]
    last = (await operations.latest())["m"]
    assert (last.id, last.result, last.asked_by, last.target_ref) == (first.id, DONE, "ann", "main")


async def test_nobody_takes_over_what_is_worked_on(engine: AsyncEngine) -> None:
    begun = await Operations(engine, lease_seconds=30).begin("m", Activity.REFRESH, by="ann")
    assert await Operations(engine).take_over() == []
    assert (await Operations(engine).running())["m"].id == begun.id


async def test_what_a_dead_control_plane_left_is_taken_over_once_and_is_not_its_own_any_more(
    engine: AsyncEngine,
) -> None:
    dead = Operations(engine, lease_seconds=0.01)
    begun = await dead.begin("m", Activity.REFRESH, by="ann")
    await asyncio.sleep(0.05)
    heirs = [Operations(engine, lease_seconds=30) for _ in range(4)]
    taken = await asyncio.gather(*(heir.take_over() for heir in heirs))
    assert [operation.id for operations in taken for operation in operations] == [begun.id]
    assert not await dead.renew(begun.id)
    assert not await dead.finish(begun.id, DONE)
    heir = next(heir for heir, operations in zip(heirs, taken, strict=True) if operations)
    assert await heir.finish(begun.id, DONE)


async def test_a_lease_that_is_renewed_does_not_run_out(engine: AsyncEngine) -> None:
    operations = Operations(engine, lease_seconds=30)
    begun = await operations.begin("m", Activity.REFRESH, by="ann")
    await operations.let_go(begun.id)
    assert await operations.renew(begun.id)
    assert await Operations(engine).take_over() == []


async def test_the_last_sighting_of_a_machine_is_kept(engine: AsyncEngine) -> None:
    sightings = Sightings(engine)
    await sightings.remember({"m": version_of(OLD), "n": version_of(OLD)})
    await sightings.remember({"m": version_of(NEW)})
    seen = await sightings.all()
    assert (seen["m"].version, seen["n"].version) == (version_of(NEW), version_of(OLD))
    await sightings.forget("m")
    assert set(await sightings.all()) == {"n"}


async def test_a_sighting_that_cannot_be_read_any_more_is_left_out(engine: AsyncEngine) -> None:
    await Sightings(engine).remember({"m": version_of(OLD)})
    async with engine.begin() as connection:
        await connection.execute(sa.text("UPDATE sightings SET version = '{}'"))
    assert await Sightings(engine).all() == {}


async def test_two_control_planes_that_start_at_once_migrate_once(server: str) -> None:
    engines = await asyncio.gather(*(open_database(database_url(server)) for _ in range(3)))
    async with engines[0].begin() as connection:
        assert (await connection.execute(sa.text("SELECT count(*) FROM alembic_version"))).scalar() == 1
        await connection.run_sync(METADATA.drop_all)
        await connection.execute(sa.text("DROP TABLE alembic_version"))
    for engine in engines:
        await engine.dispose()


@pytest.mark.parametrize(
    "url", ["nonsense://planted-secret", "mysql://u:planted-secret@h/d", "sqlite:////planted-secret/no/such"]
)
async def test_an_unusable_database_is_refused_without_quoting_the_url(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await open_database(database_url(url))
    assert "CONTROL_DATABASE_URL" in str(refused.value)
    assert "planted-secret" not in str(refused.value)
