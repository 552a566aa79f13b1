"""A rep's days as an iCalendar feed (RFC 5545, 7986): scheduled mail, tasks, days to come back, expected closes.

The address holds a secret that only its owner was shown; kept is its hash. A new address ends the old one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from icalendar import Calendar, Event, vDuration, vText
from sqlalchemy import ForeignKey, LargeBinary, UniqueConstraint, and_, delete, false, func, or_, select, update
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column

from scheduler.outbox import ScheduledEmail
from scheduler.states import OPEN, State
from tracker import boxes, events, followups, sight
from tracker.boxes import Box
from tracker.db import Base, Identified, OfTeam
from tracker.due import today as day_of
from tracker.fields import Field, FieldType
from tracker.people import User, Viewer, viewer_of
from tracker.pipelines import Pipeline
from tracker.tasks import Task

SECRET_BYTES = 24  # 192 bits
BACK, AHEAD = timedelta(days=31), timedelta(days=400)  #: the window of time that the feed holds
MOST = 500  #: of each kind, those of next days first
MAIL_LASTS = timedelta(minutes=15)  #: as it is drawn
REFRESH = timedelta(hours=1)
NOTED_EVERY = timedelta(hours=1)  #: how exactly the last reading is kept
CLOSES = ("close", "closes", "closing")
FIELDS = 20  # date fields that are looked at


class CalendarFeed(OfTeam, Identified, Base):
    """A person's calendar address."""

    __tablename__ = "calendar_feeds"
    __table_args__ = (UniqueConstraint("user_id"), UniqueConstraint("secret_hash"))

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary)  #: SHA-256
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    read_at: Mapped[datetime | None]  #: when a calendar last came for it, to the hour


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in the calendar: a whole day, or an instant."""

    uid: str  #: stays the same as long as the thing does
    at: date | datetime
    summary: str
    description: str
    link: str  #: a path of ours, or ""
    stamp: datetime  #: when it was made, by which it is recognized as unchanged


# -- the address


def of_user(session: Session, user_id: int) -> CalendarFeed | None:
    """A person's address, if they made one; its secret is nowhere."""
    return session.scalar(select(CalendarFeed).where(CalendarFeed.user_id == user_id))


def make(session: Session, viewer: Viewer, now: datetime) -> str:
    """Make an address for the viewer and end the one before; returns its secret, which can't be shown again."""
    assert viewer.user_id is not None
    secret = secrets.token_urlsafe(SECRET_BYTES)
    session.execute(delete(CalendarFeed).where(CalendarFeed.user_id == viewer.user_id))
    session.add(
        CalendarFeed(
            team_id=viewer.team_id, user_id=viewer.user_id, secret_hash=_hash(secret), created_at=now, read_at=None
        )
    )
    session.flush()
    events.record(session, viewer.team_id, "calendar.address_made", actor=viewer.actor, user_id=viewer.user_id)
    return secret


def revoke(session: Session, viewer: Viewer) -> bool:
    """End the viewer's address; whether there was one."""
    gone = delete(CalendarFeed).where(CalendarFeed.user_id == viewer.user_id).returning(CalendarFeed.id)
    if session.scalar(gone) is None:
        return False
    events.record(session, viewer.team_id, "calendar.address_revoked", actor=viewer.actor, user_id=viewer.user_id)
    return True


def owner_of(session: Session, secret: str, now: datetime) -> User | None:
    """Whose address this secret is; that it was read is noted."""
    query = select(CalendarFeed, User).join(User, User.id == CalendarFeed.user_id).where(User.removed_at.is_(None))
    found = session.execute(query.where(CalendarFeed.secret_hash == _hash(secret))).first()
    if found is None:
        return None
    feed, user = found
    if feed.read_at is None or feed.read_at < now - NOTED_EVERY:
        noted = update(CalendarFeed).where(CalendarFeed.id == feed.id).values(read_at=now)
        session.execute(noted.execution_options(synchronize_session=False))
    return user


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


# -- what is in it


def entries(session: Session, user: User, now: datetime) -> list[Entry]:
    """What a person's feed holds, in seven queries."""
    today = day_of(user.time_zone, now)
    first, last = today - BACK, today + AHEAD
    with sight.seen_by(session, viewer_of(user, "calendar")):
        return [
            *_mails(session, user, now),
            *_tasks(session, user, first, last, today),
            *_days(session, user, first, last),
        ]


def _mails(session: Session, user: User, now: datetime) -> Iterator[Entry]:
    query = (
        select(ScheduledEmail)
        .where(ScheduledEmail.user_id == user.id, ScheduledEmail.team_id == user.team_id)
        .where(ScheduledEmail.state.in_([*OPEN]), ScheduledEmail.due_at.between(now - BACK, now + AHEAD))
        .order_by(ScheduledEmail.due_at, ScheduledEmail.id)
    )
    found = session.scalars(query.limit(MOST)).all()
    keys = dict(
        session.execute(
            select(Box.id, Box.key).where(Box.id.in_([one.box_id for one in found if one.box_id]))
        ).all()
    )
    for mail in found:
        held = "Held: " if mail.state == State.HELD else ""
        to = ", ".join(mail.to)[:300]
        told = f"To {to}. It goes by itself." if not held else f"To {to}. {mail.reason or ''}".strip()
        box = keys.get(mail.box_id or 0)
        yield Entry(
            f"mail-{mail.key}@tracker", mail.due_at, f"{held}Mail “{mail.subject or 'no subject'}”", told,
            f"/b/{box}" if box else "", mail.created_at,
        )  # fmt: skip


