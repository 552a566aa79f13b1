"""The inbox's rows: conversations of the viewer's own mailboxes, in a fixed number of queries.

A page looks through a window of the newest conversations and no further, so that it takes as long for a team of
ten years as for a new one; where the window ends before the page is full, the page says so and leads on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, func, literal, not_, select, true, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, aliased, joinedload

from tracker import people, snoozes
from tracker.boxes import Box
from tracker.conversations import Conversation, Thread
from tracker.db import among
from tracker.filing import FILED, SUGGESTED, Filing
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message
from tracker.people import Viewer
from tracker.sharing import may_read, reasons
from tracker.snoozes import Snooze
from tracker.web.cursor import Cursor

PAGE = 50
WINDOW = 2000  # conversations that are looked at for a page
MOST = 99  # a longer list is counted "99+"


class Listing(StrEnum):
    """Which of the viewer's conversations are shown."""

    UNFILED = "unfiled"  #: in no box, and not put off
    ANSWER = "answer"  #: the last word, automatic mail aside, is theirs; not put off
    ALL = "all"
    SNOOZED = "snoozed"


@dataclass(slots=True)
class Row:
    """One conversation in a list."""

    conversation: Conversation
    subject: str = ""
    snippet: str = ""
    at: datetime | None = None
    count: int = 0
    unread: bool = False
    seen: datetime | None = None  #: the newest of the viewer's own copies, by Gmail's clock
    until: datetime | None = None  #: the viewer has put it off
    who: list[str] = field(default_factory=list)
    filed: list[Filing] = field(default_factory=list)
    suggested: list[Filing] = field(default_factory=list)

    @property
    def seen_mark(self) -> str:
        """What its user has seen of it, for a form."""
        key = self.conversation.key
        return f"{key}.{str(Cursor(self.seen, key)).partition('.')[0]}" if self.seen else ""

    @property
    def is_done(self) -> bool:
        """Put off until the next mail."""
        return self.until == snoozes.FOREVER


@dataclass(frozen=True, slots=True)
class Found:
    """A page of a list."""

    rows: list[Row]
    more: Cursor | None = None  #: where the next page begins
    stopped_at: datetime | None = None  #: the window ended here before the page was full


@dataclass(frozen=True, slots=True)
class Counts:
    """How long the lists are, as they are told: "7", "99+"; "7+" where older mail was not looked at."""

    unfiled: str
    answer: str
    snoozed: str


def inbox(
    session: Session, viewer: Viewer, listing: Listing, after: Cursor | None, now: datetime, limit: int = PAGE
) -> Found:
    """A page of the viewer's conversations, the newest first; of those put off, the first to come back first."""
    if listing == Listing.SNOOZED:
        return _snoozed(session, viewer, after, now, limit)
    window = _window(viewer, after)
    one = aliased(Conversation, window)
    query = select(one).where(*_wanted(session, viewer, listing, one, now))
    found = session.scalars(query.order_by(one.last_message_at.desc(), one.id.desc()).limit(limit + 1)).all()
    end = session.execute(
        select(window.c.last_message_at, window.c.key)
        .order_by(window.c.last_message_at.desc(), window.c.id.desc())
        .offset(WINDOW - 1)
        .limit(1)
    ).first()
    shown = rows(session, viewer, found[:limit], now)
    if len(found) > limit:
        last = found[limit - 1]
        return Found(shown, Cursor(_at(last.last_message_at), last.key))
    return Found(shown, Cursor(end[0], end[1]), end[0]) if end else Found(shown)


def _at(at: datetime | None) -> datetime:
    assert at is not None
    return at


def _window(viewer: Viewer, after: Cursor | None) -> Subquery:
    query = select(Conversation).where(
        Conversation.team_id == viewer.team_id, Conversation.last_message_at.is_not(None)
    )
    if after is not None:
        place = tuple_(Conversation.last_message_at, Conversation.id)
        query = query.where(place < tuple_(literal(after.at), _seen_id(viewer, after)))
    query = query.order_by(Conversation.last_message_at.desc(), Conversation.id.desc()).limit(WINDOW)
    return query.subquery("newest")


