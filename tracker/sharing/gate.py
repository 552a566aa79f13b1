"""Sharing: who may see which message. The one gate that every list, search and page asks.

Until a team says otherwise: one's own mailboxes' mail is seen whole; in a box, mail with somebody outside the
team is seen by the team; purely internal mail, drafts, spam and trash are only their holder's.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Select, and_, not_, or_, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from tracker import access
from tracker.boxes import Box
from tracker.filing import FILED, Filing
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message, Recipient
from tracker.people import OwnAddress, Viewer


def may_read(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: the viewer may read the `Message` of the enclosing query."""
    same_team = Message.team_id == viewer.team_id
    if viewer.is_system:
        return same_team
    return and_(same_team, or_(holds(viewer), _shared_by_box(viewer)))


def holds(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: one of the viewer's mailboxes holds the `Message`, outside trash, spam and drafts."""
    mine = (
        select(Copy.id)
        .join(Mailbox, Mailbox.id == Copy.mailbox_id)
        .where(Copy.message_id == Message.id, Mailbox.user_id == viewer.user_id, ~Copy.hidden)
    )
    return _exists(mine)


def _exists(query: Select[int]) -> ColumnElement[bool]:
    # Only the message is the enclosing query's: left to itself, SQLAlchemy would take over any table that the
    # page joins as well, and the gate would ask about the page's row instead of its own.
    return query.correlate(Message).exists()


def _shared_by_box(viewer: Viewer) -> ColumnElement[bool]:
    filed = (
        select(Filing.id)
        .join(Box, Box.id == Filing.box_id)
        .where(
            Filing.conversation_id == Message.conversation_id,
            Filing.state == FILED,
            Box.deleted_at.is_(None),
            access.may_see(viewer),
        )
    )
    held = select(Copy.id).where(Copy.message_id == Message.id, ~Copy.hidden)
    return and_(_exists(filed), _exists(held), _with_outsider())


def _with_outsider() -> ColumnElement[bool]:
    own = aliased(OwnAddress)

    def ours(address: InstrumentedAttribute[str]) -> ColumnElement[bool]:
        query = select(own.id).where(own.team_id == Message.team_id, own.normalized == address)
        return query.correlate(Message, Recipient).exists()

    outsider = select(Recipient.id).where(
        Recipient.message_id == Message.id, Recipient.kind != "reply-to", not_(ours(Recipient.normalized))
    )
    return or_(not_(ours(Message.sender_normalized)), _exists(outsider))
