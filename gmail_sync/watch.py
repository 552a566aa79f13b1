"""Watch: ask Gmail for pushes. A watch lasts seven days and is renewed daily; polling covers its silence."""

from __future__ import annotations

from datetime import timedelta

from gmail_sync.session import Sync

RENEW_BEFORE = timedelta(days=6)


def renew(sync: Sync) -> None:
    """Begin or renew the watch, once a day, where a Pub/Sub topic is configured."""
    topic, ends = sync.services.pubsub_topic, sync.mailbox.watch_expires_at
    if not topic or (ends is not None and ends - sync.now > RENEW_BEFORE):
        return
    # The history id that Gmail answers is not a cursor: what came between ours and it is still to be read.
    _, ends = sync.gmail.watch(topic)
    with sync.transaction() as session:
        sync.change(session, watch_expires_at=ends)
