"""Activities: what people write down about a box: notes, calls, meetings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from tracker import events, mentions
from tracker.boxes import Box, BoxError
from tracker.db import Base, Keyed, OfTeam
from tracker.mentions import Person
from tracker.people import User, Viewer

TEXT_LIMIT = 20_000  # characters
MINUTES_LIMIT = 24 * 60


class ActivityError(BoxError):
    """An activity can't be written down or changed as asked; the text says why."""


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


def add(
    session: Session,
    viewer: Viewer,
    box: Box,
    kind: ActivityKind,
    text: str,
    *,
    at: datetime | None = None,
    minutes: int | None = None,
    contact_keys: Sequence[str] = (),
    people: Sequence[User] = (),
    now: datetime,
) -> Activity:
    """Write something down about a box. `people` are those who can be mentioned in the text with @.

    Raises `ActivityError`.
    """
    stored, mentioned = mentions.store(_text(text, kind), persons(people))
    activity = Activity(
        team_id=box.team_id,
        box_id=box.id,
        kind=kind.value,
        text=stored,
        at=now if kind == ActivityKind.NOTE else at or now,
        minutes=_minutes(minutes),
        contact_keys=_contacts(box, contact_keys),
        mentions=mentioned,
        user_id=viewer.user_id,
        created_at=now,
    )
    session.add(activity)
    session.flush()
    _record(session, viewer, f"{kind.value}.added", activity, at=now)
    _tell(session, viewer, activity, mentioned)
    return activity


def change(
    session: Session,
    viewer: Viewer,
    activity: Activity,
    text: str,
    *,
    at: datetime | None = None,
    minutes: int | None = None,
    contact_keys: Sequence[str] = (),
    people: Sequence[User] = (),
    now: datetime,
) -> None:
    """Correct one's own; those mentioned anew are told. Raises `ActivityError`."""
    _own(viewer, activity)
    stored, mentioned = mentions.store(_text(text, ActivityKind(activity.kind)), persons(people))
    known = set(activity.mentions)
    activity.text, activity.mentions, activity.edited_at = stored, mentioned, now
    if activity.kind != ActivityKind.NOTE:
        activity.at = at or activity.at
        activity.minutes, activity.contact_keys = _minutes(minutes), _contacts(activity.box, contact_keys)
    session.flush()
    _record(session, viewer, f"{activity.kind}.changed", activity)
    _tell(session, viewer, activity, [key for key in mentioned if key not in known])


def remove(session: Session, viewer: Viewer, activity: Activity, now: datetime) -> None:
    """Remove one's own: nothing of it stays but that it was there. Raises `ActivityError`."""
    _own(viewer, activity)
    activity.removed_at = now
    activity.text, activity.mentions, activity.contact_keys, activity.minutes = "", [], [], None
    session.flush()
    _record(session, viewer, f"{activity.kind}.removed", activity)


def by_key(session: Session, team_id: int, key: str) -> Activity | None:
    """The team's activity with this key, unless it was removed."""
    query = select(Activity).where(Activity.team_id == team_id, Activity.key == key)
    return session.scalar(query.where(Activity.removed_at.is_(None)))


def persons(users: Sequence[User]) -> list[Person]:
    """Users as those who can be mentioned."""
    return [Person(user.key, user.name, user.address) for user in users]


def _text(text: str, kind: ActivityKind) -> str:
    text = text.replace("\x00", "").replace("\r\n", "\n").strip()
    if not text and kind == ActivityKind.NOTE:
        raise ActivityError("The note is empty; write something")
    if len(text) > TEXT_LIMIT:
        raise ActivityError(f"At most {TEXT_LIMIT:,} characters; this has {len(text):,}")
    return text


def _minutes(minutes: int | None) -> int | None:
    if minutes is not None and not 0 < minutes <= MINUTES_LIMIT:
        raise ActivityError(f"Expected a length from 1 to {MINUTES_LIMIT:,} minutes")
    return minutes


def _contacts(box: Box, keys: Sequence[str]) -> list[str]:
    return [contact.key for contact in box.contacts if contact.key in set(keys)]


def _own(viewer: Viewer, activity: Activity) -> None:
    if activity.removed_at is not None:
        raise ActivityError("This was removed meanwhile")
    if activity.user_id is None or activity.user_id != viewer.user_id:
        raise ActivityError("Only whoever wrote it may change it")


def _tell(session: Session, viewer: Viewer, activity: Activity, keys: Sequence[str]) -> None:
    """An event for each user who is mentioned; whoever notifies reads them."""
    for key in keys:
        _record(session, viewer, "user.mentioned", activity, user=key, mentions=[key])


def _record(
    session: Session, viewer: Viewer, kind: str, activity: Activity, *, at: datetime | None = None, **data: Any
) -> None:
    events.record(
        session,
        activity.team_id,
        kind,
        actor=viewer.actor,
        user_id=viewer.user_id,
        box_id=activity.box_id,
        data={"activity": activity.key, **data},
        **({"at": at} if at else {}),
    )
