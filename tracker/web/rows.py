"""The inbox's rows: conversations of the viewer's own mailboxes, in a fixed number of queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, joinedload

from tracker import people
from tracker.boxes import Box
from tracker.conversations import Conversation, Thread
from tracker.filing import FILED, SUGGESTED, Filing
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message
from tracker.people import Viewer
from tracker.sharing import holds, may_read
from tracker.web.cursor import Cursor

PAGE = 50


@dataclass(slots=True)
class Row:
    """One conversation in a list."""

    conversation: Conversation
    subject: str = ""
    snippet: str = ""
    at: datetime | None = None
    count: int = 0
    unread: bool = False
    who: list[str] = field(default_factory=list)
    filed: list[Filing] = field(default_factory=list)
    suggested: list[Filing] = field(default_factory=list)


def inbox(
    session: Session, viewer: Viewer, *, unfiled: bool, after: Cursor | None, limit: int = PAGE
) -> tuple[list[Row], Cursor | None]:
    """A page of the viewer's conversations, the newest first, and where the next begins."""
    query = select(Conversation).where(
        Conversation.team_id == viewer.team_id, Conversation.last_message_at.is_not(None), _own(viewer)
    )
    if unfiled:
        query = query.where(~exists().where(Filing.conversation_id == Conversation.id, Filing.state == FILED))
    if after is not None:
        seen = (
            select(Conversation.id)
            .where(Conversation.team_id == viewer.team_id, Conversation.key == after.key)
            .scalar_subquery()
        )
        place = tuple_(Conversation.last_message_at, Conversation.id)
        query = query.where(place < tuple_(literal(after.at), func.coalesce(seen, 0)))
    query = query.order_by(Conversation.last_message_at.desc(), Conversation.id.desc()).limit(limit + 1)
    found = session.scalars(query).all()
    last = found[limit - 1] if len(found) > limit else None
    more = Cursor(last.last_message_at, last.key) if last is not None and last.last_message_at else None
    return rows(session, viewer, found[:limit]), more


def _own(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: a mailbox of the viewer takes part in the `Conversation`, outside trash, spam and drafts."""
    return exists(
        select(Copy.id)
        .join(Thread, (Thread.mailbox_id == Copy.mailbox_id) & (Thread.gmail_thread_id == Copy.gmail_thread_id))
        .join(Mailbox, Mailbox.id == Thread.mailbox_id)
        .where(Thread.conversation_id == Conversation.id, Mailbox.user_id == viewer.user_id, ~Copy.hidden)
    )


def rows(session: Session, viewer: Viewer, found: Sequence[Conversation]) -> list[Row]:
    """What a list says of conversations, from the messages that the viewer may read."""
    made = {conversation.id: Row(conversation, conversation.subject) for conversation in found}
    if not made:
        return []
    _add_latest(session, viewer, made)
    _add_people(session, viewer, made)
    _add_unread(session, viewer, made)
    for filing in _filings(session, made):
        row = made[filing.conversation_id]
        (row.filed if filing.state == FILED else row.suggested).append(filing)
    return list(made.values())


def _add_latest(session: Session, viewer: Viewer, made: dict[int, Row]) -> None:
    query = (
        select(Message.conversation_id, Message.subject, Message.snippet, Message.sent_at)
        .where(Message.conversation_id.in_(made), may_read(viewer))
        .ext(distinct_on(Message.conversation_id))
        .order_by(Message.conversation_id, Message.sent_at.desc(), Message.id.desc())
    )
    for conversation_id, subject, snippet, at in session.execute(query):
        row = made[conversation_id]
        row.subject, row.snippet, row.at = row.subject or subject, snippet, at


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
        .where(Message.conversation_id.in_(made), may_read(viewer))
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


def _add_unread(session: Session, viewer: Viewer, made: dict[int, Row]) -> None:
    query = (
        select(Message.conversation_id)
        .join(Copy, Copy.message_id == Message.id)
        .join(Mailbox, Mailbox.id == Copy.mailbox_id)
        .where(
            Message.conversation_id.in_(made),
            holds(viewer),
            Mailbox.user_id == viewer.user_id,
            Copy.label_ids.contains(["UNREAD"]),
            ~Copy.hidden,
        )
        .distinct()
    )
    for conversation_id in session.scalars(query):
        made[conversation_id].unread = True


def _filings(session: Session, made: dict[int, Row]) -> Sequence[Filing]:
    query = (
        select(Filing)
        .where(Filing.conversation_id.in_(made), Filing.state.in_((FILED, SUGGESTED)))
        .options(joinedload(Filing.box).joinedload(Box.stage), joinedload(Filing.pipeline))
        .order_by(Filing.id)
    )
    return session.scalars(query).all()


def readable(session: Session, viewer: Viewer, key: str) -> Conversation | None:
    """The conversation with this key, if the viewer may read any message of it."""
    query = select(Conversation).where(
        Conversation.team_id == viewer.team_id,
        Conversation.key == key,
        exists(select(Message.id).where(Message.conversation_id == Conversation.id, may_read(viewer))),
    )
    return session.scalar(query)


def of_box(session: Session, viewer: Viewer, box: Box, state: str, limit: int = 100) -> list[tuple[Filing, Row]]:
    """Conversations filed in (or suggested for) a box, of which the viewer may read something."""
    query = (
        select(Filing, Conversation)
        .join(Conversation, Conversation.id == Filing.conversation_id)
        .where(
            Filing.box_id == box.id,
            Filing.state == state,
            exists(select(Message.id).where(Message.conversation_id == Conversation.id, may_read(viewer))),
        )
        .order_by(Conversation.last_message_at.desc(), Conversation.id.desc())
        .limit(limit)
    )
    found = session.execute(query).all()
    made = {conversation.id: Row(conversation, conversation.subject) for _, conversation in found}
    if made:
        _add_latest(session, viewer, made)
        _add_people(session, viewer, made)
    return [(filing, made[conversation.id]) for filing, conversation in found]
