"""Looking: what people do in Gmail with drafts that wait here, and what became of sent mail in the store.

A draft that was edited in Gmail goes out as edited, and is shown so; one that was deleted there cancels, one that
was sent there by hand is sent. Sent mail is found again among what the mailbox's syncing brought, and its
conversation is put into the box that it was sent from.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from gmail_sync import drafts
from gmail_sync.client import BATCH_SIZE, Gmail
from gmail_sync.errors import NeedsAttention, Permanent, Transient
from scheduler import adopting, locks, outbox, preparing, settling
from scheduler.outbox import ScheduledEmail, Sender
from scheduler.post import Post
from scheduler.states import State
from tracker import conversations, filing
from tracker.boxes import Box
from tracker.db import transaction
from tracker.filing import FILED, Decision
from tracker.jobs import Again, Jobs
from tracker.mailboxes import Mailbox
from tracker.mailboxes import State as Connection
from tracker.people import system_viewer
from webhooks import tracking
from webhooks.tracking import Arrival

JOB = "scheduler.look"
EVERY = timedelta(minutes=5)  #: a look at all of a mailbox's drafts costs 5 units
SOON = timedelta(seconds=15)  #: a draft that Gmail does not find is looked for again
SETTLED = timedelta(seconds=30)  #: a younger draft may be missing from Gmail's list
ARRIVALS = 500  # a transaction
RULE = "sent_from_box"


def register(jobs: Jobs, post: Post) -> None:
    """Tell the worker what our job does."""
    jobs.register(JOB, partial(look, post), preparing.lock)


def look_due(jobs: Jobs, post: Post) -> None:
    """A tick: have a look at the drafts of mailboxes in which something waits."""
    with transaction(post.sessions) as session:
        values = {"before": post.now() - EVERY, "connected": Connection.CONNECTED.value}
        due = list(session.scalars(_UNSEEN, values))
    for mailbox_id in due:
        jobs.defer(JOB, lock=preparing.lock(mailbox_id), mailbox_id=mailbox_id)


_UNSEEN = text(
    """
    SELECT m.id FROM mailboxes m LEFT JOIN outbox_mailboxes o ON o.mailbox_id = m.id
    WHERE m.state = :connected AND (o.looked_at IS NULL OR o.looked_at < :before)
      AND (EXISTS (SELECT 1 FROM scheduled_emails s WHERE s.mailbox_id = m.id AND s.draft_id IS NOT NULL
                     AND s.state IN ('preparing', 'queued', 'sending', 'held'))
           OR EXISTS (SELECT 1 FROM scheduled_emails s WHERE s.mailbox_id = m.id AND s.state = 'sent'
                        AND s.sent_gmail_id IS NOT NULL AND s.message_id IS NULL
                        AND s.rfc822_message_id IS NULL))
    """
)


def look(post: Post, mailbox_id: int) -> None:
    """Compare what waits in a mailbox with Gmail's drafts. Raises `Again` when Gmail asks to wait."""
    mailbox = post.connected(mailbox_id)
    if mailbox is None:
        return
    try:
        with locks.alone(post.engine, locks.DRAFTS, mailbox_id):
            _look(post, mailbox)
    except locks.Busy as error:
        raise Again(5, "another worker is on these drafts") from error
    except NeedsAttention as error:
        post.ask_for_attention(mailbox, str(error))
    except Transient as error:
        raise Again(error.retry_after, str(error)) from error


def _look(post: Post, mailbox: Mailbox) -> None:
    began = post.now()
    gmail = post.door(mailbox)
    try:
        there = {draft.id: draft for draft in drafts.all_of(gmail)}
        with transaction(post.sessions) as session:
            waiting = _waiting(session, mailbox.id, began - SETTLED)
        doubts = False
        for email in waiting:
            draft = there.get(email.draft_id or "")
            if draft is None:
                doubts |= _missing(post, gmail, email)
                continue
            if email.missed_at is not None:
                _found_again(post, email)
            if draft.message_id != email.draft_message_id:
                _edited(post, gmail, email, draft)
        _read_back(post, gmail, mailbox.id)
    finally:
        gmail.close()
    with transaction(post.sessions) as session:
        _looked(session, mailbox, began - EVERY + SOON if doubts else began)


def _waiting(session: Session, mailbox_id: int, before: datetime) -> Sequence[ScheduledEmail]:
    """What should have a draft, and has had it for a while."""
    query = select(ScheduledEmail).where(
        ScheduledEmail.mailbox_id == mailbox_id,
        ScheduledEmail.draft_id.is_not(None),
        ScheduledEmail.state.in_([State.QUEUED.value, State.HELD.value]),
        ~ScheduledEmail.behind,
        ScheduledEmail.prepared_at < before,
    )
    return session.scalars(query).all()


