"""A mail that Alice sent and that is in her mailbox, tracked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.tracker.web.conftest import Team
from tests.tracker.web.factories_web import ALICE, a_mail
from tests.webhooks.reading import ANNA, SENT, a_tracked_mail
from tracker.conversations import Conversation
from tracker.messages import Message
from webhooks.tracks import TrackedEmail


def a_sent_mail(
    session: Session, team: Team, *to: str, subject: str = "Our proposal", links: Sequence[str] = (), **more: Any
) -> tuple[TrackedEmail, Conversation]:
    """The tracked mail and its conversation."""
    to = to or (ANNA,)
    conversation = a_mail(
        session, team.mailbox, subject, sender=ALICE, to=to, at=SENT, labels=["SENT"], thread=f"thread {subject}"
    )
    message = session.scalars(select(Message).where(Message.conversation_id == conversation.id)).one()
    mail = a_tracked_mail(
        session, team.alice, *to, links=links, message_id=message.id, conversation_id=conversation.id, **more
    )
    return mail, conversation


def an_answer(session: Session, team: Team, sender: str, at: datetime, subject: str = "Our proposal") -> None:
    """Somebody writes in the conversation."""
    a_mail(session, team.mailbox, f"Re: {subject}", sender=sender, at=at, thread=f"thread {subject}", text="Good.")
