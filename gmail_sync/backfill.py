"""Backfill: the first reading of a mailbox.

The cursor is taken before the listing, so that whatever changes meanwhile is replayed by history. The whole
mailbox is listed first (500 ids for 5 units), since the cheapest way to bring a thread depends on how many of
its messages are wanted; then the wishes are fetched, the newest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from gmail_sync import wanted
from gmail_sync.budget import READING_SHARE, forecast
from gmail_sync.errors import NeedsAttention, Permanent
from tracker.mailboxes import Backfill, Mailbox

if TYPE_CHECKING:
    from gmail_sync.session import Sync


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the first reading is."""

    state: str
    done: int
    total: int
    left: timedelta | None  #: at the quota; None while the listing goes on


def start(sync: Sync) -> None:
    """Take the cursor, before anything is listed."""
    _, history_id = sync.gmail.profile()
    days = sync.services.backfill_days
    with sync.transaction() as session:
        wanted.forget_listing(session, sync.mailbox.id)
        sync.move_cursor(
            session,
            history_id,
            backfill=Backfill.LISTING.value,
            backfill_page=None,
            backfill_started_at=sync.now,
            backfill_after=sync.now - timedelta(days=days) if days else None,
        )


def list_mailbox(sync: Sync) -> None:
    """List what there is and wish for it; goes on where a crash left off."""
    try:
        _list_on(sync)
    except NeedsAttention:
        raise
    except Permanent:
        if sync.mailbox.backfill_page is None:
            raise
        with sync.transaction() as session:  # the page token of a former process is no longer good
            wanted.forget_listing(session, sync.mailbox.id)
            sync.change(session, backfill_page=None)
        _list_on(sync)


def _list_on(sync: Sync) -> None:
    token = sync.mailbox.backfill_page
    while True:
        page = sync.gmail.list_messages(page_token=token, after=sync.mailbox.backfill_after)
        token = page.next_page_token
        with sync.transaction() as session:
            position = wanted.listed_count(session, sync.mailbox.id)
            wanted.list_page(session, sync.mailbox.team_id, sync.mailbox.id, "", page.ids, position)
            if token is None:
                _finish_listing(session, sync)
                return
            sync.change(session, backfill_page=token)


def _finish_listing(session: Session, sync: Sync) -> None:
    total = wanted.want_listed(session, sync.mailbox.id, wanted.OLD_MAIL)
    wanted.forget_listing(session, sync.mailbox.id)
    sync.change(session, backfill=Backfill.FETCHING.value, backfill_page=None, backfill_total=total)


def finish_if_done(sync: Sync) -> None:
    """Note the end of the first reading once nothing that it listed is left."""
    if sync.mailbox.backfill != Backfill.FETCHING:
        return
    with sync.transaction() as session:
        if wanted.old_mail_left(session, sync.mailbox.id) == 0:
            sync.change(session, backfill=Backfill.DONE.value, backfill_finished_at=sync.now)


def progress(session: Session, mailbox: Mailbox, per_minute: int) -> Progress:
    """How far the first reading of a mailbox is, for the page and the CLI."""
    if mailbox.backfill in (Backfill.WANTED, Backfill.LISTING):
        return Progress(mailbox.backfill, 0, wanted.listed_count(session, mailbox.id), None)
    left = wanted.old_mail_left(session, mailbox.id)
    units = wanted.remaining(session, mailbox.id) if left else 0
    return Progress(
        mailbox.backfill,
        max(0, mailbox.backfill_total - left),
        mailbox.backfill_total,
        forecast(units, per_minute, READING_SHARE),
    )
