"""Correspondence: the mail with a person or a company that the viewer may read, the newest first."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Select, func, literal, select, tuple_, union_all
from sqlalchemy.orm import Session, load_only

from tracker import people
from tracker.conversations import Conversation
from tracker.messages import Message, Recipient
from tracker.people import Viewer
from tracker.sharing import may_read
from tracker.web.cursor import Cursor

PAGE = 20


@dataclass(frozen=True, slots=True)
class Line:
    """A mail in a list."""

    message: Message
    conversation_key: str
    ours: bool  #: whether somebody of the team wrote it


def page(
    session: Session, viewer: Viewer, addresses: Select[str], after: Cursor | None, *, limit: int = PAGE
) -> tuple[list[Line], Cursor | None]:
    """A page of the mail from or to any of these (normalized) addresses, and where the next begins."""
    wanted = select(addresses.subquery().c[0])
    sent = select(Message.id).where(Message.team_id == viewer.team_id, Message.sender_normalized.in_(wanted))
    received = select(Recipient.message_id).where(
        Recipient.team_id == viewer.team_id, Recipient.normalized.in_(wanted), Recipient.kind != "reply-to"
    )
    shown = (Message.key, Message.sent_at, Message.sender_name, Message.sender_address, Message.sender_normalized)
    query = (
        select(Message, Conversation.key)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(Message.id.in_(select(union_all(sent, received).subquery().c[0])), may_read(viewer))
        .options(load_only(*shown, Message.subject, Message.snippet, Message.attachment_count))
        .order_by(Message.sent_at.desc(), Message.id.desc())
    )
    if after is not None:
        seen = select(Message.id).where(Message.team_id == viewer.team_id, Message.key == after.key)
        place = tuple_(Message.sent_at, Message.id)
        query = query.where(place < tuple_(literal(after.at), func.coalesce(seen.scalar_subquery(), 0)))
    rows = session.execute(query.limit(limit + 1)).all()
    own = people.own_addresses(session, viewer.team_id)
    lines = [Line(message, key, message.sender_normalized in own) for message, key in rows[:limit]]
    last = lines[-1].message if len(rows) > limit else None
    return lines, Cursor(last.sent_at, last.key) if last is not None else None
