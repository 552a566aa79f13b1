"""Switching labels on and off for a mailbox, and asking for one that was deleted in Gmail."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from gmail_sync.labels import wakes
from gmail_sync.labels.tables import Label, LabelMailbox, Mode, Shadow, Touch
from tracker import events
from tracker.db import among
from tracker.mailboxes import Mailbox
from tracker.people import Viewer


def on(session: Session, viewer: Viewer, mailbox: Mailbox, now: datetime) -> None:
    """Keep labels and boxes the same from now on; the next sync begins."""
    forget(session, mailbox.id)
    values: dict[str, Any] = {"mode": Mode.ON.value, "since": now, "listed_at": None, "trouble": None, "odd": []}
    statement = insert(LabelMailbox).values(team_id=mailbox.team_id, mailbox_id=mailbox.id, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["mailbox_id"], set_=values))
    wakes.want(session, [mailbox.id], now)
    _record(session, viewer, mailbox, "labels.on")


def off(session: Session, viewer: Viewer, mailbox: Mailbox, now: datetime, *, remove: bool = False) -> None:
    """Leave labels alone from now on; with `remove` ours are taken out of Gmail. Boxes stay as they are."""
    mode = Mode.LEAVING if remove else Mode.OFF
    if not remove:
        forget(session, mailbox.id)
    values: dict[str, Any] = {"mode": mode.value, "since": now, "trouble": None, "odd": [], "wanted_at": None}
    session.execute(update(LabelMailbox).where(LabelMailbox.mailbox_id == mailbox.id).values(**values))
    if remove:
        wakes.want(session, [mailbox.id], now)
    _record(session, viewer, mailbox, "labels.off")


def make_again(session: Session, mailbox: Mailbox, now: datetime) -> None:
    """Make those labels again that were deleted in Gmail."""
    query = delete(Label).where(Label.mailbox_id == mailbox.id, Label.gone_at.is_not(None))
    rows = session.execute(query.returning(Label.box_id)).scalars().all()
    ids = [box_id for box_id in rows if box_id is not None]
    session.execute(delete(Shadow).where(Shadow.mailbox_id == mailbox.id, among(Shadow.box_id, ids)))
    wakes.want(session, [mailbox.id], now)


def forget(session: Session, mailbox_id: int) -> None:
    """Forget what was agreed on in a mailbox; nothing is changed in Gmail or in boxes."""
    for table in (Touch, Shadow, Label):
        session.execute(delete(table).where(table.mailbox_id == mailbox_id))


def leave(session: Session, mailbox_id: int) -> None:
    """Its owner is gone: nothing of labels is kept for it. Those in Gmail stay."""
    forget(session, mailbox_id)
    session.execute(delete(LabelMailbox).where(LabelMailbox.mailbox_id == mailbox_id))


def _record(session: Session, viewer: Viewer, mailbox: Mailbox, kind: str) -> None:
    events.record(
        session, mailbox.team_id, kind, actor=viewer.actor, user_id=viewer.user_id, mailbox_id=mailbox.id
    )
