"""Reads: tracked mail, its links, and the hits on them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tracked_emails",
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("mailbox_id", sa.BigInteger(), nullable=True),
        sa.Column("scheduled_email_id", sa.BigInteger(), nullable=True),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("conversation_id", sa.BigInteger(), nullable=True),
        sa.Column("box_id", sa.BigInteger(), nullable=True),
        sa.Column("recipients", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("opens", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("clicks", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confidence", sa.Text(), server_default="none", nullable=False),
        sa.Column("why", sa.Text(), server_default="", nullable=False),
        sa.Column("via", sa.Text(), server_default="", nullable=False),
        sa.Column("views", sa.Integer(), server_default="0", nullable=False),
        sa.Column("clicked", sa.Integer(), server_default="0", nullable=False),
        sa.Column("hits", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_view_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_view_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_by", sa.Text(), server_default="", nullable=False),
        sa.Column("rules", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told", sa.Text(), server_default="", nullable=False),
        sa.Column("told_clicks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("told_clicked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tell_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "confidence in ('none', 'machine', 'possible', 'likely', 'certain')",
            name=op.f("ck_tracked_emails_confidence"),
        ),
        sa.ForeignKeyConstraint(
            ["box_id"], ["boxes.id"], name=op.f("fk_tracked_emails_box_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_tracked_emails_conversation_id"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.id"], name=op.f("fk_tracked_emails_mailbox_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name=op.f("fk_tracked_emails_message_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_tracked_emails_team_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_tracked_emails_user_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tracked_emails")),
        sa.UniqueConstraint("key", name=op.f("uq_tracked_emails_key")),
        sa.UniqueConstraint("scheduled_email_id", name=op.f("uq_tracked_emails_scheduled_email_id")),
        sa.UniqueConstraint("token", name=op.f("uq_tracked_emails_token")),
    )
    op.create_index("ix_tracked_emails_box_id", "tracked_emails", ["box_id", "last_view_at"], unique=False)
    op.create_index("ix_tracked_emails_conversation_id", "tracked_emails", ["conversation_id"], unique=False)
    op.create_index(op.f("ix_tracked_emails_mailbox_id"), "tracked_emails", ["mailbox_id"], unique=False)
    op.create_index("ix_tracked_emails_message_id", "tracked_emails", ["message_id"], unique=False)
    op.create_index("ix_tracked_emails_user_id", "tracked_emails", ["user_id", "id"], unique=False)
    op.create_index(
        "ix_tracked_emails_recipients", "tracked_emails", ["recipients"], unique=False, postgresql_using="gin"
    )
    op.create_index(
        "ix_tracked_emails_tell_at",
        "tracked_emails",
        ["tell_at"],
        unique=False,
        postgresql_where=sa.text("tell_at IS NOT NULL"),
    )
    op.create_index(
        "ix_tracked_emails_rules",
        "tracked_emails",
        ["rules", "id"],
        unique=False,
        postgresql_where=sa.text("hits > 0"),
    )
    op.create_table(
        "tracked_links",
        sa.Column("tracked_email_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_tracked_links_team_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tracked_email_id"],
            ["tracked_emails.id"],
            name=op.f("fk_tracked_links_tracked_email_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tracked_links")),
        sa.UniqueConstraint("token", name=op.f("uq_tracked_links_token")),
        sa.UniqueConstraint(
            "tracked_email_id", "position", name=op.f("uq_tracked_links_tracked_email_id_position")
        ),
    )
    op.create_table(
        "hits",
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("tracked_email_id", sa.BigInteger(), nullable=False),
        sa.Column("link_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("address", postgresql.INET(), nullable=True),
        sa.Column("agent", sa.Text(), nullable=True),
        sa.Column(
            "headers",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("user_key", sa.Text(), nullable=True),
        sa.Column("repeats", sa.Integer(), server_default="0", nullable=False),
        sa.Column("forgotten", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("rules", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind in ('open', 'click')", name=op.f("ck_hits_kind")),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_hits_team_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["tracked_email_id"], ["tracked_emails.id"], name=op.f("fk_hits_tracked_email_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hits")),
        sa.UniqueConstraint("key", name=op.f("uq_hits_key")),
    )
    op.create_index("ix_hits_raw", "hits", ["at"], unique=False, postgresql_where=sa.text("NOT forgotten"))
    op.create_index("ix_hits_tracked_email_id", "hits", ["tracked_email_id", "at"], unique=False)
    op.create_index(
        "ix_hits_unjudged", "hits", ["tracked_email_id"], unique=False, postgresql_where=sa.text("rules = 0")
    )


def downgrade() -> None:
    for table in ("hits", "tracked_links", "tracked_emails"):
        op.drop_table(table)
