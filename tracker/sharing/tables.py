"""What people said about who may see their mail. Few rows: most teams live by the default."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from tracker.db import Base, Identified, Keyed, OfTeam


class Rule(OfTeam, Identified, Base):
    """What an owner says of their mail: by mailbox, in a pipeline, or in one conversation (one of them)."""

    __tablename__ = "sharing_rules"
    __table_args__ = (
        CheckConstraint("num_nonnulls(mailbox_id, pipeline_id, conversation_id) = 1", name="one_place"),
        CheckConstraint("outside BETWEEN 0 AND 3 AND inside BETWEEN 0 AND 3", name="levels"),
        Index(
            "uq_sharing_rules_mailbox", "mailbox_id", unique=True, postgresql_where=text("mailbox_id IS NOT NULL")
        ),
        Index(
            "uq_sharing_rules_pipeline",
            "pipeline_id",
            "user_id",
            unique=True,
            postgresql_where=text("pipeline_id IS NOT NULL"),
        ),
        Index(
            "uq_sharing_rules_conversation",
            "conversation_id",
            "user_id",
            unique=True,
            postgresql_where=text("conversation_id IS NOT NULL"),
        ),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    mailbox_id: Mapped[int | None] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"))
    pipeline_id: Mapped[int | None] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"))
    conversation_id: Mapped[int | None] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    outside: Mapped[int] = mapped_column(SmallInteger)
    inside: Mapped[int] = mapped_column(SmallInteger)
    said_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Grant(OfTeam, Keyed, Base):
    """An owner lets one person read: a conversation, all mail with an address, or what is in a pipeline."""

    __tablename__ = "sharing_grants"
    __table_args__ = (
        CheckConstraint("num_nonnulls(conversation_id, address, pipeline_id) = 1", name="one_place"),
        CheckConstraint("user_id <> owner_id", name="another"),
        Index("ix_sharing_grants_user_id_owner_id", "user_id", "owner_id"),
        Index(
            "uq_sharing_grants_conversation",
            "conversation_id",
            "user_id",
            "owner_id",
            unique=True,
            postgresql_where=text("conversation_id IS NOT NULL"),
        ),
        Index(
            "uq_sharing_grants_address",
            "user_id",
            "owner_id",
            "address",
            unique=True,
            postgresql_where=text("address IS NOT NULL"),
        ),
        Index(
            "uq_sharing_grants_pipeline",
            "pipeline_id",
            "user_id",
            "owner_id",
            unique=True,
            postgresql_where=text("pipeline_id IS NOT NULL"),
        ),
    )

    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))  #: who may read
    conversation_id: Mapped[int | None] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    address: Mapped[str | None]  #: in its normal form
    pipeline_id: Mapped[int | None] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"))
    said_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Private(OfTeam, Identified, Base):
    """An address or a domain with which an owner's mail is shared with nobody, whatever was said."""

    __tablename__ = "sharing_private"
    __table_args__ = (UniqueConstraint("user_id", "value"),)

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    value: Mapped[str]  #: ``doctor@clinic.example``, or ``bank.example`` with all below it; in normal form
    said_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
