"""Sync: the job. One mailbox, from wherever it stands to up to date."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from sqlalchemy.orm import Session

from gmail_sync import backfill, check, fetch, history, wanted, watch
from gmail_sync.errors import HistoryExpired, KeyMissing, NeedsAttention, Permanent, Transient
from gmail_sync.labels import run as labels
from gmail_sync.session import Busy, CursorMoved, Services, Superseded, Sync
from tracker import mailboxes
from tracker.db import transaction
from tracker.jobs import Again, Jobs
from tracker.mailboxes import Backfill, Mailbox, State

log = logging.getLogger(__name__)

REFUSED_FOR = timedelta(minutes=5)
JOB, CHECK_JOB = "gmail_sync.sync", "gmail_sync.check"


def lock(mailbox_id: int) -> str:
    """The lock that all jobs on a mailbox share."""
    return f"mailbox:{mailbox_id}"


def register(jobs: Jobs, services: Services) -> None:
    """Tell the worker what our jobs do."""

    def checked(mailbox_id: int) -> None:
        check_mailbox(services, mailbox_id)

    jobs.register(JOB, partial(sync_mailbox, services), lock)
    jobs.register(CHECK_JOB, checked, lock)


def wake(jobs: Jobs, mailbox_id: int) -> bool:
    """Queue a sync; the wish itself is the mailbox's row."""
    return jobs.defer(JOB, lock=lock(mailbox_id), mailbox_id=mailbox_id)


def wake_due(jobs: Jobs, services: Services) -> None:
    """A tick: queue a sync for each mailbox that asks for one, whatever became of the job that should have."""
    with transaction(services.sessions) as session:
        due = mailboxes.due(session, services.now(), services.silence)
    for mailbox_id in due:
        wake(jobs, mailbox_id)


def check_due(jobs: Jobs, services: Services) -> None:
    """A tick: queue the daily comparison; a mailbox with a gap is looked at again after ten minutes."""
    with transaction(services.sessions) as session:
        due = mailboxes.unchecked(session, services.now(), timedelta(days=1), timedelta(minutes=10))
    for mailbox_id in due:
        jobs.defer(CHECK_JOB, lock=lock(mailbox_id), mailbox_id=mailbox_id)


def sync_mailbox(services: Services, mailbox_id: int) -> None:
    """Bring a mailbox up to date. Raises `Again` when Gmail asks to wait."""
    _guarded(services, mailbox_id, _up_to_date)


def check_mailbox(services: Services, mailbox_id: int) -> check.Report | None:
    """Compare a mailbox with Gmail and repair it; None while its first reading goes on."""
    found: list[check.Report] = []

    def compare(sync: Sync) -> None:
        if check.checkable(sync):
            _catch_up(sync)
            found.append(check.reconcile(sync))
            check.fetch_wanted(sync)

    _guarded(services, mailbox_id, compare)
    return found[0] if found else None


def _guarded(services: Services, mailbox_id: int, work: Callable[[Sync], None]) -> None:
    with transaction(services.sessions) as session:
        mailbox = session.get(Mailbox, mailbox_id)
        if mailbox is None or mailbox.state != State.CONNECTED:
            return
    try:
        with services.open(mailbox_id) as sync:
            work(sync)
    except Superseded:
        log.info("Mailbox %s was disconnected or connected anew meanwhile", mailbox_id)
    except NeedsAttention as error:
        _ask_for_attention(services, mailbox, str(error))
    except (Permanent, KeyMissing) as error:
        _put_aside(services, mailbox_id, str(error))
    except Transient as error:
        raise Again(error.retry_after, str(error)) from error
    except (Busy, CursorMoved) as error:
        raise Again(2, "another worker is on this mailbox") from error


def _ask_for_attention(services: Services, mailbox: Mailbox, reason: str) -> None:
    with transaction(services.sessions) as session:
        there = session.get(Mailbox, mailbox.id, with_for_update=True)
        # Connected anew while this run still used the old credentials: they say nothing about the new ones.
        if there is not None and there.credentials == mailbox.credentials:
            mailboxes.move(session, mailbox.id, State.ATTENTION, reason=reason, now=services.now())


def _put_aside(services: Services, mailbox_id: int, words: str) -> None:
    """Gmail refuses the mailbox as a whole, or we can't open it; asking again at once changes nothing."""
    log.error("Mailbox %s: %s", mailbox_id, words)
    with transaction(services.sessions) as session:
        mailboxes.put_aside(session, mailbox_id, words, services.now() + REFUSED_FOR)


def _trouble(session: Session, mailbox_id: int) -> str | None:
    count, words = wanted.refusals(session, mailbox_id)
    return f"Gmail does not hand out {count} messages: {words}." if count else None


def _up_to_date(sync: Sync) -> None:
    wish = sync.mailbox.wanted_at
    watch.renew(sync)
    if sync.mailbox.backfill == Backfill.WANTED:
        backfill.start(sync)
    if sync.mailbox.backfill == Backfill.LISTING:
        backfill.list_mailbox(sync)
    while True:
        _catch_up(sync)  # between two helpings of old mail, so that new mail is never far behind
        if not fetch.fetch_some(sync):
            break
    backfill.finish_if_done(sync)
    with sync.transaction() as session:
        left, next_at = wanted.waiting(session, sync.mailbox.id)
        sync.change(session, fetch_trouble=_trouble(session, sync.mailbox.id))
        mailboxes.fulfil(session, sync.mailbox.id, wish, sync.now)
    labels.run(sync)
    if left and next_at is not None:
        raise Again(max(1.0, (next_at - sync.now).total_seconds()), f"{left} announced messages not there yet")
    if sync.mailbox.wanted_at is not None:
        raise Again(0, "a newer wish came in meanwhile")


def _catch_up(sync: Sync) -> None:
    try:
        history.catch_up(sync)
    except HistoryExpired:
        log.warning("%s: the cursor has expired; comparing the whole mailbox", sync.mailbox.address)
        check.recover(sync)
        history.catch_up(sync)
