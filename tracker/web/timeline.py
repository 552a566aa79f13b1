"""A box's timeline: mail, notes, calls, meetings and events in one stream, and what other rooms add to it.

Each kind of entry comes from a `Source`. Entries are ordered by their instant, those of one same instant by their
source and key, so that a page ends at one exact place and the next begins behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask import Flask, current_app
from sqlalchemy import ColumnElement, collate, literal, select, tuple_
from sqlalchemy.orm import Session, joinedload

from tracker import boxes
from tracker.activities import Activity
from tracker.boxes import Box
from tracker.db import among
from tracker.events import RULE, Event
from tracker.filing import FILED, Filing
from tracker.people import Viewer
from tracker.sharing import reasons
from tracker.web.cursor import Cursor
from tracker.web.mails import Mail, messages_read, ready

PAGE = 40
MOST = 200  # entries of a page that is shown again with what is new on top
EXTENSION = "tracker_timeline"
GATES = "tracker_timeline_gates"

ALL, MAIL, NOTES, TASKS, CHANGES = "all", "mail", "notes", "tasks", "changes"
#: The filters, as they stand in the address and as they are called.
SHOWS = {ALL: "All", MAIL: "Mail", NOTES: "Notes & calls", TASKS: "Tasks", CHANGES: "Changes"}

#: Events that other entries say already; and a rule's filing, whose reason stands by the conversation.
SILENT = (
    "message.sent", "message.received", "conversation.suggested", "user.mentioned", "box.merged_away",
    "note.added", "note.changed", "call.added", "call.changed", "meeting.added", "meeting.changed",
    "email.read", "email.clicked", "answer.asked",
)  # fmt: skip
BY_RULE_SILENT = ("conversation.filed",)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a timeline. Other rooms give `html`, ready to be shown."""

    at: datetime
    key: str
    mail: Mail | None = None
    event: Event | None = None
    activity: Activity | None = None
    html: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Which entries a source is asked for: behind `after`, or from the newest down to and with `until`."""

    show: str
    after: Cursor | None
    until: Cursor | None
    rank: int  #: the source's place among those of one instant
    ranks: dict[str, int]
    limit: int

    def within(self, at: Any, key: Any) -> list[ColumnElement[bool]]:
        """SQL: the entry with this instant and key (unique in its source, as text or number) is asked for."""
        found = []
        if self.after is not None:
            found.append(self._beyond(at, key, self.after))
        if self.until is not None:
            found.append(~self._beyond(at, key, self.until) | self._is(at, key, self.until))
        return found

    def _split(self, cursor: Cursor) -> tuple[int, str]:
        name, _, key = cursor.key.partition("-")
        return self.ranks.get(name, 0), key

    def _beyond(self, at: Any, key: Any, cursor: Cursor) -> ColumnElement[bool]:
        rank, there = self._split(cursor)
        if self.rank == rank:
            return tuple_(at, key) < tuple_(literal(cursor.at), self._typed(key, there))
        place: ColumnElement[bool] = at <= cursor.at if self.rank > rank else at < cursor.at
        return place

    def _is(self, at: Any, key: Any, cursor: Cursor) -> ColumnElement[bool]:
        rank, there = self._split(cursor)
        return (at == cursor.at) & (key == self._typed(key, there)) if self.rank == rank else literal(False)

    @staticmethod
    def _typed(key: Any, there: str) -> Any:
        if key.type.python_type is int:
            return literal(int(there) if there.isdecimal() and len(there) < 19 else 0)
        return literal(there)


@dataclass(frozen=True, slots=True)
class Source:
    """Where entries of one kind come from.

    `load` gives the newest entries within a `Span` that the viewer may see, at most `span.limit`, in a fixed
    number of queries, ordered by instant and key downwards (text keys by `COLLATE "C"`).
    """

    name: str  #: letters only
    shows: frozenset[str]  #: the filters under which its entries are seen, besides "all"
    load: Callable[[Session, Viewer, Box, Span], Sequence[Entry]]


#: SQL: the viewer may see the `Event` of the enclosing query.
Gate = Callable[[Viewer], ColumnElement[bool]]


def register(app: Flask, source: Source) -> None:
    """Add another room's entries to the timelines of an application."""
    app.extensions.setdefault(EXTENSION, []).append(source)


def register_gate(app: Flask, gate: Gate) -> None:
    """Say which of another room's events a viewer may see: those that are not its own, all of them."""
    app.extensions.setdefault(GATES, []).append(gate)


def _sources() -> list[Source]:
    return [*SOURCES, *current_app.extensions.get(EXTENSION, [])]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a timeline."""

    entries: list[Entry]
    more: Cursor | None  #: where the next page begins
    until: Cursor | None  #: the last entry of this one


def of_box(
    session: Session,
    viewer: Viewer,
    box: Box,
    *,
    show: str = ALL,
    after: Cursor | None = None,
    until: Cursor | None = None,
) -> Page:
    """A page of a box's timeline, the newest first: behind `after`, or down to `until`, or the first page."""
    sources = _sources()
    ranks = {source.name: rank for rank, source in enumerate(sources)}
    size = MOST if until is not None else PAGE
    found: list[tuple[Any, str, Entry]] = []
    for rank, source in enumerate(sources):
        if show != ALL and show not in source.shows:
            continue
        span = Span(show, after, until, rank, ranks, size + 1)
        loaded = source.load(session, viewer, box, span)
        found += [((entry.at, -rank, _order(entry)), source.name, entry) for entry in loaded]
    found.sort(key=lambda one: one[0], reverse=True)
    shown = found[:size]
    last = Cursor(shown[-1][2].at, f"{shown[-1][1]}-{shown[-1][2].key}") if shown else None
    more = len(found) > size or (until is not None and _is_more(session, viewer, box, show, last))
    entries = _readied(session, viewer, [entry for _, _, entry in shown])
    return Page(entries, last if more else None, last)


