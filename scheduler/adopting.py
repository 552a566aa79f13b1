"""What stands in Gmail's draft is taken over: it goes out so, and is shown so here."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from gmail_sync import drafts
from gmail_sync.client import Gmail
from gmail_sync.drafts import Draft
from scheduler import outbox, tracked
from scheduler.emails import same
from scheduler.outbox import Found, ScheduledEmail
from scheduler.post import Post
from tracker.db import transaction

LONG_AGO = timedelta(days=1)  #: what was worked out then is worked out anew


def found(draft: Draft, headers: drafts.Headers) -> Found:
    """A draft as the outbox takes it."""
    return Found(
        draft.id, draft.message_id, draft.thread_id, headers.subject, headers.to, headers.recipients,
        headers.snippet, headers.is_reply,
    )  # fmt: skip


def adopt(post: Post, gmail: Gmail, email: ScheduledEmail, draft: Draft, **columns: Any) -> bool:
    """A waiting mail is what Gmail's draft says from now on, with other columns if need be.

    False if it was changed here meanwhile, or the draft again. Raises `GmailError`.
    """
    known = drafts.headers(gmail, [draft.message_id]).get(draft.message_id)
    if known is None:
        return False
    columns |= outbox.as_found(found(draft, known))
    with transaction(post.sessions) as session:
        if columns["recipients"][:1] != email.recipients[:1]:  # somebody else, who may be somewhere else
            columns["contact_id"] = outbox.contact_of(session, email.team_id, columns["recipients"])
            columns["resolved_at"] = email.created_at - LONG_AGO
        email = session.merge(email, load=False)
        if not same(session, email, edited_in_gmail_at=post.now(), text_hash=None, raw=None, **columns):
            return False
        outbox.record(session, email, "email.edited_in_gmail")
        tracked.edited_in_gmail(session, session.get_one(ScheduledEmail, email.id, populate_existing=True))
    return True
