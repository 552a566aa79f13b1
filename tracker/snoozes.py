"""Snoozes: out of somebody's sight until a time, or until the next mail."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from tracker.db import Base, Identified, OfTeam


class Snooze(OfTeam, Identified, Base):
    """One user does not want to see a conversation in the inbox, or a box among the follow-ups, before a time."""

    __tablename__ = "snoozes"
    __table_args__ = (
        UniqueConstraint("user_id", "conversation_id"),
        UniqueConstraint("user_id", "box_id"),
        Index("ix_snoozes_user_id_until", "user_id", "until"),
        CheckConstraint("num_nonnulls(conversation_id, box_id) = 1", name="what"),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    conversation_id: Mapped[int | None] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), index=True
    )
    box_id: Mapped[int | None] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"), index=True)
    until: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
