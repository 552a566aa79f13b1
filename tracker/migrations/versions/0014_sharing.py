"""What people say about who may see their mail, and what stays of those who left."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


#: As `tracker.ours` had it.
_OURS = """
  (EXISTS (SELECT 1 FROM own_addresses oa LEFT JOIN users ou ON ou.id = oa.user_id
           WHERE oa.team_id = m.team_id AND oa.normalized = {0} AND ou.role IS DISTINCT FROM 'guest')
   OR split_part({0}, '@', -1) IN (
     SELECT lower(w.workspace) FROM users w
     WHERE w.team_id = m.team_id AND w.workspace IS NOT NULL AND w.role <> 'guest'))
"""
_BACKFILL = f"""
  UPDATE messages m SET outside = true
  WHERE NOT {_OURS.format("m.sender_normalized")} OR EXISTS (
    SELECT 1 FROM recipients r
    WHERE r.message_id = m.id AND r.kind <> 'reply-to' AND NOT {_OURS.format("r.normalized")})
"""  # noqa: S608 - our own words


def upgrade() -> None:
    _rules_and_grants()
    op.add_column("messages", sa.Column("outside", sa.Boolean(), server_default="false", nullable=False))
    op.execute(_BACKFILL)
    op.add_column("box_facts", sa.Column("stale", sa.Boolean(), server_default="false", nullable=False))
    op.create_index("ix_box_facts_stale", "box_facts", ["box_id"], postgresql_where=sa.text("stale"))
    op.create_index(
        "ix_copies_message_id_shown",
        "copies",
        ["message_id", "mailbox_id"],
        postgresql_where=sa.text("NOT hidden"),
    )
    op.create_index(
        "ix_filings_conversation_id_filed",
        "filings",
        ["conversation_id"],
        postgresql_include=["box_id"],
        postgresql_where=sa.text("state = 'filed'"),
    )


def _rules_and_grants() -> None:
    op.create_table(
        "sharing_grants",
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("conversation_id", sa.BigInteger(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "said_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "num_nonnulls(conversation_id, address, pipeline_id) = 1", name=op.f("ck_sharing_grants_one_place")
        ),
        sa.CheckConstraint("user_id <> owner_id", name=op.f("ck_sharing_grants_another")),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_sharing_grants_conversation_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name=op.f("fk_sharing_grants_owner_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_sharing_grants_pipeline_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_sharing_grants_team_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_sharing_grants_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sharing_grants")),
        sa.UniqueConstraint("key", name=op.f("uq_sharing_grants_key")),
    )
    op.create_index(op.f("ix_sharing_grants_owner_id"), "sharing_grants", ["owner_id"], unique=False)
    op.create_index("ix_sharing_grants_user_id_owner_id", "sharing_grants", ["user_id", "owner_id"], unique=False)
    op.create_index(
        "uq_sharing_grants_address",
        "sharing_grants",
        ["user_id", "owner_id", "address"],
        unique=True,
        postgresql_where=sa.text("address IS NOT NULL"),
    )
    op.create_index(
        "uq_sharing_grants_conversation",
        "sharing_grants",
        ["conversation_id", "user_id", "owner_id"],
        unique=True,
        postgresql_where=sa.text("conversation_id IS NOT NULL"),
    )
    op.create_index(
        "uq_sharing_grants_pipeline",
        "sharing_grants",
        ["pipeline_id", "user_id", "owner_id"],
        unique=True,
        postgresql_where=sa.text("pipeline_id IS NOT NULL"),
    )
    op.create_table(
        "sharing_private",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column(
            "said_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_sharing_private_team_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_sharing_private_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sharing_private")),
        sa.UniqueConstraint("user_id", "value", name=op.f("uq_sharing_private_user_id_value")),
    )
    op.create_table(
        "kept_shares",
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column(
            "kept_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("level BETWEEN 1 AND 3", name=op.f("ck_kept_shares_level")),
        sa.CheckConstraint("num_nonnulls(pipeline_id, user_id) > 0", name=op.f("ck_kept_shares_somebody")),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name=op.f("fk_kept_shares_message_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name=op.f("fk_kept_shares_owner_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_kept_shares_pipeline_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_kept_shares_team_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_kept_shares_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kept_shares")),
    )
    op.create_index(op.f("ix_kept_shares_message_id"), "kept_shares", ["message_id"], unique=False)
    op.create_index(op.f("ix_kept_shares_owner_id"), "kept_shares", ["owner_id"], unique=False)
    op.create_index(op.f("ix_kept_shares_pipeline_id"), "kept_shares", ["pipeline_id"], unique=False)
    op.create_index(op.f("ix_kept_shares_user_id"), "kept_shares", ["user_id"], unique=False)
    op.create_table(
        "sharing_rules",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("mailbox_id", sa.BigInteger(), nullable=True),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=True),
        sa.Column("conversation_id", sa.BigInteger(), nullable=True),
        sa.Column("outside", sa.SmallInteger(), nullable=False),
        sa.Column("inside", sa.SmallInteger(), nullable=False),
        sa.Column(
            "said_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("team_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "num_nonnulls(mailbox_id, pipeline_id, conversation_id) = 1", name=op.f("ck_sharing_rules_one_place")
        ),
        sa.CheckConstraint(
            "outside BETWEEN 0 AND 3 AND inside BETWEEN 0 AND 3", name=op.f("ck_sharing_rules_levels")
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_sharing_rules_conversation_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["mailbox_id"], ["mailboxes.id"], name=op.f("fk_sharing_rules_mailbox_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_sharing_rules_pipeline_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_sharing_rules_team_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_sharing_rules_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sharing_rules")),
    )
    op.create_index(op.f("ix_sharing_rules_user_id"), "sharing_rules", ["user_id"], unique=False)
    op.create_index(
        "uq_sharing_rules_conversation",
        "sharing_rules",
        ["conversation_id", "user_id"],
        unique=True,
        postgresql_where=sa.text("conversation_id IS NOT NULL"),
    )
    op.create_index(
        "uq_sharing_rules_mailbox",
        "sharing_rules",
        ["mailbox_id"],
        unique=True,
        postgresql_where=sa.text("mailbox_id IS NOT NULL"),
    )
    op.create_index(
        "uq_sharing_rules_pipeline",
        "sharing_rules",
        ["pipeline_id", "user_id"],
        unique=True,
        postgresql_where=sa.text("pipeline_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_filings_conversation_id_filed", "filings")
    op.drop_index("ix_copies_message_id_shown", "copies")
    op.drop_index("ix_box_facts_stale", "box_facts")
    op.drop_column("box_facts", "stale")
    op.drop_column("messages", "outside")
    for table in ("sharing_grants", "sharing_private", "sharing_rules", "kept_shares"):
        op.drop_table(table)