def _missing(post: Post, gmail: Gmail, email: ScheduledEmail) -> bool:
    """Whether to look once more soon: that a draft was deleted is believed when Gmail says so a second time."""
    if drafts.standing(gmail, email.draft_id or "") is not None:
        _found_again(post, email)
        return False  # the list was behind
    sent = drafts.find_sent(gmail, preparing.trace_of(email))
    with transaction(post.sessions) as session:
        if sent is None and not preparing.missed_again(session, email, post.now()):
            return True
        preparing.settle_gone(session, session.merge(email, load=False), sent, post.now())
    return False


def _found_again(post: Post, email: ScheduledEmail) -> None:
    with transaction(post.sessions) as session:
        row = update(ScheduledEmail).where(ScheduledEmail.id == email.id, ScheduledEmail.missed_at.is_not(None))
        session.execute(row.values(missed_at=None).execution_options(synchronize_session=False))


def _edited(post: Post, gmail: Gmail, email: ScheduledEmail, draft: drafts.Draft) -> None:
    """It goes out as it is in Gmail; here it is shown as it is there. What its sender has to choose waits."""
    if email.held_by == outbox.BOTH:
        with transaction(post.sessions) as session:
            preparing.same(session, email, draft_message_id=draft.message_id)
        return
    adopting.adopt(post, gmail, email, draft)


def _read_back(post: Post, gmail: Gmail, mailbox_id: int) -> None:
    """What Gmail calls mails that were sent in a rush, and that no sync has brought yet."""
    query = select(ScheduledEmail.sent_gmail_id).where(
        ScheduledEmail.mailbox_id == mailbox_id,
        ScheduledEmail.state == State.SENT.value,
        ScheduledEmail.message_id.is_(None),
        ScheduledEmail.rfc822_message_id.is_(None),
        ScheduledEmail.sent_gmail_id.is_not(None),
    )
    with transaction(post.sessions) as session:
        ids = [id_ for id_ in session.scalars(query.limit(BATCH_SIZE)) if id_ is not None]
    try:
        known = drafts.headers(gmail, ids)
    except Permanent:
        return
    with transaction(post.sessions) as session:
        found = {id_: (one.rfc822_message_id, one.at) for id_, one in known.items()}
        settling.read_back(session, found, mailbox_id)


def _looked(session: Session, mailbox: Mailbox, at: datetime) -> None:
    made = insert(Sender).values(mailbox_id=mailbox.id, team_id=mailbox.team_id, looked_at=at)
    session.execute(made.on_conflict_do_update(index_elements=["mailbox_id"], set_={"looked_at": at}))


# -- sent mail comes back by the mailbox's syncing

#: Which ones: the same for both that follow, or an answer could be linked that was not joined, and never would be.
_HERE = text(
    """
    SELECT s.id FROM scheduled_emails s
    JOIN copies c ON c.mailbox_id = s.mailbox_id AND c.gmail_id = s.sent_gmail_id
    WHERE s.state = 'sent' AND s.message_id IS NULL AND s.sent_gmail_id IS NOT NULL
    ORDER BY s.id LIMIT :limit
    """
)
_ARRIVED = text(
    """
    WITH here AS (
      SELECT s.id, c.message_id, m.conversation_id, m.rfc822_message_id
      FROM scheduled_emails s
      JOIN copies c ON c.mailbox_id = s.mailbox_id AND c.gmail_id = s.sent_gmail_id
      JOIN messages m ON m.id = c.message_id
      WHERE s.id = ANY (:ids) AND s.state = 'sent' AND s.message_id IS NULL
      ORDER BY s.id FOR UPDATE OF s SKIP LOCKED
    )
    UPDATE scheduled_emails AS s
    SET message_id = here.message_id, conversation_id = here.conversation_id,
        rfc822_message_id = coalesce(here.rfc822_message_id, s.rfc822_message_id)
    FROM here WHERE s.id = here.id
    RETURNING s.team_id, s.box_id, s.conversation_id, s.id, s.message_id
    """
)
#: What a person said went: the mail that they found is looked for by its thread or recipient, subject and time.
_BY_HAND = text(
    """
    WITH here AS (
      SELECT DISTINCT ON (c.id) s.id, c.gmail_id, c.gmail_thread_id
      FROM scheduled_emails s
      JOIN copies c ON c.mailbox_id = s.mailbox_id AND 'SENT' = ANY (c.label_ids)
        AND c.internal_date BETWEEN s.claimed_at - interval '1 minute' AND s.claimed_at + interval '1 day'
      JOIN messages m ON m.id = c.message_id AND m.subject = s.subject
      WHERE s.state = 'sent' AND s.message_id IS NULL AND s.sent_gmail_id IS NULL
        AND (c.gmail_thread_id = s.draft_thread_id
             OR EXISTS (SELECT 1 FROM recipients r WHERE r.message_id = m.id AND r.normalized = s.recipients[1]))
        AND NOT EXISTS (SELECT 1 FROM scheduled_emails o
                        WHERE o.mailbox_id = s.mailbox_id AND o.state = 'sent' AND o.sent_gmail_id = c.gmail_id)
      ORDER BY c.id, c.gmail_thread_id = s.draft_thread_id DESC, s.id
    ), first AS (SELECT DISTINCT ON (id) * FROM here ORDER BY id, gmail_id)
    UPDATE scheduled_emails AS s SET sent_gmail_id = first.gmail_id, sent_thread_id = first.gmail_thread_id
    FROM first WHERE s.id = first.id AND s.sent_gmail_id IS NULL
    """
)
_MERGED = text(
    """
    UPDATE scheduled_emails AS s SET box_id = b.merged_into_id FROM boxes b
    WHERE b.id = s.box_id AND b.merged_into_id IS NOT NULL
    """
)


