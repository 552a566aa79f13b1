"""Activities: what people write down about a box: notes, calls, meetings."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.boxes import Box
from tracker.db import Base, Keyed, OfTeam
from tracker.people import User


class ActivityKind(StrEnum):
    """What was written down."""

    NOTE = "note"
    CALL = "call"
    MEETING = "meeting"


class Activity(OfTeam, Keyed, Base):
    """A note, a call or a meeting."""

    __tablename__ = "activities"
    __table_args__ = (
        Index("ix_activities_box_id_at", "box_id", "at"),
        CheckConstraint("kind in ('note', 'call', 'meeting')", name="kind"),
    )

    box_id: Mapped[int] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"))
    kind: Mapped[str]
    text: Mapped[str]
    at: Mapped[datetime]  #: when it took place; of a note, when it was written
    minutes: Mapped[int | None] = mapped_column(SmallInteger)  #: how long the call or meeting took
    contact_keys: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")  #: with whom
    mentions: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")  #: keys of users, see @mention
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    edited_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]

    box: Mapped[Box] = relationship()
    user: Mapped[User | None] = relationship()