def _seen_id(viewer: Viewer, after: Cursor) -> ColumnElement[int]:
    seen = select(Conversation.id).where(Conversation.team_id == viewer.team_id, Conversation.key == after.key)
    return func.coalesce(seen.scalar_subquery(), 0)


def _wanted(
    session: Session, viewer: Viewer, listing: Listing, one: Any, now: datetime
) -> Iterable[ColumnElement[bool]]:
    """The cheapest question first: PostgreSQL asks them row by row in this order."""
    if listing == Listing.UNFILED:
        yield not_(_is_filed(one))
    if listing in (Listing.UNFILED, Listing.ANSWER):
        yield not_(snoozes.sleeps(viewer, one.id, now))
    yield _own(viewer, one)
    if listing == Listing.ANSWER:
        yield _theirs(session, viewer, one)


def _asked(query: Select[Any]) -> ColumnElement[bool]:
    """SQL: the query finds anything. A scalar, so that it is asked row by row and never becomes a join of all."""
    return query.limit(1).scalar_subquery().is_not(None)


def _own(viewer: Viewer, one: Any) -> ColumnElement[bool]:
    """SQL: a mailbox of the viewer takes part in the conversation, outside trash, spam and drafts."""
    return _asked(
        select(literal(1))
        .select_from(Thread)
        .join(Mailbox, Mailbox.id == Thread.mailbox_id)
        .join(Copy, (Copy.mailbox_id == Thread.mailbox_id) & (Copy.gmail_thread_id == Thread.gmail_thread_id))
        .where(Thread.conversation_id == one.id, Mailbox.user_id == viewer.user_id, ~Copy.hidden)
    )


def _is_filed(one: Any) -> ColumnElement[bool]:
    return _asked(
        select(literal(1))
        .select_from(Filing)
        .join(Box, Box.id == Filing.box_id)
        .where(Filing.conversation_id == one.id, Filing.state == FILED, Box.deleted_at.is_(None))
    )


def _theirs(session: Session, viewer: Viewer, one: Any) -> ColumnElement[bool]:
    """SQL: the last mail that a person wrote, of those that the viewer may read, came from outside the team."""
    own = people.own_addresses(session, viewer.team_id)
    last = (
        select(not_(among(Message.sender_normalized, own)))
        .where(
            Message.conversation_id == one.id, Message.automatic.is_(None), ~Message.auto_reply, may_read(viewer)
        )
        .order_by(Message.sent_at.desc(), Message.id.desc())
        .limit(1)
    )
    return last.scalar_subquery().is_(true())


def counts(session: Session, viewer: Viewer, now: datetime) -> Counts:
    """How many are unfiled, need an answer, are put off; each counted no further than `MOST`, in one query."""
    window = _window(viewer, None)
    one = aliased(Conversation, window)

    def number(listing: Listing) -> ColumnElement[int]:
        some = select(literal(1).label("one")).select_from(window)
        some = some.where(*_wanted(session, viewer, listing, one, now)).limit(MOST + 1)
        return select(func.count()).select_from(some.subquery()).scalar_subquery()

    asleep = _asleep(select(literal(1).label("one")), viewer, now).limit(MOST + 1)
    beyond = _asked(select(literal(1)).select_from(window).offset(WINDOW - 1))
    unfiled, answer, snoozed, further = session.execute(
        select(
            number(Listing.UNFILED),
            number(Listing.ANSWER),
            select(func.count()).select_from(asleep.subquery()).scalar_subquery(),
            beyond,
        )
    ).one()
    return Counts(_told(unfiled, further), _told(answer, further), _told(snoozed, False))


def _told(number: int, further: bool) -> str:
    return f"{MOST}+" if number > MOST else f"{number}+" if further and number else str(number)


