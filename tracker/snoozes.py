"""Snoozes: out of somebody's sight until a time, or until the next mail.

*Done* is a snooze without an end: only news bring it back. A snooze is of what its user had seen: newer mail in
one of their mailboxes ends it, so that none is hidden that came while the page was open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    UniqueConstraint,
    and_,
    delete,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, mapped_column

from tracker import due, events
from tracker.boxes import Box
from tracker.conversations import Thread
from tracker.db import Base, Identified, OfTeam, among
from tracker.facts import BoxFacts
from tracker.mailboxes import Mailbox
from tracker.messages import Copy
from tracker.people import Viewer

FOREVER = datetime(9999, 1, 1, tzinfo=UTC)  #: done: until the next mail
MORNING, AFTERNOON = time(8), time(17)  # wall time, where the user is
FARTHEST = timedelta(days=5 * 366)


class SnoozeError(ValueError):
    """Not a time to come back at; the text says what would be one."""


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
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())  #: what is newer brings it back


@dataclass(frozen=True, slots=True)
class Choice:
    """A time to come back at that is offered."""

    value: str
    words: str
    at: datetime


def choices(zone_name: str, now: datetime) -> list[Choice]:
    """The times that are offered, as the user's own day goes."""
    today = due.today(zone_name, now)
    later = max(due.instant(today, AFTERNOON, zone_name), _next_hour(now + timedelta(hours=2)))
    days = {
        "tomorrow": ("Tomorrow", 1),
        "monday": ("Monday", 7 - today.weekday()),
        "week": ("In a week", 7),
    }
    found = [Choice("later", "Later today", later)] if due.today(zone_name, later) == today else []
    for value, (words, number) in days.items():
        day = today + timedelta(days=number)
        if value != "monday" or number != 1:  # tomorrow says it already
            found.append(Choice(value, words, due.instant(day, MORNING, zone_name)))
    return found


def _next_hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def time_of(choice: str, day: str, zone_name: str, now: datetime) -> datetime:
    """The instant that a choice, or a day in words, means. Raises `SnoozeError`."""
    offered = {one.value: one.at for one in choices(zone_name, now)}
    if choice in offered:
        return offered[choice]
    if choice == "monday":  # offered as tomorrow
        return offered["tomorrow"]
    today = due.today(zone_name, now)
    try:
        wanted = due.parse(day, today)
    except due.DueError as error:
        raise SnoozeError(str(error)) from None
    if wanted is None:
        raise SnoozeError("Say until when: tomorrow, next monday, 24 Nov")
    if wanted <= today or due.instant(wanted, MORNING, zone_name) - now > FARTHEST:
        raise SnoozeError("Choose a day after today, and within five years")
    return due.instant(wanted, MORNING, zone_name)


#: What was there before, for undoing: the thing's id, until when, and since when it was snoozed.
Before = list[tuple[int, datetime | None, datetime | None]]


def put_off(session: Session, viewer: Viewer, seen: Mapping[int, datetime | None], until: datetime) -> Before:
    """Take conversations out of the viewer's inbox until a time, or (`FOREVER`) until the next mail.

    `seen` is the newest of the viewer's mail in each that was on their page when they decided (Gmail's clock).
    """
    before = _before(session, viewer, Snooze.conversation_id, seen)
    rows = [{"conversation_id": id_, "created_at": at or _now(session)} for id_, at in seen.items()]
    _store(session, viewer, Snooze.conversation_id, rows, until)
    _record(session, viewer, "conversation.snoozed", seen, until)
    return before


def put_off_boxes(session: Session, viewer: Viewer, box_ids: Iterable[int], until: datetime) -> Before:
    """Take boxes out of the viewer's follow-ups until a time, or (`FOREVER`) until mail or a move."""
    ids = sorted(set(box_ids))
    before = _before(session, viewer, Snooze.box_id, ids)
    newest = func.greatest(BoxFacts.last_received_at, Box.stage_entered_at)
    query = select(Box.id, newest).outerjoin(BoxFacts, BoxFacts.box_id == Box.id).where(among(Box.id, ids))
    rows = [{"box_id": id_, "created_at": at} for id_, at in session.execute(query)]
    _store(session, viewer, Snooze.box_id, rows, until)
    _record(session, viewer, "box.snoozed", ids, until)
    return before


def bring_back(session: Session, viewer: Viewer, conversation_ids: Iterable[int]) -> Before:
    """Put conversations into the viewer's inbox again."""
    ids = sorted(set(conversation_ids))
    before = _before(session, viewer, Snooze.conversation_id, ids)
    restore(session, viewer, Snooze.conversation_id, [(id_, None, None) for id_ in ids])
    return before


