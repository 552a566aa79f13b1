"""Notifications: one row for a person and a thing worth knowing, and what they do with it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Boolean, ColumnElement, ForeignKey, Index, Integer, func, or_, select, text, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import conversations, people, sharing, topics
from tracker.db import Base, Keyed, OfTeam
from tracker.messages import Message
from tracker.people import User

MOST_COUNTED = 100  # an unread count beyond it is "99+"


class Notification(OfTeam, Keyed, Base):
    """What somebody is told. Its words are made when it is shown, out of its event and what they may read then."""

    __tablename__ = "notifications"
    __table_args__ = (
        Index("ix_notifications_user_id_at", "user_id", "at", "id"),
        Index("ix_notifications_unseen", "user_id", "thing", postgresql_where=text("seen_at IS NULL")),
        # What the pages are to ring for, and `tracker notify`.
        Index("ix_notifications_user_id_id", "user_id", "id"),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str]  #: a `kinds.Kind`
    thing: Mapped[str]  #: what it is about: more of the same kind about it adds to the row
    event_id: Mapped[int]  #: the last of its events, by number
    box_id: Mapped[int | None] = mapped_column(ForeignKey("boxes.id", ondelete="SET NULL"), index=True)
    conversation_id: Mapped[int | None] = mapped_column(
        ForeignKey("conversations.id", ondelete="SET NULL"), index=True
    )
    #: Who may not read the mail is told nothing; with the mail goes what was told of it.
    message_id: Mapped[int | None] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    tracked_email_id: Mapped[int | None] = mapped_column(
        ForeignKey("tracked_emails.id", ondelete="CASCADE"), index=True
    )
    at: Mapped[datetime]  #: when it (last) happened
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    count: Mapped[int] = mapped_column(Integer, server_default="1")  #: events in it
    listed: Mapped[bool] = mapped_column(Boolean, server_default="true")  #: in the list behind the bell
    desktop: Mapped[bool] = mapped_column(Boolean, server_default="true")  #: it rings
    email: Mapped[bool] = mapped_column(Boolean, server_default="true")  #: a digest may carry it
    seen_at: Mapped[datetime | None]
    opened_at: Mapped[datetime | None]  #: its page was opened from it

    @property
    def tag(self) -> str:
        """What stands for it on a desktop: whatever rings with the same tag takes its place, and rings once.

        What is told of one mail (read, clicked) takes the former's place.
        """
        about = self.thing if self.thing.startswith("mail:") else self.key
        return hashlib.sha256(f"{self.user_id} {about}".encode()).hexdigest()[:24]


def readable(user: User) -> ColumnElement[bool]:
    """SQL: the notification is this user's, and they may (still) read the mail that it is about."""
    viewer = people.viewer_of(user, "bell")
    mail = select(Message.id).where(Message.id == Notification.message_id, sharing.may_read(viewer))
    return (Notification.user_id == user.id) & or_(
        Notification.message_id.is_(None), mail.correlate(Notification).exists()
    )


def page(
    session: Session, user: User, *, before: tuple[datetime, int] | None = None, limit: int = 50
) -> Sequence[Notification]:
    """The list behind the bell, the newest first, from below (`at`, `id`)."""
    query = select(Notification).where(readable(user), Notification.listed)
    if before is not None:
        at, id_ = before
        query = query.where(or_(Notification.at < at, (Notification.at == at) & (Notification.id < id_)))
    return session.scalars(query.order_by(Notification.at.desc(), Notification.id.desc()).limit(limit)).all()


def unseen(session: Session, user: User) -> tuple[int, str]:
    """How many are new, at most `MOST_COUNTED`, and the key of the last one that rings, or nothing."""
    fresh = (
        select(Notification.id)
        .where(readable(user), Notification.listed, Notification.seen_at.is_(None))
        .limit(MOST_COUNTED)
    )
    number = select(func.count()).select_from(fresh.subquery()).scalar_subquery()
    rings = select(Notification.key).where(Notification.user_id == user.id, Notification.desktop)
    newest = rings.order_by(Notification.id.desc()).limit(1).scalar_subquery()
    found = session.execute(select(number, newest)).one()
    return found[0] or 0, found[1] or ""


def by_key(session: Session, user: User, key: str) -> Notification | None:
    """One's own notification, if its mail may still be read."""
    return session.scalar(select(Notification).where(Notification.key == key, readable(user)))


def ringing(session: Session, user: User, after: int, *, limit: int = 20) -> Sequence[Notification]:
    """What is to ring and is not seen yet, behind this id; the oldest first."""
    query = select(Notification).where(
        readable(user), Notification.id > after, Notification.desktop, Notification.seen_at.is_(None)
    )
    return session.scalars(query.order_by(Notification.id).limit(limit)).all()


def newest_id(session: Session, user: User) -> int:
    """The id behind which all is yet to come."""
    return session.scalar(select(func.max(Notification.id)).where(Notification.user_id == user.id)) or 0


def open_(session: Session, user: User, notification: Notification, now: datetime) -> None:
    """Its page is opened."""
    notification.opened_at = notification.opened_at or now
    if notification.seen_at is None:
        notification.seen_at = now
        ring_pages(session, user)


def see(session: Session, user: User, notification: Notification, now: datetime) -> None:
    """It was seen; there is no need to open it."""
    if notification.seen_at is None:
        notification.seen_at = now
        ring_pages(session, user)


def see_all(session: Session, user: User, upto: Notification, now: datetime) -> int:
    """All up to this one, the newest of a list, were seen: not what came while somebody looked."""
    unseen_ = update(Notification).where(
        Notification.user_id == user.id, Notification.at <= upto.at, Notification.seen_at.is_(None)
    )
    seen = session.execute(unseen_.values(seen_at=now).execution_options(synchronize_session=False))
    ring_pages(session, user)
    return int(getattr(seen, "rowcount", 0))


def ring_pages(session: Session, user: User) -> None:
    """Have the user's open pages look at the bell once this is committed."""
    topics.tell(session, user.team_id, [f"bell:{user.key}"])


def _follow_merge(session: Session, loser: int, survivor: int) -> None:
    moved = update(Notification).where(Notification.conversation_id == loser)
    session.execute(moved.values(conversation_id=survivor).execution_options(synchronize_session=False))


conversations.on_merge.append(_follow_merge)