def _asleep(query: Any, viewer: Viewer, now: datetime) -> Any:
    return query.select_from(Snooze).where(
        Snooze.user_id == viewer.user_id,
        Snooze.conversation_id.is_not(None),
        Snooze.until > now,
        not_(snoozes.woken()),
    )


def _snoozed(session: Session, viewer: Viewer, after: Cursor | None, now: datetime, limit: int) -> Found:
    query = _asleep(select(Conversation, Snooze.until), viewer, now)
    query = query.join(Conversation, Conversation.id == Snooze.conversation_id)
    query = query.where(_own(viewer, Conversation))
    if after is not None:
        place = tuple_(Snooze.until, Snooze.conversation_id)
        query = query.where(place > tuple_(literal(after.at), _seen_id(viewer, after)))
    query = query.order_by(Snooze.until, Snooze.conversation_id).limit(limit + 1)
    found = session.execute(query).all()
    last = found[limit - 1] if len(found) > limit else None
    more = Cursor(last[1], last[0].key) if last is not None else None
    return Found(rows(session, viewer, [conversation for conversation, _ in found[:limit]], now), more)


def rows(
    session: Session, viewer: Viewer, found: Sequence[Conversation], now: datetime | None = None
) -> list[Row]:
    """What a list says of conversations, from the messages that the viewer may read.

    With `now`, also whether the viewer has put them off.
    """
    made = {conversation.id: Row(conversation) for conversation in found}
    if not made:
        return []
    _add_latest(session, viewer, made)
    _add_people(session, viewer, made)
    _add_copies(session, viewer, made)
    if now is not None:
        _add_snoozes(session, viewer, made, now)
    filings = _filings(session, made)
    reasons.tell(session, viewer, filings)
    for filing in filings:
        row = made[filing.conversation_id]
        (row.filed if filing.state == FILED else row.suggested).append(filing)
    return list(made.values())


def _add_latest(session: Session, viewer: Viewer, made: dict[int, Row]) -> None:
    """The subject is that of the first mail which the viewer may read, not the conversation's own."""
    subject = func.first_value(Message.subject).over(
        partition_by=Message.conversation_id, order_by=(Message.sent_at, Message.id)
    )
    query = (
        select(Message.conversation_id, subject, Message.snippet, Message.sent_at)
        .where(among(Message.conversation_id, made), may_read(viewer))
        .ext(distinct_on(Message.conversation_id))
        .order_by(Message.conversation_id, Message.sent_at.desc(), Message.id.desc())
    )
    for conversation_id, words, snippet, at in session.execute(query):
        row = made[conversation_id]
        row.subject, row.snippet, row.at = words, snippet, at


def _add_people(session: Session, viewer: Viewer, made: dict[int, Row]) -> None:
    own = people.own_addresses(session, viewer.team_id)
    query = (
        select(
            Message.conversation_id,
            Message.sender_normalized,
            func.max(Message.sender_name),
            func.max(Message.sender_address),
            func.count(),
        )
        .where(among(Message.conversation_id, made), may_read(viewer))
        .group_by(Message.conversation_id, Message.sender_normalized)
        .order_by(Message.conversation_id, func.max(Message.sent_at))
    )
    names: dict[int, list[tuple[bool, str]]] = defaultdict(list)
    for conversation_id, normalized, name, address, count in session.execute(query):
        shown = name or address or "(no sender)"
        names[conversation_id].append((normalized in own, shown))
        made[conversation_id].count += count
    for conversation_id, found in names.items():
        # Outsiders first: they are whom the conversation is with.
        made[conversation_id].who = [name for _, name in sorted(found, key=lambda entry: entry[0])]


def _add_copies(session: Session, viewer: Viewer, made: dict[int, Row]) -> None:
    """What the viewer's own copies say: unread, and when the newest came."""
    for conversation_id, seen, unread in _newest_copies(session, viewer, made):
        made[conversation_id].seen, made[conversation_id].unread = seen, unread


