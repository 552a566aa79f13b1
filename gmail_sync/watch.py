"""Watch: ask Gmail for pushes. A watch lasts seven days and is renewed daily; polling covers its silence."""

from __future__ import annotations

from datetime import timedelta

from gmail_sync.errors import GmailError, NeedsAttention, Transient
from gmail_sync.session import Sync

RENEWAL = timedelta(days=1)
POSTPONEMENT = timedelta(hours=1)


def renew(sync: Sync) -> None:
    """Begin or renew the watch, once a day, where a Pub/Sub topic is configured.

    Pushes are an extra: where Gmail refuses them (a topic that it may not publish to), polling goes on, and the
    mailbox's page says why mail takes longer.
    """
    topic, due = sync.services.pubsub_topic, sync.mailbox.watch_renew_at
    if not topic or (due is not None and due > sync.now):
        return
    try:
        # The history id that Gmail answers is not a cursor: what came between ours and it is still to be read.
        _, ends = sync.gmail.watch(topic)
    except (NeedsAttention, Transient):
        raise
    except GmailError as error:
        words = f"Gmail sends no notifications, so mail is asked for instead: {error}."
        with sync.transaction() as session:
            sync.change(session, push_trouble=words, watch_renew_at=sync.now + POSTPONEMENT)
        return
    with sync.transaction() as session:
        sync.change(session, watch_expires_at=ends, push_trouble=None, watch_renew_at=sync.now + RENEWAL)
