"""Hits as they arrive, before they are taken in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hit_arrivals",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("tracked_email_id", sa.BigInteger(), nullable=False),
        sa.Column("link_id", sa.BigInteger()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("address", postgresql.INET()),
        sa.Column("agent", sa.Text()),
        sa.Column("headers", postgresql.JSONB(), nullable=False),
        sa.Column("user_key", sa.Text()),
        sa.Column("repeats", sa.Integer(), nullable=False),
    )
    # Rows come and go like those of a queue: what is gone is swept up by the thousand, not by the share.
    op.execute(
        "ALTER TABLE hit_arrivals SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,"
        " autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0,"
        " autovacuum_analyze_threshold = 1000000)"
    )


def downgrade() -> None:
    op.drop_table("hit_arrivals")
