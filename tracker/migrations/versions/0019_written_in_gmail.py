"""Tracking that is put into a mail while it is written in Gmail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Which pixels were put in by hand, and which of them nobody has seen to go."""
    op.add_column(
        "tracked_emails", sa.Column("by_hand", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.create_index(
        "ix_tracked_emails_written", "tracked_emails", ["team_id", "mailbox_id"], unique=False,
        postgresql_where=sa.text("by_hand AND sent_at IS NULL"),
    )  # fmt: skip


def downgrade() -> None:
    """Drop them; what was never sent tells nobody anything."""
    op.execute("DELETE FROM tracked_emails WHERE by_hand AND sent_at IS NULL")
    op.drop_index("ix_tracked_emails_written", table_name="tracked_emails")
    op.drop_column("tracked_emails", "by_hand")