def _tasks(session: Session, user: User, first: date, last: date, today: date) -> Iterator[Entry]:
    query = (
        select(Task)
        .outerjoin(Box, Box.id == Task.box_id)
        .where(Task.assignee_id == user.id, Task.done_at.is_(None), Task.due_on.between(first, last))
        .where(or_(Task.box_id.is_(None), boxes.is_listed()))
        .options(joinedload(Task.box))
        .order_by(func.abs(Task.due_on - today), Task.id)
    )
    for task in session.scalars(query.limit(MOST)):
        assert task.due_on is not None
        about = f"About {task.box.name}" if task.box else ""
        link = f"/b/{task.box.key}" if task.box else ""
        yield Entry(f"task-{task.key}@tracker", task.due_on, task.title, about, link, task.created_at)


def _days(session: Session, user: User, first: date, last: date) -> Iterator[Entry]:
    """The days to come back, and those on which it is expected to close, of one's own boxes."""
    fields = _fields(session, viewer_of(user, "calendar"))
    within = [
        and_(
            Box.pipeline_id == one.pipeline_id,
            Box.values[one.key].astext.between(first.isoformat(), last.isoformat()),
        )
        for one in fields
    ]
    query = (
        select(Box)
        .where(Box.team_id == user.team_id, Box.owner_id == user.id, boxes.is_listed(), or_(false(), *within))
        .options(joinedload(Box.pipeline))
        .order_by(Box.id.desc())
    )
    for box in session.scalars(query.limit(MOST)):
        for field in fields:
            day = str(box.values.get(field.key) or "") if field.pipeline_id == box.pipeline_id else ""
            if first.isoformat() <= day <= last.isoformat():
                yield Entry(
                    f"day-{box.key}-{field.key}@tracker", date.fromisoformat(day), f"{field.name}: {box.name}",
                    f"In {box.pipeline.name}", f"/b/{box.key}", box.created_at,
                )  # fmt: skip


def _fields(session: Session, viewer: Viewer) -> list[Field]:
    come_back = {field.id for field in followups.plan(session, viewer).fields}
    query = (
        select(Field)
        .join(Pipeline, Pipeline.id == Field.pipeline_id)
        .where(Pipeline.team_id == viewer.team_id, Pipeline.archived_at.is_(None))
        .where(Field.type == FieldType.DATE.value, ~Field.removed)
        .order_by(Field.pipeline_id, Field.position)
    )
    found = [one for one in session.scalars(query) if one.id in come_back or is_close(one.name)]
    return found[: 2 * FIELDS]


def is_close(name: str) -> bool:
    """Whether a date field says when a deal is expected to close."""
    return any(word in CLOSES for word in name.lower().replace("-", " ").split())


# -- as iCalendar


def as_ics(name: str, time_zone: str, made: Iterable[Entry], url: Callable[[str], str]) -> bytes:
    """The feed. The same entries give the same bytes; `url` makes an address of a path of ours."""
    calendar = Calendar()
    calendar.add("PRODID", "-//Tracker//Send later//EN")
    calendar.add("VERSION", "2.0")
    calendar.add("CALSCALE", "GREGORIAN")
    calendar.add("METHOD", "PUBLISH")
    calendar.add("NAME", vText(_plain(name)))
    calendar.add("X-WR-CALNAME", vText(_plain(name)))
    calendar.add("X-WR-TIMEZONE", _plain(time_zone))
    calendar.add("REFRESH-INTERVAL", vDuration(REFRESH), parameters={"VALUE": "DURATION"})
    calendar.add("X-PUBLISHED-TTL", vDuration(REFRESH))
    for entry in sorted(made, key=lambda one: one.uid):
        calendar.add_component(_event(entry, url))
    return bytes(calendar.to_ical())


def _event(entry: Entry, url: Callable[[str], str]) -> Event:
    event = Event()
    event.add("UID", entry.uid)
    event.add("DTSTAMP", entry.stamp.astimezone(UTC))
    if isinstance(entry.at, datetime):
        event.add("DTSTART", entry.at.astimezone(UTC))
        event.add("DTEND", entry.at.astimezone(UTC) + MAIL_LASTS)
    else:
        event.add("DTSTART", entry.at)
        event.add("DTEND", entry.at + timedelta(days=1))
    event.add("SUMMARY", _plain(entry.summary))
    if entry.description:
        event.add("DESCRIPTION", _plain(entry.description))
    if entry.link:
        event.add("URL", url(entry.link))
    # Nobody is busy because of it, and it is nobody else's.
    event.add("TRANSP", "TRANSPARENT")
    event.add("CLASS", "PRIVATE")
    return event


def _plain(text: str) -> str:
    """Without control characters, which end a line or a parser."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
