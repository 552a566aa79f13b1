"""Requests for access, and the log of who read mail of others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _requests()
    _readings()
    op.create_index(
        "ix_events_of_answers", "events", ["team_id", "message_id"],
        postgresql_where=sa.text("kind = 'answer.asked'"),
    )  # fmt: skip
    op.add_column("threads", sa.Column("answers_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(
        op.f("fk_threads_answers_id"), "threads", "messages", ["answers_id"], ["id"], ondelete="SET NULL"
    )
    op.create_index(
        "ix_threads_answers_id", "threads", ["answers_id"], postgresql_where=sa.text("answers_id IS NOT NULL")
    )


def _requests() -> None:
    op.create_table(
        "access_requests",
        sa.Column("asker_id", sa.BigInteger(), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("conversation_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("scope", sa.Text(), nullable=True),
        sa.Column("named", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state in ('open', 'granted', 'declined')", name=op.f("ck_access_requests_state")),
        *(_foreign("access_requests", column, to) for column, to in (
            ("asker_id", "users"), ("owner_id", "users"), ("conversation_id", "conversations"),
            ("message_id", "messages"), ("team_id", "teams"),
        )),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_requests")),
        sa.UniqueConstraint("key", name=op.f("uq_access_requests_key")),
    )  # fmt: skip
    for column in ("conversation_id", "message_id"):
        op.create_index(op.f(f"ix_access_requests_{column}"), "access_requests", [column])
    op.create_index("ix_access_requests_owner_id_state", "access_requests", ["owner_id", "state", "id"])
    op.create_index("ix_access_requests_asker_id_asked_at", "access_requests", ["asker_id", "asked_at"])
    op.create_index(
        "uq_access_requests_open", "access_requests", ["asker_id", "owner_id", "conversation_id"], unique=True,
        postgresql_where=sa.text("state = 'open'"),
    )  # fmt: skip


def _readings() -> None:
    op.create_table(
        "mail_readings",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("door", sa.Text(), nullable=False),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        _foreign("mail_readings", "user_id", "users"),
        _foreign("mail_readings", "message_id", "messages", "SET NULL"),
        _foreign("mail_readings", "team_id", "teams"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mail_readings")),
        sa.UniqueConstraint(
            "user_id", "message_id", "hour", name=op.f("uq_mail_readings_user_id_message_id_hour")
        ),
    )
    op.create_index("ix_mail_readings_message_id", "mail_readings", ["message_id"])
    op.create_index("ix_mail_readings_at", "mail_readings", ["at"])
    op.create_index("ix_mail_readings_team_id_at", "mail_readings", ["team_id", "at", "id"])


def _foreign(table: str, column: str, to: str, gone: str = "CASCADE") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=op.f(f"fk_{table}_{column}"), ondelete=gone)


def downgrade() -> None:
    op.drop_index("ix_events_of_answers", table_name="events")
    op.drop_column("threads", "answers_id")
    op.drop_table("mail_readings")
    op.drop_table("access_requests")
