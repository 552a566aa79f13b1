"""Wakes: what happens in Tracker has labels follow. The row is the wish, the job the wake-up, as for mail.

The event log is read with a cursor of our own, which moves in the transaction that writes the wishes: nothing is
lost and nothing told twice, whenever a worker dies. A run compares everything, so an event need only say *that*
something happened; which of two events came first is in what they left behind.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from gmail_sync.labels.tables import LabelMailbox, Mode
from gmail_sync.session import Services
from tracker import conversations, events, readers
from tracker.db import among, transaction
from tracker.events import Event
from tracker.mailboxes import Mailbox, State

READER = "labels"
AT_ONCE = 500  # events of one transaction

#: What changes which label a thread is to carry.
OF_CONVERSATIONS = ("conversation.filed", "conversation.removed")
#: What changes a box's label, or whether it has one.
OF_BOXES = (
    "box.renamed", "box.moved", "box.deleted", "box.undeleted", "box.merged", "box.merged_away", "box.access",
    "box.assigned", "box.archived", "box.restored",
)  # fmt: skip
#: What changes labels of many boxes, or who sees them.
OF_TEAMS = (
    "pipeline.added", "pipeline.changed", "pipeline.archived", "pipeline.restored", "pipeline.access",
    "stage.changed", "stage.removed", "user.role", "user.changed",
)  # fmt: skip


def read(services: Services) -> None:
    """A tick: note whose labels have to follow what happened."""
    found = AT_ONCE
    while found == AT_ONCE:
        with transaction(services.sessions) as session:
            found = read_some(session, services.now())


def read_some(session: Session, now: datetime) -> int:
    """Read the next events; how many there were. Nothing while another worker is at it."""
    reader = readers.taken(session, READER)
    if reader is None:
        return 0
    found = events.after(session, reader.cursor, limit=AT_ONCE)
    if found:
        want(session, concerned(session, [event for _, event in found]), now)
        reader.move(found[-1][0])
    return len(found)


def concerned(session: Session, happened: Sequence[Event]) -> set[int]:
    """The mailboxes whose labels these events concern."""
    teams = {event.team_id for event in happened if event.kind in OF_TEAMS}
    boxes = {event.box_id for event in happened if event.kind in OF_BOXES and event.box_id is not None}
    moved = {event.conversation_id for event in happened if event.kind in OF_CONVERSATIONS}
    found = set(session.scalars(_on().where(among(LabelMailbox.team_id, teams)))) if teams else set()
    if boxes:
        found |= set(session.scalars(_LABELLED, {"boxes": list(boxes)}))
    if moved:
        ids = [id_ for id_ in moved if id_ is not None]
        found |= set(session.scalars(_DIFFERENT, {"conversations": ids}))
    return found


def _on() -> Any:
    return select(LabelMailbox.mailbox_id).where(LabelMailbox.mode == Mode.ON)


# A box concerns those mailboxes that have a label for it, or a thread in it.
_LABELLED = text(
    """
    SELECT m.mailbox_id FROM label_mailboxes m WHERE m.mode = 'on' AND (
      EXISTS (SELECT FROM mailbox_labels l WHERE l.mailbox_id = m.mailbox_id
              AND l.box_id = ANY (CAST(:boxes AS bigint[])))
      OR EXISTS (SELECT FROM filings f JOIN threads t ON t.conversation_id = f.conversation_id
                 WHERE f.box_id = ANY (CAST(:boxes AS bigint[])) AND f.state = 'filed'
                   AND t.mailbox_id = m.mailbox_id))
    """
)
# A conversation concerns those where its threads carry something else: not the one in which it was labelled.
_DIFFERENT = text(
    """
    SELECT DISTINCT m.mailbox_id FROM threads t
    JOIN label_mailboxes m ON m.mailbox_id = t.mailbox_id AND m.mode = 'on'
    WHERE t.conversation_id = ANY (CAST(:conversations AS bigint[])) AND (
      EXISTS (SELECT FROM filings f WHERE f.conversation_id = t.conversation_id AND f.state = 'filed'
              AND NOT EXISTS (SELECT FROM thread_labels s WHERE s.mailbox_id = t.mailbox_id
                AND s.gmail_thread_id = t.gmail_thread_id AND s.box_id = f.box_id AND s.base))
      OR EXISTS (SELECT FROM thread_labels s
                 WHERE s.mailbox_id = t.mailbox_id AND s.gmail_thread_id = t.gmail_thread_id
                   AND (s.base OR s.pushing IS NOT NULL)
                   AND NOT EXISTS (SELECT FROM filings f WHERE f.conversation_id = t.conversation_id
                     AND f.box_id = s.box_id AND f.state = 'filed')))
    """
)


def want(session: Session, mailbox_ids: Collection[int], now: datetime) -> None:
    """Wish that labels of these mailboxes follow; they are synced for it, as for new mail."""
    if not mailbox_ids:
        return
    session.execute(
        update(LabelMailbox)
        .where(among(LabelMailbox.mailbox_id, mailbox_ids), LabelMailbox.mode != Mode.OFF)
        .values(wanted_at=now)
    )
    # A wish that is there already is enough, and its date tells when Gmail was last heard of.
    session.execute(
        update(Mailbox)
        .where(among(Mailbox.id, mailbox_ids), Mailbox.state == State.CONNECTED, Mailbox.wanted_at.is_(None))
        .values(wanted_at=now, wanted_by="labels")
    )


def _moved(session: Session, _: int, survivor: int) -> None:
    _want_threads(session, [survivor])


def _split(session: Session, conversation_id: int, parts: Sequence[int]) -> None:
    _want_threads(session, [conversation_id, *parts])


def _want_threads(session: Session, conversation_ids: Sequence[int]) -> None:
    """Conversations that became one, or came apart, say something else of their threads; no event tells of it."""
    found = session.execute(_DIFFERENT, {"conversations": list(conversation_ids)}).scalars().all()
    if found:
        now = session.scalar(text("SELECT clock_timestamp()"))
        assert isinstance(now, datetime)
        want(session, found, now)


conversations.on_merge.append(_moved)
conversations.on_split.append(_split)