def _order(entry: Entry) -> Any:
    return int(entry.key) if entry.event is not None else entry.key


def _is_more(session: Session, viewer: Viewer, box: Box, show: str, last: Cursor | None) -> bool:
    """A page that was shown again: whether there is more behind it."""
    sources = _sources()
    ranks = {source.name: rank for rank, source in enumerate(sources)}
    return any(
        source.load(session, viewer, box, Span(show, last, None, rank, ranks, 1))
        for rank, source in enumerate(sources)
        if show == ALL or show in source.shows
    )


def _readied(session: Session, viewer: Viewer, entries: Sequence[Entry]) -> list[Entry]:
    """Mail is only made ready to be read once it is known which of it the page shows."""
    rows = [entry.mail.row for entry in entries if entry.mail is not None and entry.mail.row is not None]
    made = {mail.message.id: mail for mail in ready(session, viewer, rows)}
    return [
        Entry(entry.at, entry.key, mail=made[entry.mail.message.id]) if entry.mail is not None else entry
        for entry in entries
    ]


def _mails(session: Session, viewer: Viewer, box: Box, span: Span) -> Sequence[Entry]:
    message = messages_read(viewer)
    at, key = message.at, message.key
    filed = select(Filing.conversation_id).where(Filing.box_id == box.id, Filing.state == FILED)
    query = message.query.where(message.conversation_id.in_(filed), *span.within(at, key))
    rows = session.execute(query.order_by(at.desc(), key.desc()).limit(span.limit)).all()
    return [Entry(row[0].sent_at, row[0].key, mail=Mail.unready(row)) for row in rows]


def _activities(session: Session, viewer: Viewer, box: Box, span: Span) -> Sequence[Entry]:
    key = collate(Activity.key, "C")
    query = (
        select(Activity)
        .where(Activity.box_id == box.id, Activity.team_id == viewer.team_id, Activity.removed_at.is_(None))
        .where(*span.within(Activity.at, key))
        .options(joinedload(Activity.user))
        .order_by(Activity.at.desc(), key.desc())
    )
    return [Entry(one.at, one.key, activity=one) for one in session.scalars(query.limit(span.limit))]


def _events(session: Session, viewer: Viewer, box: Box, span: Span) -> Sequence[Entry]:
    by_rule = (Event.actor == RULE) & Event.kind.in_(BY_RULE_SILENT)
    query = select(Event).where(
        among(Event.box_id, boxes.ids_of(session, box)), Event.kind.not_in(SILENT), ~by_rule
    )
    if span.show != ALL:
        of_tasks = Event.kind.startswith("task.")
        query = query.where(of_tasks if span.show == TASKS else ~of_tasks)
    query = query.where(*(gate(viewer) for gate in current_app.extensions.get(GATES, ())))
    query = query.where(*span.within(Event.at, Event.id)).order_by(Event.at.desc(), Event.id.desc())
    return [Entry(one.at, str(one.id), event=one) for one in session.scalars(query.limit(span.limit))]


SOURCES = (
    Source("activity", frozenset({NOTES}), _activities),
    Source("mail", frozenset({MAIL}), _mails),
    Source("event", frozenset({TASKS, CHANGES}), _events),
)


@dataclass(slots=True)
class Block:
    """What a timeline shows as one: an entry, or mails of one conversation, or events, that follow one another."""

    entry: Entry
    mails: list[Mail] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    filing: Filing | None = None  #: why the conversation is here


def blocks(session: Session, viewer: Viewer, box: Box, entries: Sequence[Entry]) -> list[Block]:
    """Entries as a page shows them, with the reason why each conversation is in the box."""
    made: list[Block] = []
    for entry in entries:
        if entry.event is not None:
            if not (made and made[-1].events):
                made.append(Block(entry))
            made[-1].events.append(entry.event)
        elif entry.mail is None:
            made.append(Block(entry))
        elif made and made[-1].mails and made[-1].mails[-1].conversation_key == entry.mail.conversation_key:
            made[-1].mails.append(entry.mail)
        else:
            made.append(Block(entry, [entry.mail]))
    ids = {block.mails[0].message.conversation_id for block in made if block.mails}
    if ids:
        query = select(Filing).where(Filing.box_id == box.id, among(Filing.conversation_id, ids))
        filings = {filing.conversation_id: filing for filing in session.scalars(query)}
        reasons.tell(session, viewer, filings.values())
        for block in made:
            block.filing = filings.get(block.mails[0].message.conversation_id) if block.mails else None
    return made