#: Answers to mail that their sender's mailbox does not hold: Gmail began another thread with them. The mail that
#: was answered is the one that theirs names, else the conversation's last.
_ANSWERED_ELSEWHERE = text(
    """
    SELECT s.team_id, s.mailbox_id, c.gmail_thread_id,
           (SELECT a.id FROM messages a
            WHERE a.conversation_id = s.conversation_id AND a.team_id = s.team_id
            ORDER BY a.rfc822_message_id IS NOT NULL AND EXISTS (
                       SELECT 1 FROM jsonb_array_elements(c.headers) AS h
                       WHERE lower(h ->> 0) = 'in-reply-to' AND strpos(h ->> 1, a.rfc822_message_id) > 0) DESC,
                     a.sent_at DESC, a.id
            LIMIT 1) AS answered_id
    FROM scheduled_emails s
    JOIN copies c ON c.mailbox_id = s.mailbox_id AND c.gmail_id = s.sent_gmail_id
    JOIN messages m ON m.id = c.message_id
    WHERE s.id = ANY (:ids) AND s.state = 'sent' AND s.message_id IS NULL AND s.is_reply
      AND s.conversation_id IS NOT NULL AND m.conversation_id <> s.conversation_id
    ORDER BY s.team_id, s.id
    """
)


def _join_answers(session: Session, ids: Sequence[int]) -> None:
    """An answer out of a teammate's mail joins that mail's conversation, and with it all that comes after."""
    for team_id, mailbox_id, thread_id, answered_id in session.execute(_ANSWERED_ELSEWHERE, {"ids": ids}).all():
        if answered_id is not None:
            conversations.join(session, team_id, mailbox_id, thread_id, answered_id)


def arrive(session: Session) -> int:
    """Link sent mail with the messages that syncing brought, and put its conversations into their boxes.

    Returns how many there were; the caller commits and comes again while it is `ARRIVALS`.
    """
    ids = list(session.scalars(_HERE, {"limit": ARRIVALS}))
    # First: where conversations are merged, the team is locked before the outbox's rows.
    _join_answers(session, ids)
    session.execute(_MERGED)
    found = session.execute(_ARRIVED, {"ids": ids}).all()
    for team_id, box_id, conversation_id, *_ in found:
        box = session.get(Box, box_id) if box_id is not None else None
        if box is not None and box.deleted_at is None:
            reason = "because it was sent from this box"
            one = Decision(conversation_id, box.id, box.pipeline_id, FILED, RULE, reason)
            filing.decide_by_rule(session, team_id, [one], system_viewer(team_id, "outbox"))
    # Last, as where conversations are merged: outbox, filings, tracked mail are locked in this order everywhere.
    tracking.arrived(session, [Arrival(one.id, one.message_id, one.conversation_id, one.box_id) for one in found])
    tracking.follow_boxes(session)
    return len(found)


def arrive_all(post: Post) -> None:
    """A tick."""
    with transaction(post.sessions) as session:  # of its own, so that answers among them are joined as others are
        session.execute(_BY_HAND)
    found = ARRIVALS
    while found == ARRIVALS:
        with transaction(post.sessions) as session:
            found = arrive(session)
