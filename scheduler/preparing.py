"""Preparing: Gmail's drafts made, changed and deleted as the outbox wishes, so that at nine only sending remains.

One mailbox at a time by one worker. A creation that was not answered is looked for by its key before another is
made; everything else is by the draft's id and may be repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import select, update
from sqlalchemy.orm import Session, undefer

from gmail_sync import drafts
from gmail_sync.client import Gmail
from gmail_sync.drafts import Draft
from gmail_sync.errors import NeedsAttention, NotFound, Permanent, QuotaWait, Transient
from scheduler import letters, locks, outbox, tracked
from scheduler.adopting import adopt
from scheduler.adopting import found as found
from scheduler.emails import CHANGED_IN_BOTH
from scheduler.emails import same as same
from scheduler.letters import Letter
from scheduler.outbox import DELETED_IN_GMAIL, Found, ScheduledEmail
from scheduler.post import Post
from scheduler.states import State
from tracker.db import transaction
from tracker.jobs import Again, Jobs
from tracker.mailboxes import Mailbox
from tracker.mailboxes import State as Connection

log = logging.getLogger(__name__)
T = TypeVar("T")

JOB = "scheduler.prepare"
LEAST_WAIT = timedelta(seconds=5)  #: before a draft that Gmail did not see to is tried again
LONGEST_WAIT = timedelta(minutes=5)
LOOK_AGAIN = timedelta(seconds=5)  #: before Gmail is believed that a draft is gone
BOTH_REMEDY = "Look at both, here and in Gmail, then say which one goes"
REMEDY = "Look at its recipients, its size and its text, then queue it again"
PAGE = 25  # drafts shown on a page


def lock(mailbox_id: int) -> str:
    """The lock that jobs on a mailbox's drafts share."""
    return f"drafts:{mailbox_id}"


def register(jobs: Jobs, post: Post) -> None:
    """Tell the worker what our job does."""
    jobs.register(JOB, partial(prepare_mailbox, post), lock)


def wake(jobs: Jobs, mailbox_id: int) -> bool:
    """Queue the job; the wishes themselves are rows."""
    return jobs.defer(JOB, lock=lock(mailbox_id), mailbox_id=mailbox_id)


def wake_due(jobs: Jobs, post: Post) -> None:
    """A tick: queue a job for each mailbox whose drafts are not as they should be."""
    with transaction(post.sessions) as session:
        due = waiting(session, post.now())
    for mailbox_id in due:
        wake(jobs, mailbox_id)


def waiting(session: Session, now: datetime) -> list[int]:
    """Mailboxes in which a draft is to be made, changed or deleted."""
    query = (
        select(ScheduledEmail.mailbox_id)
        .join(Mailbox, Mailbox.id == ScheduledEmail.mailbox_id)
        .where(ScheduledEmail.behind, ScheduledEmail.try_at <= now, Mailbox.state == Connection.CONNECTED.value)
        .distinct()
    )
    return list(session.scalars(query))


def prepare_mailbox(post: Post, mailbox_id: int) -> None:
    """Do what is wished of one mailbox's drafts. Raises `Again` when Gmail asks to wait."""
    mailbox = post.connected(mailbox_id)
    if mailbox is None:
        return
    try:
        with locks.alone(post.engine, locks.DRAFTS, mailbox_id):
            _prepare_all(post, mailbox)
    except locks.Busy as error:
        raise Again(2, "another worker is on these drafts") from error
    except NeedsAttention as error:
        post.ask_for_attention(mailbox, str(error))
    except Transient as error:
        raise Again(error.retry_after, str(error)) from error


def clear(post: Post, mailbox: Mailbox) -> None:
    """Delete the drafts of what was cancelled in a mailbox that is connected no more, while its credentials last.

    Raises `GmailError`, and `Again` while another worker is on them.
    """
    try:
        with locks.alone(post.engine, locks.DRAFTS, mailbox.id):
            _prepare_all(post, mailbox)
    except locks.Busy as error:
        raise Again(2, "another worker is on these drafts") from error
    left = select(ScheduledEmail.id).where(ScheduledEmail.mailbox_id == mailbox.id, ScheduledEmail.behind)
    with transaction(post.sessions) as session:
        if session.scalar(left.limit(1)) is not None:
            raise Again(LEAST_WAIT.total_seconds(), "a draft could not be deleted yet")