def restore(
    session: Session, viewer: Viewer, what: InstrumentedAttribute[int | None], before: Sequence[tuple[Any, ...]]
) -> None:
    """Make the viewer's snoozes of conversations (`Snooze.conversation_id`) or boxes what they were."""
    ids = [id_ for id_, _, _ in before]
    session.execute(delete(Snooze).where(Snooze.user_id == viewer.user_id, among(what, ids)))
    for id_, until, since in before:
        if until is not None:
            _store(session, viewer, what, [{what.key: id_, "created_at": since}], until)
    _record(session, viewer, f"{what.key.removesuffix('_id')}.unsnoozed", ids, None)


def _before(
    session: Session, viewer: Viewer, what: InstrumentedAttribute[int | None], ids: Iterable[int]
) -> Before:
    query = select(what, Snooze.until, Snooze.created_at).where(
        Snooze.user_id == viewer.user_id, among(what, list(ids))
    )
    found = {id_: (until, since) for id_, until, since in session.execute(query)}
    return [(id_, *found.get(id_, (None, None))) for id_ in ids]


def _store(
    session: Session,
    viewer: Viewer,
    what: InstrumentedAttribute[int | None],
    rows: Sequence[dict[str, Any]],
    until: datetime,
) -> None:
    if not rows:
        return
    whose = {"team_id": viewer.team_id, "user_id": viewer.user_id, "until": until}
    statement = insert(Snooze).values([{**whose, **row} for row in rows])
    fresh = {"until": statement.excluded.until, "created_at": statement.excluded.created_at}
    session.execute(statement.on_conflict_do_update(index_elements=["user_id", what.key], set_=fresh))


def _now(session: Session) -> datetime:
    return session.scalar(select(func.now())) or datetime.now(UTC)


def _record(session: Session, viewer: Viewer, kind: str, ids: Iterable[int], until: datetime | None) -> None:
    """A snooze is its user's own: the event names a box in its data, so that the box's timeline is silent."""
    when = None if until in (None, FOREVER) else until
    common = {"team_id": viewer.team_id, "kind": kind, "actor": viewer.actor, "user_id": viewer.user_id}
    data = {"until": when.isoformat() if when else None}
    events.record_many(
        session,
        [
            {**common, "conversation_id": id_, "data": data}
            if kind.startswith("conversation")
            else {**common, "data": {**data, "box_id": id_}}
            for id_ in ids
        ],
    )


def sleeps(viewer: Viewer, conversation_id: Any, now: datetime) -> ColumnElement[bool]:
    """SQL: the viewer has put the conversation off, and nothing has come since."""
    query = (
        select(literal(1))
        .where(
            Snooze.user_id == viewer.user_id,
            Snooze.conversation_id == conversation_id,
            Snooze.until > now,
            not_(woken()),
        )
        .limit(1)  # a scalar that is asked for row by row: as EXISTS, it might be joined with all of them at once
    )
    return query.scalar_subquery().is_not(None)


def woken() -> ColumnElement[bool]:
    """SQL: mail by somebody else came into the user's mailboxes after the `Snooze` (of a conversation)."""
    newer = (
        select(Copy.id)
        .join(Thread, and_(Thread.mailbox_id == Copy.mailbox_id, Thread.gmail_thread_id == Copy.gmail_thread_id))
        .join(Mailbox, Mailbox.id == Thread.mailbox_id)
        .where(
            Thread.conversation_id == Snooze.conversation_id,
            Mailbox.user_id == Snooze.user_id,
            ~Copy.hidden,
            ~Copy.label_ids.contains(["SENT"]),
            Copy.internal_date > Snooze.created_at,
        )
    )
    return exists(newer.correlate(Snooze))


def box_sleeps(viewer: Viewer, now: datetime) -> ColumnElement[bool]:
    """SQL: the viewer has put the `Box` off (its `BoxFacts` joined), without mail of theirs or a move since."""
    return (
        select(literal(1))
        .where(
            Snooze.user_id == viewer.user_id,
            Snooze.box_id == Box.id,
            Snooze.until > now,
            Box.stage_entered_at <= Snooze.created_at,
            or_(BoxFacts.last_received_at.is_(None), BoxFacts.last_received_at <= Snooze.created_at),
        )
        .correlate(Box, BoxFacts)
        .limit(1)
        .scalar_subquery()
        .is_not(None)
    )
