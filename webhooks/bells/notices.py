"""Notifications: one row for a person and a thing worth knowing, and what they do with it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import (
    Boolean,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    Select,
    and_,
    func,
    or_,
    select,
    text,
    update,
)  # fmt: skip
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import access, conversations, people, sharing, sight, topics
from tracker.boxes import Box
from tracker.db import Base, Keyed, OfTeam
from tracker.messages import Message
from tracker.people import User
from webhooks.bells.kinds import OF_MAIL

MOST_COUNTED = 100  # an unread count beyond it is "99+"
RINGS_WITHIN = timedelta(hours=12)  # what is older is listed and rings no more
SEEN_KEPT, KEPT = timedelta(days=90), timedelta(days=365)


class Notification(OfTeam, Keyed, Base):
    """What somebody is told. Its words are made when it is shown, out of its event and what they may read then."""

    __tablename__ = "notifications"
    __table_args__ = (
        Index("ix_notifications_user_id_at", "user_id", "at", "id"),
        Index("ix_notifications_unseen", "user_id", "thing", postgresql_where=text("seen_at IS NULL")),
        # What the pages are to ring for, and `tracker notify`.
        Index("ix_notifications_ringing", "user_id", "id", postgresql_where=text("desktop")),
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


def readable(session: Session, user: User) -> ColumnElement[bool]:
    """SQL: the notification is this user's, and they may (still) read the mail, or see the box, it is about."""
    viewer = sight.knowing(session, people.viewer_of(user, "bell"))
    mail = select(Message.id).where(Message.id == Notification.message_id, sharing.may_read(viewer))
    box = select(Box.id).where(Box.id == Notification.box_id, access.may_see(viewer))
    return and_(
        Notification.user_id == user.id,
        or_(Notification.message_id.is_(None), mail.correlate(Notification).exists()),
        or_(
            Notification.box_id.is_(None),
            Notification.kind.in_(sorted(OF_MAIL)),
            box.correlate(Notification).exists(),
        ),
    )


def page(
    session: Session, user: User, *, before: tuple[datetime, int] | None = None, limit: int = 50
) -> Sequence[Notification]:
    """The list behind the bell, the newest first, from below (`at`, `id`)."""
    query = select(Notification).where(readable(session, user), Notification.listed)
    if before is not None:
        at, id_ = before
        query = query.where(or_(Notification.at < at, (Notification.at == at) & (Notification.id < id_)))
    return session.scalars(query.order_by(Notification.at.desc(), Notification.id.desc()).limit(limit)).all()


def unseen(session: Session, user: User) -> tuple[int, int]:
    """How many are new, at most `MOST_COUNTED`, and the id of the last one that rings (or rang), or 0."""
    fresh = (
        select(Notification.id)
        .where(readable(session, user), Notification.listed, Notification.seen_at.is_(None))
        .limit(MOST_COUNTED)
    )
    number = select(func.count()).select_from(fresh.subquery()).scalar_subquery()
    rings = select(Notification.id).where(Notification.user_id == user.id, Notification.desktop)
    newest = rings.order_by(Notification.id.desc()).limit(1).scalar_subquery()
    found = session.execute(select(number, newest)).one()
    return found[0] or 0, found[1] or 0


def by_key(session: Session, user: User, key: str) -> Notification | None:
    """One's own notification, if its mail may still be read."""
    return session.scalar(select(Notification).where(Notification.key == key, readable(session, user)))


def ringing(session: Session, user: User, after: int, *, limit: int = 20) -> Sequence[Notification]:
    """What is to ring and is not seen yet, behind this id; the oldest first."""
    return session.scalars(_ringing(session, user, after).order_by(Notification.id).limit(limit)).all()


def last_ringing(session: Session, user: User, after: int, since: datetime) -> Sequence[Notification]:
    """The last of them, at most `MOST_COUNTED`, that happened since then; the oldest first."""
    query = _ringing(session, user, after).where(Notification.at > since).order_by(Notification.id.desc())
    return session.scalars(query.limit(MOST_COUNTED)).all()[::-1]


def _ringing(session: Session, user: User, after: int) -> Select[Notification]:
    return select(Notification).where(
        readable(session, user), Notification.id > after, Notification.desktop, Notification.seen_at.is_(None)
    )


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


def take_back(
    session: Session, tracked_id: int, kinds: Collection[str], stands: datetime | None, now: datetime
) -> None:
    """What was told of a mail after `stands` (None: all of it) was none: unless it was seen, it is as if untold.

    The row stays, so that what rang already still leads to its mail.
    """
    about = (Notification.tracked_email_id == tracked_id) & Notification.kind.in_([str(one) for one in kinds])
    query = select(Notification).where(about, Notification.seen_at.is_(None)).order_by(Notification.id)
    for one in session.scalars(query.with_for_update().execution_options(populate_existing=True)):
        if stands is not None and one.at <= stands:
            continue
        if stands is not None and one.count > 1:
            one.count, one.at = one.count - 1, stands
        else:
            one.seen_at, one.listed, one.desktop, one.email = now, False, False, False
        ring_pages(session, session.get_one(User, one.user_id))
    session.flush()


def ring_pages(session: Session, user: User) -> None:
    """Have the user's open pages look at the bell once this is committed."""
    topics.tell(session, user.team_id, [f"bell:{user.key}"])


def tidy(session: Session, now: datetime) -> int:
    """Forget what was seen long ago, and what nobody looked at in a year; some at a time. Returns how many."""
    gone = text(
        "DELETE FROM notifications WHERE id IN (SELECT id FROM notifications"
        " WHERE seen_at < :seen OR created_at < :created ORDER BY id LIMIT 1000) RETURNING id"
    )
    return len(session.scalars(gone, {"seen": now - SEEN_KEPT, "created": now - KEPT}).all())


def _follow_merge(session: Session, loser: int, survivor: int) -> None:
    moved = update(Notification).where(Notification.conversation_id == loser)
    session.execute(moved.values(conversation_id=survivor).execution_options(synchronize_session=False))


conversations.on_merge.append(_follow_merge)