def _newest_copies(
    session: Session, viewer: Viewer, conversation_ids: Iterable[int]
) -> Iterable[tuple[int, datetime, bool]]:
    query = (
        select(
            Message.conversation_id,
            func.max(Copy.internal_date),
            func.bool_or(Copy.label_ids.contains(["UNREAD"])),
        )
        .join(Copy, Copy.message_id == Message.id)
        .join(Mailbox, Mailbox.id == Copy.mailbox_id)
        .where(
            among(Message.conversation_id, list(conversation_ids)),
            Mailbox.user_id == viewer.user_id,
            ~Copy.hidden,
        )
        .group_by(Message.conversation_id)
    )
    for row in session.execute(query):
        yield row[0], row[1], row[2]


def newest(session: Session, viewer: Viewer, conversation_ids: Iterable[int]) -> dict[int, datetime]:
    """When the newest of the viewer's own mail in conversations came, by Gmail's clock."""
    return {id_: seen for id_, seen, _ in _newest_copies(session, viewer, conversation_ids)}


def _add_snoozes(session: Session, viewer: Viewer, made: dict[int, Row], now: datetime) -> None:
    query = _asleep(select(Snooze.conversation_id, Snooze.until), viewer, now)
    for conversation_id, until in session.execute(query.where(among(Snooze.conversation_id, made))):
        made[conversation_id].until = until


def _filings(session: Session, made: dict[int, Row]) -> Sequence[Filing]:
    """Filed and suggested; not of a box that was deleted, and nothing suggested of one that was put away."""
    query = (
        select(Filing)
        .outerjoin(Box, Box.id == Filing.box_id)
        .where(
            among(Filing.conversation_id, made),
            Filing.state.in_((FILED, SUGGESTED)),
            Box.deleted_at.is_(None),
            (Filing.state == FILED) | Box.archived_at.is_(None),
        )
        .options(joinedload(Filing.box).joinedload(Box.stage), joinedload(Filing.pipeline))
        .order_by(Filing.id)
    )
    return session.scalars(query).all()


def _is_readable(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: the viewer may read some message of the `Conversation`. A scalar, so that it is asked one by one."""
    one = select(Message.id).where(Message.conversation_id == Conversation.id, may_read(viewer)).limit(1)
    return one.correlate(Conversation).scalar_subquery().is_not(None)


def readable(session: Session, viewer: Viewer, key: str) -> Conversation | None:
    """The conversation with this key, if the viewer may read any message of it."""
    return next(iter(readable_ones(session, viewer, [key])), None)


def readable_ones(session: Session, viewer: Viewer, keys: Sequence[str]) -> Sequence[Conversation]:
    """Of the conversations with these keys those of which the viewer may read any message, in that order."""
    wanted = [key for key in keys if "\x00" not in key]
    query = select(Conversation).where(
        Conversation.team_id == viewer.team_id,
        among(Conversation.key, wanted),
        _is_readable(viewer),
    )
    found = {conversation.key: conversation for conversation in session.scalars(query)}
    return [found[key] for key in dict.fromkeys(wanted) if key in found]


def of_box(session: Session, viewer: Viewer, box: Box, state: str, limit: int = 100) -> list[tuple[Filing, Row]]:
    """Conversations filed in (or suggested for) a box, by the newest mail of each that the viewer may read."""
    query = (
        select(Filing, Conversation)
        .join(Conversation, Conversation.id == Filing.conversation_id)
        .where(
            Filing.box_id == box.id,
            Filing.state == state,
            _is_readable(viewer),
        )
        .order_by(Conversation.last_message_at.desc(), Conversation.id.desc())
        .limit(limit)
    )
    found = session.execute(query).all()
    made = {conversation.id: Row(conversation) for _, conversation in found}
    if made:
        _add_latest(session, viewer, made)
        _add_people(session, viewer, made)
    shown = [(filing, made[conversation.id]) for filing, conversation in found]
    # Not by the conversation's own last mail: the order would tell of what is withheld.
    return sorted(shown, key=lambda one: (one[1].at is not None, one[1].at), reverse=True)
