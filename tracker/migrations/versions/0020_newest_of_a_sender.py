"""The newest mails of a sender are found without reading all of theirs."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The index on senders goes by time, too, and knows the ids."""
    op.create_index(
        "ix_messages_sender_normalized_sent_at", "messages", ["sender_normalized", "sent_at"], unique=False,
        postgresql_include=["id", "team_id"],
    )  # fmt: skip
    op.drop_index("ix_messages_sender_normalized", table_name="messages")


def downgrade() -> None:
    """By senders alone, as it was."""
    op.create_index("ix_messages_sender_normalized", "messages", ["sender_normalized"], unique=False)
    op.drop_index("ix_messages_sender_normalized_sent_at", table_name="messages")
