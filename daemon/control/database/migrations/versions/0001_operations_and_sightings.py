"""Operations with their leases, and what machines said when they were last seen."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "operations",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("machine", sa.String(120), nullable=False),
        sa.Column("activity", sa.String(20), nullable=False),
        sa.Column("target_ref", sa.String(300), nullable=False),
        sa.Column("asked_by", sa.String(120), nullable=False),
        sa.Column("asked_at", sa.Float, nullable=False),
        sa.Column("step", sa.String(20)),
        sa.Column("finished_at", sa.Float),
        sa.Column("result", sa.JSON),
        sa.Column("owner", sa.String(40), nullable=False),
        sa.Column("leased_until", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_operations"),
    )
    op.create_index("ix_operations_machine_asked_at", "operations", ["machine", "asked_at"])
    unfinished = sa.text("finished_at IS NULL")
    op.create_index(
        "uq_operations_running",
        "operations",
        ["machine"],
        unique=True,
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
    op.create_table(
        "sightings",
        sa.Column("machine", sa.String(120), nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.Column("version", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("machine", name="pk_sightings"),
    )


def downgrade() -> None:
    op.drop_table("sightings")
    op.drop_table("operations")
