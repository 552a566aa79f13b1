"""Sharing: who may see which message. The one gate that every list, search and page asks.

Until a team says otherwise: one's own mailboxes' mail is seen whole; in a box, mail with somebody outside the
team is seen by the team; purely internal mail, drafts, spam and trash are only their holder's.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, exists, not_, or_, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from tracker.filing import FILED, Filing
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message, Recipient
from tracker.people import OwnAddress, Viewer


def may_read(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: the viewer may read the `Message` of the enclosing query."""
    same_team = Message.team_id == viewer.team_id
    if viewer.is_system:
        return same_team
    return and_(same_team, or_(holds(viewer), _shared_by_box()))


def holds(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: one of the viewer's mailboxes holds the `Message`, outside trash, spam and drafts."""
    return exists(
        select(Copy.id)
        .join(Mailbox, Mailbox.id == Copy.mailbox_id)
        .where(Copy.message_id == Message.id, Mailbox.user_id == viewer.user_id, ~Copy.hidden)
    )


def _shared_by_box() -> ColumnElement[bool]:
    filed = exists(
        select(Filing.id).where(Filing.conversation_id == Message.conversation_id, Filing.state == FILED)
    )
    held = exists(select(Copy.id).where(Copy.message_id == Message.id, ~Copy.hidden))
    return and_(filed, held, _with_outsider())


def _with_outsider() -> ColumnElement[bool]:
    own = aliased(OwnAddress)

    def ours(address: InstrumentedAttribute[str]) -> ColumnElement[bool]:
        return exists(select(own.id).where(own.team_id == Message.team_id, own.normalized == address))

    outsider = exists(
        select(Recipient.id).where(
            Recipient.message_id == Message.id, Recipient.kind != "reply-to", not_(ours(Recipient.normalized))
        )
    )
    return or_(not_(ours(Message.sender_normalized)), outsider)