def _prepare_all(post: Post, mailbox: Mailbox) -> None:
    gmail = post.door(mailbox)
    try:
        while (wish := _next(post, mailbox)) is not None:
            _prepare(post, gmail, wish)
    finally:
        gmail.close()


def _prepare(post: Post, gmail: Gmail, wish: Wish) -> None:
    """See to one draft; one that can't be seen to now lets the others go first, whatever is wrong with it."""
    try:
        _Preparing(post, gmail, wish).run()
    except (NeedsAttention, QuotaWait):  # it is not this draft's fault
        raise
    except Transient as error:
        _later(post, wish, timedelta(seconds=error.retry_after))
        raise
    except Exception:
        log.exception("The draft of the mail %s failed", wish.email.id)
        _later(post, wish, LEAST_WAIT)


def _later(post: Post, wish: Wish, least: timedelta) -> None:
    """Try again after as long as it has been tried, unless a person changes it before."""
    email, now = wish.email, post.now()
    since = max(email.decided_at, email.draft_tried_at or email.decided_at)
    wait = max(LEAST_WAIT, min(max(least, now - since), LONGEST_WAIT))
    with transaction(post.sessions) as session:
        session.execute(
            update(ScheduledEmail)
            .where(ScheduledEmail.id == email.id, ScheduledEmail.version == email.version)
            .values(try_at=now + wait)
            .execution_options(synchronize_session=False)
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """A row as it was when its draft was looked after."""

    email: ScheduledEmail
    raw: bytes | None
    tried_at: datetime | None  #: when Gmail had been asked to make a draft before this attempt

    @property
    def is_open(self) -> bool:
        """Whether there should be a draft."""
        return self.email.state in (State.PREPARING, State.HELD)


def _next(post: Post, mailbox: Mailbox) -> Wish | None:
    """What is due first; that Gmail is about to be asked is committed before it is."""
    now = post.now()
    with transaction(post.sessions) as session:
        query = (
            select(ScheduledEmail)
            .where(ScheduledEmail.mailbox_id == mailbox.id, ScheduledEmail.behind, ScheduledEmail.try_at <= now)
            .order_by(ScheduledEmail.next_at, ScheduledEmail.id)
            .limit(1)
            .options(undefer(ScheduledEmail.raw))
            .with_for_update()
        )
        email = session.scalar(query)
        if email is None:
            return None
        tried = email.draft_tried_at
        if email.draft_id is None and tried is None and email.raw is not None:
            email.draft_tried_at = now
            email.version += 1  # who saw it untried may think that there is no draft to delete
            session.flush()
        session.expunge(email)
    return Wish(email, email.raw, tried)


@dataclass(slots=True)
class _Preparing:
    """One draft being made as it should be."""

    post: Post
    gmail: Gmail
    wish: Wish

    def run(self) -> None:
        try:
            if self.wish.is_open:
                if not self._changed_in_both():
                    self._settle(self._made())
            else:
                self._discard()
        except (NeedsAttention, Transient):
            raise
        except NotFound:
            self._gone()
        except Permanent as error:
            self._refused(str(error))

    def _changed_in_both(self) -> bool:
        """Before a draft is overwritten: whether it is another than the one we know, and was therefore held, or
        taken over where nothing was changed here but what is tracked.

        From then on the one that we know is none: if the answer is lost, the next one may be our own.
        """
        email = self.wish.email
        if self.wish.raw is None or email.draft_id is None or email.draft_message_id is None:
            return False
        draft = _there(drafts.standing(self.gmail, email.draft_id))
        other = draft.message_id != email.draft_message_id
        if other and email.only_tracking:
            to = State.HELD if email.state == State.HELD else State.QUEUED
            now = self.post.now()
            done = {"state": to.value, "behind": False, "prepared_at": now, "missed_at": None}
            if not adopt(self.post, self.gmail, email, draft, **done):
                _later(self.post, self.wish, LEAST_WAIT)
            return True
        with transaction(self.post.sessions) as session:
            if not other:
                _whatever(session, email, draft_message_id=None)
            else:
                hold_both(session, email, draft, self.post.now())
        return other

    def _made(self) -> Draft:
        email, raw = self.wish.email, self.wish.raw
        draft_id = email.draft_id
        if raw is None:  # written in Gmail: all that matters is that it is there
            return _there(drafts.standing(self.gmail, draft_id or ""))
        raw = tracked.instrumented(self.post, email, raw)
        if draft_id is None and self.wish.tried_at is not None:
            found = drafts.with_key(self.gmail, email.key, self.wish.tried_at)
            draft_id = found.id if found else None
        if draft_id is not None:
            return drafts.update(self.gmail, draft_id, raw, email.key, email.draft_thread_id)
        try:
            return drafts.create(self.gmail, raw, email.key, email.reply_thread_id)
        except NotFound:  # the thread was deleted; the mail still says what it answers
            return drafts.create(self.gmail, raw, email.key)

    def _settle(self, draft: Draft) -> None:
        """The draft is known whatever became of the row; whether it is as wished depends on that."""
        email, now = self.wish.email, self.post.now()
        known = {"draft_id": draft.id, "draft_message_id": draft.message_id, "draft_thread_id": draft.thread_id}
        with transaction(self.post.sessions) as session:
            to = State.HELD if email.state == State.HELD else State.QUEUED
            done = same(session, email, state=to.value, behind=False, prepared_at=now, missed_at=None, **known)
            if not done:  # changed or cancelled meanwhile: it is still behind, and comes again
                _whatever(session, email, **known)

    def _discard(self) -> None:
        email = self.wish.email
        draft_id = email.draft_id
        if draft_id is None and self.wish.tried_at is not None:
            found = drafts.with_key(self.gmail, email.key, self.wish.tried_at)
            draft_id = found.id if found else None
        if draft_id is not None and not drafts.delete(self.gmail, draft_id) and self._was_sent():
            return
        gone = {"draft_id": None, "draft_message_id": None, "draft_thread_id": None, "draft_tried_at": None}
        with transaction(self.post.sessions) as session:
            if not same(session, email, behind=False, **gone):
                _whatever(session, email, **gone)  # restored meanwhile: another is made

    def _was_sent(self) -> bool:
        """Whether its sender had sent in Gmail what is cancelled here: it is sent, and never again."""
        email = self.wish.email
        sent = drafts.find_sent(self.gmail, trace_of(email)) if email.draft_thread_id else None
        if sent is not None:
            with transaction(self.post.sessions) as session:
                settle_gone(session, session.merge(email, load=False), sent, self.post.now())
        return sent is not None

    def _gone(self) -> None:
        """The draft is not there any more: its sender deleted it in Gmail, or sent it there. Gmail is believed
        that nobody sent it when it says so again some seconds later."""
        email = self.wish.email
        sent = drafts.find_sent(self.gmail, trace_of(email)) if email.draft_thread_id else None
        with transaction(self.post.sessions) as session:
            if sent is not None or missed_again(session, email, self.post.now()):
                settle_gone(session, session.merge(email, load=False), sent, self.post.now())

    def _refused(self, words: str) -> None:
        email = self.wish.email
        with transaction(self.post.sessions) as session:
            if not self.wish.is_open:  # a draft that can't be deleted harms nobody
                _whatever(session, email, behind=False)
            elif same(session, email, state=State.FAILED.value, behind=False, reason=words, remedy=REMEDY):
                outbox.record(session, email, "email.failed", why=words)


def _there(draft: Draft | None) -> Draft:
    if draft is None:
        raise NotFound("There is no such draft any more")
    return draft


def _whatever(session: Session, email: ScheduledEmail, **columns: Any) -> None:
    """Note what is known of the draft, whoever changed the row meanwhile."""
    session.execute(
        update(ScheduledEmail)
        .where(ScheduledEmail.id == email.id)
        .values(**columns)
        .execution_options(synchronize_session=False)
    )


def missed_again(session: Session, email: ScheduledEmail, now: datetime) -> bool:
    """Gmail says that there is no such draft: whether it said so before, some seconds ago. Else that is noted."""
    if email.missed_at is not None and now - email.missed_at >= LOOK_AGAIN:
        return True
    _whatever(session, email, missed_at=email.missed_at or now, try_at=now + LOOK_AGAIN)
    return False


def hold_both(session: Session, email: ScheduledEmail, draft: Draft, now: datetime) -> None:
    """Hold what was changed here and in Gmail: its sender chooses which goes, and neither is lost."""
    known = {"draft_message_id": draft.message_id, "draft_thread_id": draft.thread_id, "edited_in_gmail_at": now}
    told = {"held_by": outbox.BOTH, "reason": CHANGED_IN_BOTH, "remedy": BOTH_REMEDY, "missed_at": None}
    if same(session, email, state=State.HELD.value, behind=False, prepared_at=now, **known, **told):
        outbox.record(session, email, "email.held", why=CHANGED_IN_BOTH, guard=outbox.BOTH)


def trace_of(email: ScheduledEmail) -> drafts.Trace:
    """What is known of a mail that may have been sent."""
    since = (email.prepared_at or email.created_at) - timedelta(minutes=1)  # clocks differ
    return drafts.Trace(
        email.key, email.draft_thread_id or "", email.subject, frozenset(email.recipients), since,
        own_thread=not email.is_reply and email.reply_thread_id is None,
    )  # fmt: skip


def settle_gone(session: Session, email: ScheduledEmail, sent: drafts.Headers | None, now: datetime) -> None:
    """A waiting mail's draft is gone: it went by its sender's own hand, or it is cancelled."""
    if sent is not None:
        columns = {"sent_gmail_id": sent.id, "sent_thread_id": sent.thread_id, "sent_at": sent.at}
        words = "you sent it yourself in Gmail"
        told = {"rfc822_message_id": sent.rfc822_message_id, "reason": words, "remedy": None}
        if outbox.move(session, email, State.SENT, behind=False, **columns, **told):
            tracked.sent(session, email, sent.at)
            outbox.record(session, email, "email.sent", why=words)
        return
    remedy = None if email.origin == "gmail" else "Queue it again if that was a mistake"
    columns = {"behind": False, "draft_id": None, "draft_tried_at": None, "missed_at": None}
    if outbox.move(session, email, State.CANCELLED, reason=DELETED_IN_GMAIL, remedy=remedy, **columns):
        outbox.record(session, email, "email.cancelled", why=DELETED_IN_GMAIL)


# -- drafts that lie in Gmail, for the pages


def drafts_in_gmail(post: Post, mailbox_id: int, page_token: str = "") -> tuple[list[Found], str | None]:
    """A page of the drafts in a mailbox, newest first, and where it goes on. Asks Gmail: hold no session.

    Raises `GmailError`.
    """

    def ask(gmail: Gmail) -> tuple[list[Found], str | None]:
        listed, token = drafts.page(gmail, page_token or None, limit=PAGE)
        known = drafts.headers(gmail, [draft.message_id for draft in listed])
        return [found(one, known[one.message_id]) for one in listed if one.message_id in known], token

    return ask_gmail(post, mailbox_id, ask)


def draft_letter(post: Post, mailbox_id: int, draft_id: str) -> Letter:
    """What a draft in Gmail says, for editing. Asks Gmail: hold no session. Raises `GmailError`."""
    letter = letters.read(ask_gmail(post, mailbox_id, lambda gmail: drafts.read(gmail, draft_id)))
    return tracked.read_back(post, letter)


def ask_gmail(post: Post, mailbox_id: int, ask: Callable[[Gmail], T], *, patience: float | None = None) -> T:
    """Ask a mailbox's Gmail; hold no session. `patience` is in seconds, for its quota. Raises `GmailError`."""
    mailbox = post.connected(mailbox_id)
    if mailbox is None:
        raise NeedsAttention("This mailbox is not connected; connect it again")
    gmail = post.door(mailbox, post.budget(mailbox, patience=patience))
    try:
        return ask(gmail)
    finally:
        gmail.close()
