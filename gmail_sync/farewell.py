"""Farewell: the mailboxes of somebody who was removed. Their mail goes, our drafts in Gmail, then the credentials.

The wish is the row (`left_at`, and `wanted_at` until all is done); the job is the wake-up, a tick the sweep.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial

import requests
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from gmail_sync import oauth
from gmail_sync.errors import GmailError, KeyMissing, NeedsAttention
from gmail_sync.labels import switch
from gmail_sync.session import Services
from gmail_sync.sync import lock
from gmail_sync.vault import VaultError
from gmail_sync.wanted import Wanted
from tracker import conversations, events, sharing
from tracker.db import transaction
from tracker.jobs import Again, Jobs
from tracker.mailboxes import Mailbox

log = logging.getLogger(__name__)

JOB = "gmail_sync.farewell"
PATIENCE = timedelta(hours=24)  #: so long Gmail is asked while it does not answer; then the credentials go
RETRY_SECONDS = 60.0
SOON_SECONDS = 5.0  # that a person waits for Google when they disconnect
AT_ONCE = 500  # mails deleted in one transaction

#: What rooms above settle whether or not there are credentials. May raise `Again`, for some minutes at most.
settling: list[Callable[[Services, Mailbox], None]] = []
#: What rooms above do with the credentials while they still open something. May raise `Again` and `GmailError`.
before_credentials_go: list[Callable[[Services, Mailbox], None]] = []


def register(jobs: Jobs, services: Services) -> None:
    """Tell the worker what our job does."""
    jobs.register(JOB, partial(say, services), lock)


def wake(jobs: Jobs, mailbox_id: int) -> bool:
    """Queue the job."""
    return jobs.defer(JOB, lock=lock(mailbox_id), mailbox_id=mailbox_id)


def wake_due(jobs: Jobs, services: Services) -> None:
    """A tick: queue a job for each mailbox that was left and is not empty yet."""
    with transaction(services.sessions) as session:
        due = waiting(session)
    for mailbox_id in due:
        wake(jobs, mailbox_id)


def waiting(session: Session) -> list[int]:
    """Mailboxes that were left and not seen to yet."""
    query = select(Mailbox.id).where(Mailbox.left_at.is_not(None), Mailbox.wanted_at.is_not(None))
    return list(session.scalars(query.order_by(Mailbox.id)))


def say(services: Services, mailbox_id: int) -> None:
    """See to one mailbox. Raises `Again` while Gmail does not answer, or something is under way in it."""
    with transaction(services.sessions) as session:
        mailbox = session.get(Mailbox, mailbox_id)
    if mailbox is None or mailbox.left_at is None or mailbox.wanted_at is None:
        return
    # The mail first: it is ours to delete, whatever Gmail says.
    while _forget_some(services, mailbox):
        pass
    for settle in settling:
        settle(services, mailbox)
    revoked = mailbox.credentials is not None and _let_go(services, mailbox)
    with transaction(services.sessions) as session:
        switch.leave(session, mailbox.id)
        done = {"credentials": None, "wanted_at": None, "wanted_by": None}
        session.execute(update(Mailbox).where(Mailbox.id == mailbox.id).values(**done))
        data = {"address": mailbox.address, "revoked": revoked}
        events.record(session, mailbox.team_id, "mailbox.left", mailbox_id=mailbox.id, data=data)


def _let_go(services: Services, mailbox: Mailbox) -> bool:
    """Do the last things with the credentials; whether Google says that they are void."""
    assert mailbox.left_at is not None
    assert mailbox.credentials is not None
    try:
        with suppress(NeedsAttention):  # they open nothing any more
            for ask in before_credentials_go:
                ask(services, mailbox)
        return _revoke(services, mailbox, mailbox.credentials)
    except (GmailError, requests.RequestException, Again) as error:
        if services.now() < mailbox.left_at + PATIENCE:
            raise Again(RETRY_SECONDS, f"Gmail did not answer the farewell: {type(error).__name__}") from error
    with suppress(requests.RequestException, KeyMissing):
        return _revoke(services, mailbox, mailbox.credentials)
    return False


def revoke_soon(services: Services, mailbox: Mailbox, sealed: bytes) -> bool:
    """Have Google end the access of a mailbox that was just disconnected: once, without waiting long.

    Whether Google says that it is void. To be called without a transaction, after the disconnection is committed.
    """
    try:
        return _revoke(services, mailbox, sealed, timeout=SOON_SECONDS)
    except (requests.RequestException, KeyMissing, LookupError, TypeError, ValueError) as error:
        # The last three: what is kept is no credentials of ours. There is nothing to try again with.
        log.warning("Google was not told that mailbox %s is disconnected: %s", mailbox.id, type(error).__name__)
        return False


def _revoke(services: Services, mailbox: Mailbox, sealed: bytes, *, timeout: float = 20.0) -> bool:
    with transaction(services.sessions) as session:
        if _is_back(session, mailbox):
            return False
    try:
        kept = services.vault.open(sealed)
    except VaultError as error:  # the key may be put back, as long as we are patient
        raise KeyMissing from error
    if oauth.revoke(kept, timeout=timeout):
        return True
    raise requests.RequestException("Google did not revoke the credentials")


def _is_back(session: Session, mailbox: Mailbox) -> bool:
    """Whether the account is connected anew: Google would end that access too, being one for each account."""
    query = select(Mailbox.id).where(
        Mailbox.normalized == mailbox.normalized, Mailbox.left_at.is_(None), Mailbox.credentials.is_not(None)
    )
    return session.scalar(query) is not None


def _forget_some(services: Services, mailbox: Mailbox) -> bool:
    """Delete some of its mail, and what of it nobody else holds; whether there may be more."""
    with transaction(services.sessions) as session:
        session.execute(delete(Wanted).where(Wanted.mailbox_id == mailbox.id))
        ids = sharing.unshared(session, mailbox.id, AT_ONCE)
        conversations.drop_copies(session, mailbox.id, ids)
    return len(ids) == AT_ONCE
