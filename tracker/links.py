"""Links between boxes: this deal and that contact belong together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column

from tracker import events
from tracker.boxes import Box, BoxError
from tracker.db import Base, OfTeam
from tracker.people import Viewer


class LinkError(BoxError):
    """Two boxes can't be linked; the text says why."""


class BoxLink(OfTeam, Base):
    """Two boxes that belong together; the lower id stands first, so that a pair is one row."""

    __tablename__ = "box_links"
    __table_args__ = (CheckConstraint("one_id < other_id", name="order"),)

    one_id: Mapped[int] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"), primary_key=True)
    other_id: Mapped[int] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"), primary_key=True, index=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


def link(session: Session, viewer: Viewer, box: Box, other: Box) -> bool:
    """Link two boxes, both ways; whether they were not linked before. Raises `LinkError`."""
    if box.id == other.id:
        raise LinkError("A box can't be linked with itself; choose another")
    if box.team_id != other.team_id:
        raise LinkError("There is no such box")
    one, two = sorted((box.id, other.id))
    made = session.scalar(
        insert(BoxLink)
        .values(team_id=box.team_id, one_id=one, other_id=two, user_id=viewer.user_id)
        .on_conflict_do_nothing()
        .returning(BoxLink.one_id)
    )
    if made is not None:
        _record(session, viewer, "box.linked", box, other)
    return made is not None


def unlink(session: Session, viewer: Viewer, box: Box, other: Box) -> bool:
    """Take a link away; whether there was one."""
    one, two = sorted((box.id, other.id))
    gone = session.scalar(
        delete(BoxLink).where(BoxLink.one_id == one, BoxLink.other_id == two).returning(BoxLink.one_id)
    )
    if gone is not None:
        _record(session, viewer, "box.unlinked", box, other)
    return gone is not None


def of_box(session: Session, box_id: int, *, limit: int = 100) -> Sequence[Box]:
    """The boxes that a box is linked with, deleted ones aside, with stage and pipeline."""
    query = (
        select(Box)
        .join(BoxLink, or_(BoxLink.one_id == Box.id, BoxLink.other_id == Box.id))
        .where(or_(BoxLink.one_id == box_id, BoxLink.other_id == box_id), Box.id != box_id)
        .where(Box.deleted_at.is_(None))
        .options(joinedload(Box.stage), joinedload(Box.pipeline))
        .order_by(Box.archived_at.is_not(None), Box.name, Box.id)
    )
    return session.scalars(query.limit(limit)).all()


def _record(session: Session, viewer: Viewer, kind: str, box: Box, other: Box) -> None:
    """On both boxes: the story of each tells it."""
    who: dict[str, Any] = {"actor": viewer.actor, "user_id": viewer.user_id}
    for one, two in ((box, other), (other, box)):
        events.record(session, box.team_id, kind, box_id=one.id, data={"box": two.key, "name": two.name}, **who)
