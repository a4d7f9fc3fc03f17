"""The tables. A change here needs a migration; a test compares the two."""

import sqlalchemy as sa

METADATA = sa.MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"},
)

OPERATIONS = sa.Table(
    "operations",
    METADATA,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("machine", sa.String(120), nullable=False),
    sa.Column("activity", sa.String(20), nullable=False),
    sa.Column("target_ref", sa.String(300), nullable=False),
    sa.Column("asked_by", sa.String(120), nullable=False),
    sa.Column("asked_at", sa.Float, nullable=False),
    sa.Column("step", sa.String(20)),
    sa.Column("finished_at", sa.Float),
    sa.Column("result", sa.JSON),
    # who works on it, and until when others must believe that; times are the database's own
    sa.Column("owner", sa.String(40), nullable=False),
    sa.Column("leased_until", sa.Float, nullable=False),
    sa.Index("ix_operations_machine_asked_at", "machine", "asked_at"),
)

# one at a time for each machine, whoever asks: the database itself says no to a second
ONE_AT_A_TIME = sa.Index(
    "uq_operations_running",
    OPERATIONS.c.machine,
    unique=True,
    sqlite_where=OPERATIONS.c.finished_at.is_(None),
    postgresql_where=OPERATIONS.c.finished_at.is_(None),
)

SIGHTINGS = sa.Table(
    "sightings",
    METADATA,
    sa.Column("machine", sa.String(120), primary_key=True),
    sa.Column("seen_at", sa.Float, nullable=False),
    sa.Column("version", sa.JSON, nullable=False),
)
