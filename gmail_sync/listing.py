"""Listing: what Gmail holds, page by page into a table, so that memory stays the same for any mailbox."""

from __future__ import annotations

from datetime import datetime

from gmail_sync import wanted
from gmail_sync.session import Sync


def list_all(sync: Sync, *, label_id: str = "", after: datetime | None = None, spam_trash: bool = False) -> int:
    """List the mailbox (or one label) into `gmail_listings`; how many messages there are."""
    token: str | None = None
    position = 0
    while True:
        page = sync.gmail.list_messages(
            page_token=token, label_id=label_id, after=after, include_spam_trash=spam_trash
        )
        with sync.transaction() as session:
            wanted.list_page(session, sync.mailbox.team_id, sync.mailbox.id, label_id, page.ids, position)
        position += len(page.ids)
        token = page.next_page_token
        if token is None:
            return position
