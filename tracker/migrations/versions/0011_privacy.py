"""Privacy."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _tracking()
    _own_side()


def _tracking() -> None:
    op.create_table(
        "tracking_mailboxes",
        sa.Column("mailbox_id", sa.BigInteger(), nullable=False),
        sa.Column("opens", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("clicks", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("bare_links", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("opt_out", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("opt_out_words", sa.Text(), server_default="", nullable=False),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.id"], name=op.f("fk_tracking_mailboxes_mailbox_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_tracking_mailboxes_team_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mailbox_id", name=op.f("pk_tracking_mailboxes")),
    )
    op.create_table(
        "tracking_users",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("links", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_tracking_users_team_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_tracking_users_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_tracking_users")),
    )
    op.create_table(
        "tracking_never",
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), server_default="", nullable=False),
        sa.Column("source", sa.Text(), server_default="person", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("source in ('person', 'self')", name=op.f("ck_tracking_never_source")),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_tracking_never_team_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_tracking_never_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tracking_never")),
    )
    for name, columns, where in (
        ("uq_tracking_never_team", ["team_id", "value", "source"], "user_id IS NULL"),
        ("uq_tracking_never_user", ["user_id", "value"], "user_id IS NOT NULL"),
    ):
        op.create_index(name, "tracking_never", columns, unique=True, postgresql_where=sa.text(where))
    for name in ("track_opens", "track_clicks"):
        op.add_column("scheduled_emails", sa.Column(name, sa.Boolean(), nullable=True))
    op.add_column(
        "scheduled_emails", sa.Column("only_tracking", sa.Boolean(), server_default="false", nullable=False)
    )


def _own_side() -> None:
    op.create_table(
        "known_addresses",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("address", postgresql.INET(), nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_known_addresses_team_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_known_addresses_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_known_addresses")),
        sa.UniqueConstraint("user_id", "address", name=op.f("uq_known_addresses_user_id_address")),
    )
    op.create_index("ix_known_addresses_last_seen", "known_addresses", ["last_seen"], unique=False)
    op.create_index("ix_known_addresses_team_id", "known_addresses", ["team_id", "address"], unique=False)
    op.create_table(
        "own_views",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("conversation_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_own_views_conversation_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name=op.f("fk_own_views_team_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_own_views_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_own_views")),
    )
    op.create_index("ix_own_views_at", "own_views", ["at"], unique=False)
    op.create_index("ix_own_views_conversation_id", "own_views", ["conversation_id", "at"], unique=False)
    op.create_index("ix_own_views_user_id", "own_views", ["user_id"], unique=False)


def downgrade() -> None:
    for name in ("track_opens", "track_clicks", "only_tracking"):
        op.drop_column("scheduled_emails", name)
    for table in ("tracking_never", "tracking_users", "tracking_mailboxes"):
        op.drop_table(table)
    op.drop_table("own_views")
    op.drop_table("known_addresses")
