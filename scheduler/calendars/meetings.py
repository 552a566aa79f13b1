"""Meetings on a box's timeline: the invitations that its mail carries (iTIP, RFC 5546).

They are read where they are shown, out of the calendar parts that a mailbox's copy keeps: what may be read of the
mail decides, and a mail that goes takes its meeting along. Of several mails about one meeting the one with the
highest SEQUENCE says what holds (RFC 5546 §2.1.4-5), of equal ones the latest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from flask import Flask, render_template
from markupsafe import Markup
from sqlalchemy import ARRAY, DateTime, Text, collate, func, literal, select
from sqlalchemy.orm import Session

from scheduler.calendars import ics
from tracker import sharing
from tracker.addresses import normalize
from tracker.boxes import Box
from tracker.filing import FILED, Filing
from tracker.messages import Copy, Message
from tracker.people import Viewer
from tracker.web import timeline
from tracker.web.timeline import MAIL, NOTES, Entry, Source, Span

MOST_MAILS = 200  #: with calendars, of a box: the newest
MOST_EVENTS = 20  #: of one mail
LONGEST = 200_000  #: characters of one calendar part
LONGEST_MEETING = timedelta(days=60)
CHANGES_IT = ("", "REQUEST", "CANCEL", "PUBLISH", "ADD")


@dataclass(frozen=True, slots=True)
class Invitation:
    """What one mail says about a meeting."""

    uid: str
    recurrence: str  #: which of a series, or ""
    sequence: int
    method: str  #: REQUEST, CANCEL, REPLY …
    stamp: datetime
    at: date | datetime
    ends: date | datetime | None
    summary: str
    location: str
    organizer: str
    people: int
    cancelled: bool
    repeats: bool


@dataclass(frozen=True, slots=True)
class Meeting:
    """A meeting as it stands now."""

    invitation: Invitation
    message_key: str  #: of the first mail that told of it
    cancelled: bool
    moved: bool

    @property
    def at(self) -> datetime:
        """Where it stands on the timeline; a whole day at its beginning (UTC)."""
        start = self.invitation.at
        return start if isinstance(start, datetime) else datetime.combine(start, time(), UTC)

    @property
    def key(self) -> str:
        """What it is known by on the timeline."""
        known = f"{self.invitation.uid}\n{self.invitation.recurrence}".encode("utf-8", "replace")
        return hashlib.sha256(known).hexdigest()[:24]

    @property
    def all_day(self) -> bool:
        """Whether it lasts whole days."""
        return not isinstance(self.invitation.at, datetime)

    @property
    def minutes(self) -> int:
        """How long it lasts; 0 where that is not known."""
        start, end = self.invitation.at, self.invitation.ends
        if not isinstance(start, datetime) or not isinstance(end, datetime) or not start < end:
            return 0
        return int((end - start).total_seconds() // 60)


@lru_cache(maxsize=512)
def read(text: str) -> tuple[Invitation, ...]:
    """The invitations of one calendar part; none if it can't be read."""
    try:
        events = ics.events(text[:LONGEST])
    except ics.Unreadable:
        return ()
    return tuple(made for event in events[:MOST_EVENTS] if (made := _invitation(event)) is not None)


def _invitation(event: ics.Event) -> Invitation | None:
    start, uid = event.when("DTSTART"), event.text("UID", 300)
    if not uid or start is None or not 1990 <= start.year <= 2100:
        return None
    stamp = event.when("DTSTAMP")
    recurrence = event.when("RECURRENCE-ID")
    organizer = event.text("ORGANIZER", 200)
    return Invitation(
        uid=uid,
        recurrence=recurrence.isoformat() if recurrence else "",
        sequence=event.number("SEQUENCE"),
        method=event.method,
        stamp=stamp if isinstance(stamp, datetime) else datetime(1990, 1, 1, tzinfo=UTC),
        at=start,
        ends=event.when("DTEND") or _end(start, event.duration()),
        summary=event.text("SUMMARY", 200) or "A meeting",
        location=event.text("LOCATION", 200),
        organizer=organizer[7:] if organizer[:7].lower() == "mailto:" else organizer,
        people=len(event.all("ATTENDEE")),
        cancelled=event.method == "CANCEL" or event.text("STATUS").upper() == "CANCELLED",
        repeats=bool(event.all("RRULE")),
    )


