"""History: what changed since the cursor.

Each page is applied in a commit of its own; the cursor moves with the last one only, in the same commit. A
page that is applied twice changes nothing. Messages are only wished for here (a row in `wanted_messages`, so
that the wish is as durable as the cursor), fetching comes after.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from gmail_sync import wanted
from gmail_sync.client import HistoryPage
from gmail_sync.session import Sync
from tracker import conversations
from tracker.messages import HIDING_LABELS

log = logging.getLogger(__name__)

HIDING = frozenset(HIDING_LABELS)


@dataclass(slots=True)
class Changes:
    """What one page says, folded: the last word on each message."""

    wanted: dict[str, str] = field(default_factory=dict)  #: message → thread
    deleted: set[str] = field(default_factory=set)
    relabelled: list[tuple[str, str, list[str], list[str], int, bool]] = field(default_factory=list)
    odd: bool = False  #: something could not be read


def catch_up(sync: Sync) -> int:
    """Take in all that changed since the cursor; how many history records there were.

    Raises `HistoryExpired` if Gmail no longer knows, `CursorMoved` if another worker was faster.
    """
    assert sync.mailbox.history_id is not None
    start, token, count = int(sync.mailbox.history_id), None, 0
    while True:
        page = sync.gmail.history(start, token)
        count += len(page.records)
        _apply(sync, page)
        token = page.next_page_token
        if token is None:
            return count


def _apply(sync: Sync, page: HistoryPage) -> None:
    changes = fold(page.records)
    last = page.next_page_token is None
    if not (changes.wanted or changes.deleted or changes.relabelled or changes.odd) and (
        not last or page.history_id == sync.mailbox.history_id
    ):
        return
    with sync.transaction() as session:
        _write(session, sync, changes)
        if last:
            sync.move_cursor(session, page.history_id)


def fold(records: Iterable[Mapping[str, Any]]) -> Changes:
    """Fold the specific arrays of history records (not `messages`, which only repeats them)."""
    changes = Changes()
    for record in records:
        try:
            _fold_one(changes, record)
        except (KeyError, TypeError, ValueError, AttributeError):
            log.warning("A history record can't be read; the mailbox will be compared as a whole")
            changes.odd = True
    return changes


def _fold_one(changes: Changes, record: Mapping[str, Any]) -> None:
    record_id = int(record["id"])
    for entry in record.get("messagesAdded", ()):
        message = entry["message"]
        if not HIDING & set(message.get("labelIds", ())):
            changes.wanted[message["id"]] = message["threadId"]
            changes.deleted.discard(message["id"])
    for name, sign in (("labelsAdded", True), ("labelsRemoved", False)):
        for entry in record.get(name, ()):
            changes.relabelled.append(_relabelled(entry, sign, record_id))
    for entry in record.get("messagesDeleted", ()):
        changes.deleted.add(entry["message"]["id"])
        changes.wanted.pop(entry["message"]["id"], None)


def _relabelled(
    entry: Mapping[str, Any], added: bool, record_id: int
) -> tuple[str, str, list[str], list[str], int, bool]:
    message, labels = entry["message"], list(entry.get("labelIds", ()))
    visible = not HIDING & set(message.get("labelIds", ()))
    plus, minus = (labels, []) if added else ([], labels)
    return message["id"], message.get("threadId", ""), plus, minus, record_id, visible


def _write(session: Session, sync: Sync, changes: Changes) -> None:
    mailbox = sync.mailbox
    wishes = dict(changes.wanted)
    for gmail_id, thread_id, plus, minus, record_id, visible in changes.relabelled:
        held = conversations.relabel(session, mailbox.id, gmail_id, plus, minus, record_id)
        # Out of the trash, a message that we never had: it is mail again.
        if not held and visible and thread_id and gmail_id not in changes.deleted:
            wishes[gmail_id] = thread_id
    if changes.odd:
        sync.change(session, checked_at=None)
    if changes.deleted:
        conversations.drop_copies(session, mailbox.id, changes.deleted)
        wanted.settle(session, mailbox.id, changes.deleted)
    wanted.want(session, mailbox.team_id, mailbox.id, wishes.items())
