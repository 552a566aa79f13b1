"""The outbox's history: what happened to a mail is found by its key; drafts that Gmail did not find once.

And reminders by a contact's clock, and saved follow-ups.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("scheduled_emails", sa.Column("missed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_events_of_mail",
        "events",
        ["team_id", sa.literal_column("(data ->> 'email')")],
        unique=False,
        postgresql_where=sa.text("kind LIKE 'email.%'"),
    )
    op.create_table(
        "reminders_by_their_clock",
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("wall_time", sa.DateTime(), nullable=False),
        sa.Column("remind_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name=op.f("fk_reminders_by_their_clock_task_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
            name=op.f("fk_reminders_by_their_clock_contact_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_reminders_by_their_clock_team_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_reminders_by_their_clock")),
    )
    op.create_index(
        op.f("ix_reminders_by_their_clock_contact_id"), "reminders_by_their_clock", ["contact_id"], unique=False
    )
    op.create_table(
        "sequence_plans",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("steps", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_sequence_plans_team_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_sequence_plans_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sequence_plans")),
        sa.UniqueConstraint("key", name=op.f("uq_sequence_plans_key")),
    )
    op.create_index(
        "uq_sequence_plans_name", "sequence_plans", ["user_id", sa.literal_column("lower(name)")], unique=True
    )


def downgrade() -> None:
    op.drop_table("sequence_plans")
    op.drop_table("reminders_by_their_clock")
    op.drop_column("scheduled_emails", "missed_at")
    op.drop_index("ix_events_of_mail", table_name="events", postgresql_where=sa.text("kind LIKE 'email.%'"))
