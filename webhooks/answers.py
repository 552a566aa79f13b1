"""Answers: a mail that somebody of the other side wrote in the conversation of a tracked mail, after it went out.

An answer is the surest sign of a read, so it stands beside the hits. Looked for in two ways: in the conversations
that the event log says mail came into, within two seconds; and in all that wait for one, some at a time, so that
an answer that was in the store before the tracked mail had its conversation, or that came while no worker ran, is
found as well. Neither keeps anything that could be lost.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session, aliased

from tracker import events, topics
from tracker.addresses import domain_of, is_free_mail
from tracker.db import among
from tracker.messages import Copy, Message
from tracker.people import OwnAddress
from webhooks.tracks import Confidence, TrackedEmail

RECEIVED = "message.received"
EVENTS = 500  #: of the log, at a time
SWEPT = 200  #: tracked mails that wait for an answer, at a time
PATIENCE = timedelta(days=180)  #: later answers are no sign of anything
RECIPIENT, COLLEAGUE = "recipient", "colleague"


@dataclass(slots=True)
class Round:
    """Where this process is in the log, and in its walk over what waits."""

    cursor: events.Cursor | None = None
    swept: int = 0  #: the last tracked mail's id; the walk goes from the newest downwards

    def step(self, session: Session, now: datetime) -> int:
        """Look once; returns how many answers were found."""
        return note(session, self._told(session), now) + self._sweep(session, now)

    def _told(self, session: Session) -> set[int]:
        """The conversations into which mail came since the last look."""
        if self.cursor is None:
            self.cursor = events.newest(session)
            return set()
        found: set[int] = set()
        for cursor, event in events.after(session, self.cursor, limit=EVENTS):
            self.cursor = cursor
            if event.kind == RECEIVED and event.conversation_id is not None:
                found.add(event.conversation_id)
        return found

    def _sweep(self, session: Session, now: datetime) -> int:
        query = _waiting(now).order_by(TrackedEmail.id.desc()).limit(SWEPT)
        if self.swept:
            query = query.where(TrackedEmail.id < self.swept)
        found = session.execute(query.with_only_columns(TrackedEmail.id, TrackedEmail.conversation_id)).all()
        self.swept = found[-1][0] if len(found) == SWEPT else 0
        return note(session, {conversation for _, conversation in found if conversation}, now)


def _waiting(now: datetime) -> Select[Any]:
    return select(TrackedEmail).where(
        TrackedEmail.answered_at.is_(None),
        TrackedEmail.sent_at > now - PATIENCE,
        TrackedEmail.conversation_id.is_not(None),
    )


def note(session: Session, conversation_ids: Collection[int], now: datetime) -> int:
    """Note the answers in these conversations; returns to how many mails there is one."""
    if not conversation_ids:
        return 0
    found: dict[int, tuple[datetime, str]] = {}
    for tracked_id, recipients, sender, at in session.execute(_candidates(conversation_ids, now)):
        by = _of(sender, recipients)
        if by and (tracked_id not in found or _sooner((at, by), found[tracked_id])):
            found[tracked_id] = (at, by)
    if not found:
        return 0
    query = select(TrackedEmail).where(among(TrackedEmail.id, found), TrackedEmail.answered_at.is_(None))
    mails = session.scalars(
        query.order_by(TrackedEmail.id).with_for_update(skip_locked=True, key_share=True)
    ).all()
    for mail in mails:
        _set(mail, *found[mail.id])
    session.flush()
    topics.mail_changed(session, {mail.conversation_id for mail in mails if mail.conversation_id})
    return len(mails)


def _candidates(conversation_ids: Collection[int], now: datetime) -> Select[int, list[str], str, datetime]:
    """Mail that a person from outside wrote after a tracked one of the same conversation."""
    own = aliased(OwnAddress)
    ours = exists().where(own.team_id == Message.team_id, own.normalized == Message.sender_normalized)
    held = exists().where(Copy.message_id == Message.id, ~Copy.hidden)
    return (
        select(TrackedEmail.id, TrackedEmail.recipients, Message.sender_normalized, Message.sent_at)
        .join(Message, Message.conversation_id == TrackedEmail.conversation_id)
        .where(
            among(TrackedEmail.conversation_id, conversation_ids),
            TrackedEmail.answered_at.is_(None),
            TrackedEmail.sent_at > now - PATIENCE,
            Message.sent_at > TrackedEmail.sent_at,
            Message.automatic.is_(None),
            ~Message.auto_reply,
            ~ours,
            held,
        )
    )


def _of(sender: str, recipients: Sequence[str]) -> str:
    """Whether the sender is one of the recipients, or shares a domain that is a company's with one."""
    if sender in recipients:
        return RECIPIENT
    domain = domain_of(sender)
    same = domain and not is_free_mail(domain) and domain in {domain_of(one) for one in recipients}
    return COLLEAGUE if same else ""


def _sooner(one: tuple[datetime, str], other: tuple[datetime, str]) -> bool:
    """A recipient's answer is the mail's, whenever it came; else the first."""
    return (one[1] != RECIPIENT, one[0]) < (other[1] != RECIPIENT, other[0])


def _set(mail: TrackedEmail, at: datetime, by: str) -> None:
    mail.answered_at, mail.answered_by = at, by
    mail.confidence = Confidence.CERTAIN.value
    mail.why = "somebody of their company answered" if by == COLLEAGUE else "it was answered"
