"""Settling: what became of claimed mails, written down. Many at once, in one statement and one commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from scheduler import outbox
from scheduler.claims import Claimed
from scheduler.outbox import ScheduledEmail
from scheduler.states import ARROWS, State
from tracker import events
from tracker.mailboxes import Mailbox
from webhooks import tracking

KINDS = {
    State.SENT: "email.sent",
    State.FAILED: "email.failed",
    State.UNCERTAIN: "email.uncertain",
    State.CANCELLED: "email.cancelled",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mail; `SENDING` means that Gmail is asked again at `next_at`."""

    mail: Claimed
    state: State
    reason: str | None = None
    remedy: str | None = None
    next_at: datetime | None = None
    asked: bool = True  #: Gmail was, or may have been, asked to send it
    sent_at: datetime | None = None
    gmail_id: str | None = None
    thread_id: str | None = None
    rfc822_message_id: str | None = None

    def __post_init__(self) -> None:
        assert self.state == State.SENDING or self.state in ARROWS[State.SENDING]


#: Only what is still claimed by the same token: a claim that was taken over is its new holder's to settle.
_SETTLE = text(
    """
    UPDATE scheduled_emails AS s SET
      state = v.state, version = s.version + 1, reason = v.reason, remedy = v.remedy,
      next_at = coalesce(v.next_at, s.next_at), attempts = s.attempts - v.unasked,
      claim_token = CASE WHEN v.state = 'queued' THEN NULL ELSE s.claim_token END,
      draft_id = CASE WHEN v.state = 'cancelled' THEN NULL ELSE s.draft_id END,
      sent_at = v.sent_at, sent_gmail_id = v.gmail_id, sent_thread_id = v.thread_id,
      rfc822_message_id = v.rfc822_message_id
    FROM unnest(
      CAST(:ids AS bigint[]), CAST(:tokens AS text[]), CAST(:states AS text[]), CAST(:reasons AS text[]),
      CAST(:remedies AS text[]), CAST(:next_ats AS timestamptz[]), CAST(:unasked AS smallint[]),
      CAST(:sent_ats AS timestamptz[]), CAST(:gmail_ids AS text[]), CAST(:thread_ids AS text[]),
      CAST(:message_ids AS text[])
    ) AS v(id, token, state, reason, remedy, next_at, unasked, sent_at, gmail_id, thread_id, rfc822_message_id)
    WHERE s.id = v.id AND s.state = 'sending' AND s.claim_token = v.token
    RETURNING s.id
    """
)


def settle(session: Session, outcomes: Sequence[Outcome]) -> set[int]:
    """Settle claims; returns the ids of those that were still ours. `want` comes afterwards."""
    values = {
        "ids": [one.mail.id for one in outcomes],
        "tokens": [one.mail.token for one in outcomes],
        "states": [one.state.value for one in outcomes],
        "reasons": [one.reason for one in outcomes],
        "remedies": [one.remedy for one in outcomes],
        "next_ats": [one.next_at for one in outcomes],
        "unasked": [0 if one.asked else 1 for one in outcomes],
        "sent_ats": [one.sent_at for one in outcomes],
        "gmail_ids": [one.gmail_id for one in outcomes],
        "thread_ids": [one.thread_id for one in outcomes],
        "message_ids": [one.rfc822_message_id for one in outcomes],
    }
    done = set(session.scalars(_SETTLE, values))
    went = {one.mail.id: one.sent_at for one in outcomes if one.state == State.SENT and one.mail.id in done}
    tracking.sent_many(session, {id_: at for id_, at in went.items() if at is not None})
    _record(session, {one.mail.id: one for one in outcomes if one.mail.id in done and one.state in KINDS})
    return done


def _record(session: Session, outcomes: Mapping[int, Outcome]) -> None:
    if not outcomes:
        return
    query = select(ScheduledEmail).where(ScheduledEmail.id.in_(outcomes)).order_by(ScheduledEmail.id)
    rows, emails = [], session.scalars(query).all()
    for email, inside in zip(emails, outbox.inside(session, emails), strict=True):
        one = outcomes[email.id]
        told: dict[str, Any] = {
            "why": one.reason, "gmail_id": one.gmail_id, "at_once": email.at_once, "inside": inside,
        }  # fmt: skip
        rows.append(outbox.event_of(email, KINDS[one.state], **told))
    events.record_many(session, rows)


def want(session: Session, outcomes: Sequence[Outcome], now: datetime) -> None:
    """Have the mailboxes synced that sent something, so that conversation and box follow.

    In a transaction of its own: a sync that holds its mailbox's row may wait for a scheduled email's.
    """
    ids = sorted({one.mail.mailbox_id for one in outcomes if one.state == State.SENT})
    if ids:
        session.execute(update(Mailbox).where(Mailbox.id.in_(ids)).values(wanted_at=now, wanted_by="sent"))


def read_back(session: Session, known: Mapping[str, tuple[str | None, datetime]], mailbox_id: int) -> None:
    """Write down what Gmail calls the mails that were sent (Message-ID and its own date), by Gmail's id."""
    values = [
        {"mailbox": mailbox_id, "gmail": gmail_id, "name": name, "at": at}
        for gmail_id, (name, at) in known.items()
    ]
    if values:
        session.execute(_READ_BACK, values)


_READ_BACK = text(
    """
    UPDATE scheduled_emails SET rfc822_message_id = :name, sent_at = :at
    WHERE mailbox_id = :mailbox AND sent_gmail_id = :gmail AND state = 'sent' AND message_id IS NULL
    """
)
