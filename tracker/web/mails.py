"""Messages made ready to be read: who wrote to whom, what is new in them and what is quoted, their attachments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask import Flask, current_app
from markupsafe import Markup
from sqlalchemy import Row, Select, collate, func, select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, defer

from tracker import answering, reading_log
from tracker.answering import Asked
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.filing import FILED, Filing
from tracker.messages import Copy, Message, Recipient, recipients_of
from tracker.people import Viewer
from tracker.sharing import holds, may_read, why
from tracker.signatures import split_quoted
from tracker.web import frame
from tracker.web.cursor import Cursor

PAGE = 40
TEXT_SHOWN = 50_000  # characters
FILES = 30  # messages with attachments that a page of files looks at

EXTENSION = "tracker_mail_notes"

Found = Row[Message, str, bool, bool, bool]
#: What another room shows below messages, by their ids: of those given (which the viewer may read), all at once.
Notes = Callable[[Session, Sequence[int]], Mapping[int, Markup]]
#: Pictures from elsewhere that show something: one of a single pixel does not.
REMOTE_IMAGE = r"""<img(?![^>]*width="?1"?[ ]+height="?1"?[ />])[^>]*https?:|background[^>]*https?:"""


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
    notes: Sequence[Markup] = ()  #: other rooms', below it
    mine: bool = True  #: one of the reader's own mailboxes holds it
    why: str = ""  #: else the rule that lets them read it, in words
    asked: Asked | None = None  #: a teammate was asked to answer it
    owner: str = ""  #: else who may be asked to
    row: Found | None = None  #: of one that is not ready yet

    @property
    def at(self) -> datetime:
        """When it was sent."""
        return self.message.sent_at

    @staticmethod
    def unready(row: Found) -> Mail:
        """A message of which it is not known yet whether the page shows it."""
        return Mail(row[0], row[1], "", "", has_html=False, has_images=False, recipients=(), row=row)


@dataclass(frozen=True, slots=True)
class Reading:
    """A query for messages, and its columns to narrow and order it by."""

    query: Select[Message, str, bool, bool, bool]
    conversation_id: Any
    at: Any
    key: Any


def messages_read(viewer: Viewer) -> Reading:
    """Messages without the weight of their HTML; the one place of the pages that selects mail to be read."""
    html = func.coalesce(Message.html, "")
    query = (
        select(Message, Conversation.key, html != "", html.regexp_match(REMOTE_IMAGE, flags="i"), holds(viewer))
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(may_read(viewer))
        .options(defer(Message.html))
    )
    return Reading(query, Message.conversation_id, Message.sent_at, collate(Message.key, "C"))


def of_conversation(
    session: Session, viewer: Viewer, conversation: Conversation, after: Cursor | None
) -> tuple[list[Mail], Cursor | None]:
    """A page of a conversation's messages that the viewer may read, the newest first."""
    found = messages_read(viewer)
    query = found.query.where(found.conversation_id == conversation.id)
    if after is not None:
        query = query.where(tuple_(found.at, found.key) < tuple_(after.at, after.key))
    rows = session.execute(query.order_by(found.at.desc(), found.key.desc()).limit(PAGE + 1)).all()
    last = rows[PAGE - 1][0] if len(rows) > PAGE else None
    more = Cursor(last.sent_at, last.key) if last is not None else None
    return ready(session, viewer, rows[:PAGE]), more


def ready(session: Session, viewer: Viewer, rows: Sequence[Found]) -> list[Mail]:
    """Messages with all that a page shows of them, in a fixed number of queries; the opening is noted."""
    if not rows:
        return []
    ids = [row[0].id for row in rows]
    others = [row[0].id for row in rows if not row[4]]
    reasons = why(session, viewer, others) if others else {}
    if others:
        reading_log.opened(session, viewer, others, frame.now())
    recipients = recipients_of(session, ids)
    attachments = attachments_of(session, [row[0].id for row in rows if row[0].attachment_count])
    notes = _notes_of(session, [row[0].id for row in rows])
    asked = answering.asked(session, viewer, ids)
    offers = answering.offers(session, viewer, [row[0] for row in rows if not row[4]], reasons)
    made = []
    for message, key, has_html, has_images, mine in rows:
        reply, quoted = split_quoted(message.text[:TEXT_SHOWN])
        files = attachments.get(message.id, [])
        people, below = recipients[message.id], [found[message.id] for found in notes if message.id in found]
        reason = reasons[message.id].words if message.id in reasons else ""
        ask = asked.get(message.id), offers[message.id].name if message.id in offers else ""
        one = Mail(message, key, reply, quoted, has_html, has_images, people, files, below, mine, reason, *ask)
        made.append(one)
    return made


def register_note(app: Flask, notes: Notes) -> None:
    """Show something of another room's below the messages that it concerns."""
    app.extensions.setdefault(EXTENSION, []).append(notes)


def _notes_of(session: Session, ids: Sequence[int]) -> list[Mapping[int, Markup]]:
    return [notes(session, ids) for notes in current_app.extensions.get(EXTENSION, [])] if current_app else []


def attachments_of(session: Session, ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """Names, sizes and numbers by message; they are part of what a message is known by: any copy tells them."""
    if not ids:
        return {}
    query = (
        select(Copy.message_id, Copy.attachments)
        .where(Copy.message_id.in_(ids), ~Copy.hidden)
        .ext(distinct_on(Copy.message_id))
        .order_by(Copy.message_id, Copy.id)
    )
    return {
        id_: [{**one, "number": number} for number, one in enumerate(found, 1) if not one.get("inline")]
        for id_, found in session.execute(query)
    }


@dataclass(frozen=True, slots=True)
class File:
    """An attachment, and the mail that it came with."""

    name: str
    size: int
    who: str
    at: datetime
    message_key: str
    number: int  #: among the message's, from 1


def files_of(
    session: Session, viewer: Viewer, box: Box, after: Cursor | None = None, limit: int = FILES
) -> tuple[list[File], Cursor | None]:
    """The attachments of so many messages of a box that the viewer may read, the newest first."""
    key = collate(Message.key, "C")
    filed = select(Filing.conversation_id).where(Filing.box_id == box.id, Filing.state == FILED)
    columns = (Message.id, Message.key, Message.sent_at, Message.sender_name, Message.sender_address)
    query = select(*columns).where(
        Message.conversation_id.in_(filed), Message.attachment_count > 0, may_read(viewer)
    )
    if after is not None:
        query = query.where(tuple_(Message.sent_at, key) < tuple_(after.at, after.key))
    rows = session.execute(query.order_by(Message.sent_at.desc(), key.desc()).limit(limit + 1)).all()
    attachments = attachments_of(session, [row.id for row in rows[:limit]])
    files = [
        File(
            str(one.get("filename") or "Unnamed"), int(one.get("size") or 0),
            row.sender_name or row.sender_address or "(no sender)", row.sent_at, row.key, one["number"],
        )
        for row in rows[:limit]
        for one in attachments.get(row.id, [])
    ]  # fmt: skip
    last = rows[limit - 1] if len(rows) > limit else None
    return files, Cursor(last.sent_at, last.key) if last is not None else None


def message(session: Session, viewer: Viewer, key: str) -> Message | None:
    """One message with everything, if the viewer may read it."""
    return session.scalar(select(Message).where(Message.key == key, may_read(viewer)))
