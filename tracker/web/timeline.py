"""A box's timeline: its mail and what happened to it, merged; and messages made ready to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, defer

from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.events import RULE, Event
from tracker.filing import FILED, Filing
from tracker.messages import Copy, Message, Recipient, recipients_of
from tracker.people import Viewer
from tracker.sharing import may_read
from tracker.signatures import split_quoted
from tracker.web.cursor import Cursor

PAGE = 40
TIES = 40  # entries of one same instant that a page is lengthened by, so that none is lost between two
TEXT_SHOWN = 50_000  # characters

#: Events that the mail beside them says already; and a rule's filing, whose reason stands by the conversation.
SILENT = ("message.sent", "message.received", "conversation.suggested")
BY_RULE_SILENT = ("conversation.filed",)


@dataclass(frozen=True, slots=True)
class Mail:
    """A message as a page shows it."""

    message: Message
    conversation_key: str
    reply: str
    quoted: str
    has_html: bool
    has_images: bool  #: images that live elsewhere, which are fetched only if the reader asks
    recipients: Sequence[Recipient]
    attachments: Sequence[dict[str, Any]] = field(default_factory=list)

    @property
    def at(self) -> datetime:
        """When it was sent."""
        return self.message.sent_at


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a timeline: a mail or an event."""

    at: datetime
    mail: Mail | None = None
    event: Event | None = None


def of_box(session: Session, viewer: Viewer, box: Box, after: Cursor | None) -> tuple[list[Entry], Cursor | None]:
    """A page of a box's timeline, the newest first, and where the next begins."""
    by_rule = (Event.actor == RULE) & Event.kind.in_(BY_RULE_SILENT)
    events = select(Event).where(Event.box_id == box.id, Event.kind.not_in(SILENT), ~by_rule)
    filed = select(Filing.conversation_id).where(Filing.box_id == box.id, Filing.state == FILED)
    mail = _messages(viewer).where(Message.conversation_id.in_(filed))
    if after is not None:
        events, mail = events.where(Event.at < after.at), mail.where(Message.sent_at < after.at)
    limit = PAGE + TIES
    happened = session.scalars(events.order_by(Event.at.desc(), Event.id.desc()).limit(limit)).all()
    rows = session.execute(mail.order_by(Message.sent_at.desc(), Message.id.desc()).limit(limit)).all()
    instants = sorted([event.at for event in happened] + [row[0].sent_at for row in rows], reverse=True)
    kept = _page(instants)
    if not kept:
        return [], None
    end = instants[kept - 1]
    mails = _ready(session, [row for row in rows if row[0].sent_at >= end])
    entries = [Entry(one.at, mail=one) for one in mails]
    entries += [Entry(event.at, event=event) for event in happened if event.at >= end]
    entries.sort(key=lambda entry: entry.at, reverse=True)
    return entries, Cursor(end, "") if kept < len(instants) else None


def _page(instants: Sequence[datetime]) -> int:
    """How many entries make a page: those of one same instant stay together."""
    end = min(PAGE, len(instants))
    while 0 < end < len(instants) and instants[end] == instants[end - 1]:
        end += 1
    return end


def of_conversation(
    session: Session, viewer: Viewer, conversation: Conversation, after: Cursor | None
) -> tuple[list[Mail], Cursor | None]:
    """A page of a conversation's messages that the viewer may read, the newest first."""
    query = _messages(viewer).where(Message.conversation_id == conversation.id)
    if after is not None:
        query = query.where(Message.sent_at < after.at)
    query = query.order_by(Message.sent_at.desc(), Message.id.desc()).limit(PAGE + TIES)
    rows = session.execute(query).all()
    kept = _page([row[0].sent_at for row in rows])
    more = Cursor(rows[kept - 1][0].sent_at, "") if kept < len(rows) else None
    return _ready(session, rows[:kept]), more


Found = Row[Message, str, bool, bool]
REMOTE_IMAGE = r"<img[^>]*https?:|background[^>]*https?:"


def _messages(viewer: Viewer) -> Select[Message, str, bool, bool]:
    """Messages without the weight of their HTML; the one place of the pages that selects mail to be read."""
    html = func.coalesce(Message.html, "")
    return (
        select(Message, Conversation.key, html != "", html.regexp_match(REMOTE_IMAGE, flags="i"))
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(may_read(viewer))
        .options(defer(Message.html))
    )


def _ready(session: Session, rows: Sequence[Found]) -> list[Mail]:
    if not rows:
        return []
    ids = [row[0].id for row in rows]
    recipients = recipients_of(session, ids)
    attachments = _attachments(session, [row[0].id for row in rows if row[0].attachment_count])
    made = []
    for message, key, has_html, has_images in rows:
        reply, quoted = split_quoted(message.text[:TEXT_SHOWN])
        files = attachments.get(message.id, [])
        made.append(Mail(message, key, reply, quoted, has_html, has_images, recipients[message.id], files))
    return made


def _attachments(session: Session, ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """Names and sizes by message; they are part of what a message is known by, so any copy tells them."""
    if not ids:
        return {}
    query = (
        select(Copy.message_id, Copy.attachments)
        .where(Copy.message_id.in_(ids), ~Copy.hidden)
        .ext(distinct_on(Copy.message_id))
        .order_by(Copy.message_id, Copy.id)
    )
    return {id_: [one for one in found if not one.get("inline")] for id_, found in session.execute(query)}


def message(session: Session, viewer: Viewer, key: str) -> Message | None:
    """One message with everything, if the viewer may read it."""
    return session.scalar(select(Message).where(Message.key == key, may_read(viewer)))
