"""Who wants no follow-ups; `sequences.unsubscribe` ends those that go on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ForeignKey, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from scheduler.sequence_plans import SequenceError
from tracker.db import Base, OfTeam


class Unsubscribed(OfTeam, Base):
    """Somebody who wants no follow-ups."""

    __tablename__ = "unsubscribed"

    team_id: Mapped[int] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True)
    normalized: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    why: Mapped[str]


def refuse_unsubscribed(session: Session, team_id: int, recipients: Sequence[str]) -> None:
    """Raises `SequenceError` if one of them wants no follow-ups."""
    query = select(Unsubscribed.normalized).where(
        Unsubscribed.team_id == team_id, Unsubscribed.normalized.in_([*recipients])
    )
    found = session.scalars(query.limit(1)).first()
    if found is not None:
        raise SequenceError(f"{found} has asked for no follow-ups")