def _end(start: date | datetime, duration: timedelta | None) -> date | datetime | None:
    return start + duration if duration and timedelta(0) < duration <= LONGEST_MEETING else None


@dataclass(frozen=True, slots=True)
class Told:
    """An invitation, and the mail that brought it."""

    invitation: Invitation
    sent_at: datetime
    key: str  #: the message's
    sender: str  #: normal form

    @property
    def rank(self) -> tuple[int, datetime, datetime, str]:
        """What holds is what ranks highest."""
        return (self.invitation.sequence, self.invitation.stamp, self.sent_at, self.key)


#: A mail with calendars: its key, its instant, whoever sent it (normal form), its calendar parts.
Mail = tuple[str, datetime, str, Sequence[str]]


def together(mails: Iterable[Mail]) -> list[Meeting]:
    """The meetings that mails tell of, each as it stands, whatever order the mails came in.

    Only its organizer changes or cancels a meeting (RFC 5546 §3.2.2.1, §3.2.5): what others send later under its
    UID counts for nothing. Answers (REPLY, COUNTER) are no changes either.
    """
    told: dict[tuple[str, str], dict[tuple[str, Invitation], Told]] = {}
    for key, sent_at, sender, calendars in mails:
        for one in (invitation for text in calendars for invitation in read(text)):
            if one.method in CHANGES_IT:
                told.setdefault((one.uid, one.recurrence), {})[key, one] = Told(one, sent_at, key, sender)
    series = {uid: _holds(known.values()) for (uid, recurrence), known in told.items() if not recurrence}
    made = []
    for (uid, recurrence), known in told.items():
        holds, first = _holds(known.values()), min(known.values(), key=lambda one: (one.sent_at, one.key))
        whole = series.get(uid)
        cancelled = holds.invitation.cancelled or bool(recurrence and whole and whole.invitation.cancelled)
        made.append(Meeting(holds.invitation, first.key, cancelled, holds.invitation.at != first.invitation.at))
    return made


def _holds(known: Iterable[Told]) -> Told:
    told = sorted(known, key=lambda one: (one.sent_at, one.key))
    may = {told[0].sender, normalize(told[0].invitation.organizer)}
    return max((one for one in told if one.sender in may), key=lambda one: one.rank)


# -- on the timeline


def of_box(session: Session, viewer: Viewer, box: Box) -> list[Meeting]:
    """The meetings in a box's mail that the viewer may read; one query."""
    filed = select(Filing.conversation_id).where(Filing.box_id == box.id, Filing.state == FILED)
    query = (
        select(Message.key, Message.sent_at, Message.sender_normalized, Copy.calendars)
        .join(Copy, Copy.message_id == Message.id)
        .where(Message.conversation_id.in_(filed), sharing.may_read(viewer))
        .where(~Copy.hidden, func.cardinality(Copy.calendars) > 0)
        .order_by(Message.sent_at.desc(), Message.key)
    )
    return together(
        [(key, at, sender, texts) for key, at, sender, texts in session.execute(query.limit(MOST_MAILS))]
    )


def _load(session: Session, viewer: Viewer, box: Box, span: Span) -> Sequence[Entry]:
    found = {meeting.key: meeting for meeting in of_box(session, viewer, box)}
    if not found:
        return []
    # Which of them the span asks for is PostgreSQL's to say: it orders them among the other sources' entries.
    listed = select(
        func.unnest(literal([one.at for one in found.values()], ARRAY(DateTime(timezone=True)))).label("at"),
        func.unnest(literal([*found], ARRAY(Text()))).label("key"),
    ).subquery()
    at, key = listed.c.at, collate(listed.c.key, "C")
    rows = session.scalars(
        select(listed.c.key).where(*span.within(at, key)).order_by(at.desc(), key.desc()).limit(span.limit)
    )
    return [Entry(found[one].at, one, html=_html(found[one])) for one in rows]


def _html(meeting: Meeting) -> str:
    return Markup(render_template("scheduler/_meeting.html", meeting=meeting, one=meeting.invitation))  # noqa: S704


SOURCE = Source("invitation", frozenset({MAIL, NOTES}), _load)


def init_app(app: Flask) -> None:
    """Show them on the timelines of an application."""
    timeline.register(app, SOURCE)
