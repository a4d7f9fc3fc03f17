"""The connection to SQLite or PostgreSQL, and the tables in it brought up to date."""

import asyncio
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from daemon.control.database.tables import METADATA
from daemon.errors import ConfigurationError

MIGRATIONS = Path(__file__).with_name("migrations")
BUSY_SECONDS = 10  # how long SQLite waits for another writer
MIGRATION_LOCK = 0x7265_6672  # of PostgreSQL: one control plane migrates, the others wait

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}


def database_url(text: str) -> URL:
    """Raises ConfigurationError, which does not quote the URL: it may hold a password."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise ConfigurationError(problems="CONTROL_DATABASE_URL: it is not a URL") from None
    driver = _DRIVERS.get(url.drivername.partition("+")[0])
    if driver is None:
        raise ConfigurationError(problems="CONTROL_DATABASE_URL: give sqlite:///FILE or postgresql://…")
    return url.set(drivername=driver)


def make_engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(url, connect_args={"timeout": BUSY_SECONDS})
        sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        return engine
    # a server that was restarted is no error; one that hangs is
    return create_async_engine(url, pool_pre_ping=True, connect_args={"timeout": 10, "command_timeout": 30})


async def open_database(url: URL) -> AsyncEngine:
    """With the tables of this version in it. Raises ConfigurationError where the database cannot be used."""
    # drivers are imported and paths are looked at
    engine = await asyncio.to_thread(make_engine, url)
    try:
        await migrate(engine)
    except BaseException:
        await engine.dispose()
        raise
    return engine


async def migrate(engine: AsyncEngine) -> None:
    """Brings the tables to this version. Raises ConfigurationError."""
    script = await asyncio.to_thread(_scripts)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, script)
    except (OperationalError, DBAPIError, OSError) as error:
        reason = type(error.orig).__name__ if isinstance(error, DBAPIError) else type(error).__name__
        raise ConfigurationError(problems=f"the database cannot be used ({reason}); see CONTROL_DATABASE_URL") from None


def _scripts() -> ScriptDirectory:
    """Read in a thread, to the last file: what follows runs in the loop."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    list(script.walk_revisions())
    return script


def _upgrade(connection: Connection, script: ScriptDirectory) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))

    def steps(revision: Any, _context: MigrationContext) -> Any:  # noqa: ANN401 - alembic's own types are private
        return script._upgrade_revs("head", revision)  # noqa: SLF001 - what alembic's own command does

    with EnvironmentContext(Config(), script, fn=steps, destination_rev="head") as environment:
        environment.configure(connection=connection, target_metadata=METADATA)
        environment.run_migrations()


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - whatever the driver hands out
    cursor = connection.cursor()
    # readers do not wait for the writer, and an end that was recorded is there after a power failure
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
