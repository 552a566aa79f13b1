"""Claims: which mails go now. One transaction looks, decides and claims; nothing of it waits for the network.

A claim is one conditional UPDATE, committed before anything is asked of Gmail: from then on the row says that the
mail may have gone, and stays so until Gmail has said what happened.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, select, text, update
from sqlalchemy.orm import Session

from gmail_sync import drafts
from scheduler import due, guards, preparing
from scheduler.emails import MISSED
from scheduler.outbox import Guard, ScheduledEmail
from scheduler.post import Post
from scheduler.states import State
from tracker.mailboxes import Mailbox
from tracker.mailboxes import State as Connection


@dataclass(frozen=True, slots=True)
class Claimed:
    """A mail that this worker alone may send, or ask about."""

    id: int
    mailbox_id: int
    token: str
    draft_id: str
    claimed_at: datetime
    due_at: datetime
    attempts: int  #: sends that Gmail was, or may have been, asked for; with this one
    trace: drafts.Trace
    missed: bool = False  #: Gmail said, when it was asked to send it, that there was no draft


#: Mailboxes in which something is to be sent, or asked about.
_DUE = text(
    """
    SELECT s.mailbox_id FROM (
      SELECT mailbox_id, min(next_at) AS next_at FROM (
        SELECT e.mailbox_id, e.next_at FROM scheduled_emails e
        JOIN mailboxes m ON m.id = e.mailbox_id AND m.state = :connected
        WHERE e.state IN ('queued', 'sending') AND e.next_at <= :now
          AND NOT e.mailbox_id = ANY (CAST(:without AS bigint[]))
        ORDER BY e.next_at LIMIT :rows
      ) first GROUP BY mailbox_id
    ) s
    ORDER BY s.next_at LIMIT :limit
    """
)
_CANDIDATES = text(
    """
    SELECT s.id FROM unnest(CAST(:ids AS bigint[])) AS m(id)
    CROSS JOIN LATERAL (
      SELECT e.id, e.next_at FROM scheduled_emails e
      WHERE e.mailbox_id = m.id AND e.state = 'queued' AND e.next_at <= :now
      ORDER BY e.next_at, e.id LIMIT :each FOR UPDATE SKIP LOCKED
    ) s
    ORDER BY s.next_at, s.id
    """
)


def due_mailboxes(session: Session, now: datetime, without: Iterable[int], limit: int) -> list[int]:
    """Connected mailboxes with something to do now, those that wait longest first."""
    values = {
        "now": now, "connected": Connection.CONNECTED.value, "without": list(without), "limit": limit,
        "rows": limit * 5,
    }  # fmt: skip
    return list(session.scalars(_DUE, values))


def next_at(session: Session, now: datetime) -> datetime | None:
    """When something will be due next."""
    query = select(ScheduledEmail.next_at).where(
        ScheduledEmail.state.in_([State.QUEUED.value, State.SENDING.value]), ScheduledEmail.next_at > now
    )
    return session.scalar(query.order_by(ScheduledEmail.next_at).limit(1))


def left_behind(session: Session, mailbox_ids: Sequence[int], now: datetime) -> list[Claimed]:
    """What is *sending* in mailboxes whose locks are ours: whoever claimed it is dead, or got no answer."""
    query = (
        select(ScheduledEmail)
        .where(
            ScheduledEmail.mailbox_id.in_(mailbox_ids),
            ScheduledEmail.state == State.SENDING.value,
            ScheduledEmail.next_at <= now,
        )
        .order_by(ScheduledEmail.id)
    )
    return [_claimed(email) for email in session.scalars(query)]


def claim(session: Session, post: Post, mailbox_ids: Sequence[int], each: int, now: datetime) -> list[Claimed]:
    """Claim what is due in mailboxes whose locks are ours, at most `each` a mailbox. Guards and lateness decide
    first; what they keep back is settled in the same transaction."""
    room = guards.spread_out(session, post.places, mailbox_ids, now)
    ids = session.scalars(_CANDIDATES, {"ids": list(mailbox_ids), "now": now, "each": each}).all()
    if not ids:
        return []
    rows = session.scalars(select(ScheduledEmail).where(ScheduledEmail.id.in_(ids)))
    found = {email.id: email for email in rows}
    waits = due.one_by_one(session, [found[id_] for id_ in ids], lambda email: _put_off(session, post, email, now))
    # Where one mail's recipient turned out to be, others' may be too: they may have been moved along with it.
    going = [
        found[id_] for id_ in ids
        if not waits.get(id_, True) and found[id_].state == State.QUEUED and found[id_].next_at <= now
    ]  # fmt: skip
    kept = guards.check(session, going, now)
    for email in going:
        if email.id in kept:
            verdict = kept[email.id]
            due.hold(session, email, verdict.reason, verdict.remedy, verdict.guard.value)
    return _take(session, _within([email for email in going if email.id not in kept], room), now, post.ask_after)


def _within(emails: Sequence[ScheduledEmail], room: dict[int, int]) -> list[ScheduledEmail]:
    """Those that their mailboxes may still send today; the others are moved in a later round."""
    left, found = dict(room), []
    for email in emails:
        if Guard.DAILY_LIMIT.value not in email.guards_off:
            if left[email.mailbox_id] <= 0:
                continue
            left[email.mailbox_id] -= 1
        found.append(email)
    return found


def _put_off(session: Session, post: Post, email: ScheduledEmail, now: datetime) -> bool:
    """Whether a mail that seemed due is not: it is earlier there than was thought, or too late for today."""
    if not email.at_once and email.resolved_at < now - due.FRESH * 4:
        timing = due.resolve(session, post.places, email, now)
        if timing.instant > now:
            due.put_off(session, email, timing, now)
            return True
    if email.due_at > now:  # another mail's recipient is the same, and was found to be elsewhere
        email.next_at = email.due_at
        return True
    later = due.late(session, post.places, email, now)
    if later is not None:
        due.put_off(session, email, later, now)
    return later is not None


def _take(
    session: Session, emails: Sequence[ScheduledEmail], now: datetime, ask_after: timedelta
) -> list[Claimed]:
    token = secrets.token_hex(8)
    taken = session.execute(
        update(ScheduledEmail)
        .where(
            ScheduledEmail.id.in_([email.id for email in emails]),
            ScheduledEmail.state == State.QUEUED.value,
            ScheduledEmail.next_at <= now,
        )
        .values(
            state=State.SENDING.value, claim_token=token, claimed_at=now, next_at=now + ask_after,
            attempts=ScheduledEmail.attempts + 1, version=ScheduledEmail.version + 1,
        )
        .execution_options(synchronize_session=False)
    )  # fmt: skip
    # Their rows are locked: a number that differs would be a fault of ours, and nothing may be sent then.
    assert cast("CursorResult[Any]", taken).rowcount == len(emails)
    return [
        Claimed(
            email.id, email.mailbox_id, token, email.draft_id or "", now, email.due_at, email.attempts + 1,
            preparing.trace_of(email),
        )
        for email in emails
    ]  # fmt: skip


def _claimed(email: ScheduledEmail) -> Claimed:
    assert email.claim_token is not None
    assert email.claimed_at is not None
    return Claimed(
        email.id, email.mailbox_id, email.claim_token, email.draft_id or "", email.claimed_at, email.due_at,
        email.attempts,
        preparing.trace_of(email), email.reason == MISSED,
    )  # fmt: skip


def mailboxes_of(session: Session, ids: Iterable[int]) -> dict[int, Mailbox]:
    """Mailboxes by id."""
    return {mailbox.id: mailbox for mailbox in session.scalars(select(Mailbox).where(Mailbox.id.in_([*ids])))}
