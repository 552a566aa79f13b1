"""Calendars: the team's days off, a rep's feed, follow-ups by mail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "team_days",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_team_days_team_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("team_id", "day", name=op.f("pk_team_days")),
    )
    op.create_table(
        "unsubscribed",
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("normalized", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_unsubscribed_team_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("team_id", "normalized", name=op.f("pk_unsubscribed")),
    )
    op.create_table(
        "calendar_feeds",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_calendar_feeds_team_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_calendar_feeds_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calendar_feeds")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_calendar_feeds_secret_hash")),
        sa.UniqueConstraint("user_id", name=op.f("uq_calendar_feeds_user_id")),
    )
    op.create_table(
        "team_calendars",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("etag", sa.Text(), server_default="", nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("url IS NOT NULL OR text IS NOT NULL", name=op.f("ck_team_calendars_source")),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_team_calendars_team_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_team_calendars_user_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_team_calendars")),
        sa.UniqueConstraint("team_id", name=op.f("uq_team_calendars_team_id")),
    )
    op.create_index("ix_team_calendars_next_at", "team_calendars", ["next_at"], unique=False)
    op.create_table(
        "sequence_runs",
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("box_id", sa.BigInteger(), nullable=True),
        sa.Column("email_id", sa.BigInteger(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("to", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("cc", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("recipients", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("stopped_by", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("gmail_thread_id", sa.Text(), nullable=True),
        sa.Column("references", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(state = 'stopped') = (stopped_by IS NOT NULL)", name=op.f("ck_sequence_runs_stopped")
        ),
        sa.CheckConstraint("state <> 'running' OR began_at IS NOT NULL", name=op.f("ck_sequence_runs_running")),
        sa.CheckConstraint(
            "state in ('waiting', 'running', 'paused', 'done', 'stopped')", name=op.f("ck_sequence_runs_state")
        ),
        sa.ForeignKeyConstraint(
            ["box_id"], ["boxes.id"], name=op.f("fk_sequence_runs_box_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["email_id"], ["scheduled_emails.id"], name=op.f("fk_sequence_runs_email_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.id"], name=op.f("fk_sequence_runs_mailbox_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_sequence_runs_team_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_sequence_runs_user_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sequence_runs")),
        sa.UniqueConstraint("key", name=op.f("uq_sequence_runs_key")),
    )
    op.create_index("ix_sequence_runs_box_id", "sequence_runs", ["box_id", "id"], unique=False)
    op.create_index(op.f("ix_sequence_runs_email_id"), "sequence_runs", ["email_id"], unique=False)
    op.create_index(
        "ix_sequence_runs_mailbox_id_gmail_thread_id",
        "sequence_runs",
        ["mailbox_id", "gmail_thread_id"],
        unique=False,
    )
    op.create_index(
        "ix_sequence_runs_next_at",
        "sequence_runs",
        ["next_at"],
        unique=False,
        postgresql_where=sa.text("state in ('waiting', 'running')"),
    )
    op.create_table(
        "sequence_steps",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("days", sa.SmallInteger(), nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("email_id", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state in ('waiting', 'queued', 'sent')", name=op.f("ck_sequence_steps_state")),
        sa.CheckConstraint("position between 1 and 10", name=op.f("ck_sequence_steps_position")),
        sa.ForeignKeyConstraint(
            ["email_id"], ["scheduled_emails.id"], name=op.f("fk_sequence_steps_email_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["sequence_runs.id"], name=op.f("fk_sequence_steps_run_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_sequence_steps_team_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sequence_steps")),
        sa.UniqueConstraint("email_id", name=op.f("uq_sequence_steps_email_id")),
        sa.UniqueConstraint("run_id", "position", name=op.f("uq_sequence_steps_run_id_position")),
    )

    op.create_table(
        "reminders",
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("remind_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rung_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_reminders_task_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_reminders_team_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_reminders_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_reminders")),
    )
    op.create_index(
        "ix_reminders_unseen", "reminders", ["user_id"], unique=False, postgresql_where=sa.text("seen_at IS NULL")
    )


def downgrade() -> None:
    op.drop_table("reminders")
    for table in (
        "sequence_steps",
        "sequence_runs",
        "team_calendars",
        "calendar_feeds",
        "unsubscribed",
        "team_days",
    ):
        op.drop_table(table)
