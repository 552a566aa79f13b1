"""Send later: scheduled emails, and what each mailbox may send."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "outbox_mailboxes",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("daily_limit", sa.BigInteger(), nullable=True),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.id"], name=op.f("fk_outbox_mailboxes_mailbox_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_outbox_mailboxes_team_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mailbox_id", name=op.f("pk_outbox_mailboxes")),
    )
    op.create_table(
        "scheduled_emails",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("box_id", sa.BigInteger(), nullable=True),
        sa.Column("conversation_id", sa.BigInteger(), nullable=True),
        sa.Column("contact_id", sa.BigInteger(), nullable=True),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("to", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("recipients", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("snippet", sa.Text(), server_default="", nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.Column("text_hash", sa.LargeBinary(), nullable=True),
        sa.Column("is_reply", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("reply_thread_id", sa.Text(), nullable=True),
        sa.Column("origin", sa.Text(), server_default="tracker", nullable=False),
        sa.Column("wall_time", sa.DateTime(), nullable=False),
        sa.Column("zone_rule", sa.Text(), server_default="recipient", nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("working_days", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("late_rule", sa.Text(), server_default="morning", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("moved_why", sa.Text(), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("rules", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.Text(), server_default="preparing", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("remedy", sa.Text(), nullable=True),
        sa.Column("held_by", sa.Text(), nullable=True),
        sa.Column("guards_off", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("behind", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("try_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("draft_id", sa.Text(), nullable=True),
        sa.Column("draft_message_id", sa.Text(), nullable=True),
        sa.Column("draft_thread_id", sa.Text(), nullable=True),
        sa.Column("draft_tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("prepared_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("edited_in_gmail_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claim_token", sa.Text(), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_gmail_id", sa.Text(), nullable=True),
        sa.Column("sent_thread_id", sa.Text(), nullable=True),
        sa.Column("rfc822_message_id", sa.Text(), nullable=True),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("sequence_run_id", sa.BigInteger(), nullable=True),
        sa.Column("sequence_step", sa.SmallInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "NOT (state in ('queued', 'sending')) OR (draft_id IS NOT NULL AND NOT behind)",
            name=op.f("ck_scheduled_emails_prepared"),
        ),
        sa.CheckConstraint("origin in ('tracker', 'gmail')", name=op.f("ck_scheduled_emails_origin")),
        sa.CheckConstraint("state <> 'preparing' OR behind", name=op.f("ck_scheduled_emails_preparing")),
        sa.CheckConstraint(
            "state <> 'sending' OR claim_token IS NOT NULL", name=op.f("ck_scheduled_emails_claimed")
        ),
        sa.CheckConstraint("state <> 'sent' OR sent_at IS NOT NULL", name=op.f("ck_scheduled_emails_sent")),
        sa.CheckConstraint(
            "state in ('preparing', 'queued', 'sending', 'sent', 'failed', 'uncertain', 'held', 'cancelled')",
            name=op.f("ck_scheduled_emails_state"),
        ),
        sa.CheckConstraint(
            "zone_rule in ('recipient', 'sender', 'fixed', 'now')", name=op.f("ck_scheduled_emails_zone_rule")
        ),
        sa.ForeignKeyConstraint(
            ["box_id"], ["boxes.id"], name=op.f("fk_scheduled_emails_box_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name=op.f("fk_scheduled_emails_contact_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_scheduled_emails_conversation_id"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.id"], name=op.f("fk_scheduled_emails_mailbox_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name=op.f("fk_scheduled_emails_message_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_scheduled_emails_team_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_scheduled_emails_user_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduled_emails")),
        sa.UniqueConstraint("key", name=op.f("uq_scheduled_emails_key")),
    )
    op.create_index(
        "ix_scheduled_emails_behind",
        "scheduled_emails",
        ["mailbox_id", "try_at"],
        unique=False,
        postgresql_where=sa.text("behind"),
    )
    op.create_index(op.f("ix_scheduled_emails_box_id"), "scheduled_emails", ["box_id"], unique=False)
    op.create_index(op.f("ix_scheduled_emails_contact_id"), "scheduled_emails", ["contact_id"], unique=False)
    op.create_index(
        op.f("ix_scheduled_emails_conversation_id"), "scheduled_emails", ["conversation_id"], unique=False
    )
    op.create_index(
        "ix_scheduled_emails_mailbox_due",
        "scheduled_emails",
        ["mailbox_id", "next_at", "id"],
        unique=False,
        postgresql_where=sa.text("state in ('queued', 'sending')"),
    )
    op.create_index(op.f("ix_scheduled_emails_message_id"), "scheduled_emails", ["message_id"], unique=False)
    op.create_index(
        "ix_scheduled_emails_next_at",
        "scheduled_emails",
        ["next_at", "mailbox_id"],
        unique=False,
        postgresql_where=sa.text("state in ('queued', 'sending')"),
    )
    op.create_index(
        "ix_scheduled_emails_rules",
        "scheduled_emails",
        ["rules"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_scheduled_emails_sent_at",
        "scheduled_emails",
        ["mailbox_id", "sent_at"],
        unique=False,
        postgresql_where=sa.text("state = 'sent'"),
    )
    op.create_index(
        op.f("ix_scheduled_emails_sequence_run_id"), "scheduled_emails", ["sequence_run_id"], unique=False
    )
    op.create_index(
        "ix_scheduled_emails_team_id_state_due_at",
        "scheduled_emails",
        ["team_id", "state", "due_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_scheduled_emails_text_hash",
        "scheduled_emails",
        ["team_id", "text_hash"],
        unique=False,
        postgresql_where=sa.text("state in ('sending', 'sent')"),
    )
    op.create_index(
        "ix_scheduled_emails_to_arrive",
        "scheduled_emails",
        ["mailbox_id", "sent_gmail_id"],
        unique=False,
        postgresql_where=sa.text("state = 'sent' AND message_id IS NULL"),
    )
    op.create_index(
        "ix_scheduled_emails_user_id_state_due_at",
        "scheduled_emails",
        ["user_id", "state", "due_at", "id"],
        unique=False,
    )
    op.create_index(
        "uq_scheduled_emails_draft",
        "scheduled_emails",
        ["mailbox_id", "draft_id"],
        unique=True,
        postgresql_where=sa.text("draft_id IS NOT NULL AND state in ('preparing', 'queued', 'sending', 'held')"),
    )
    op.create_index(
        "ix_copies_sent",
        "copies",
        ["mailbox_id", "internal_date"],
        unique=False,
        postgresql_where=sa.text("'SENT' = ANY (label_ids)"),
    )


def downgrade() -> None:
    op.drop_table("scheduled_emails")
    op.drop_table("outbox_mailboxes")
