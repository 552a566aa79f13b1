"""A run: one mailbox's labels and boxes are made the same, inside its sync and under its lock.

Only once history is caught up with, so that what the copies say of labels is Gmail's truth. Whatever a run was cut
off in is begun again by the next: what Gmail is told is written down before, and may be told twice.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from gmail_sync.errors import Conflict, NeedsAttention, NotFound, Permanent, Transient
from gmail_sync.labels import colors, hearing, looking, switch, tell, threads
from gmail_sync.labels.hearing import RootGone
from gmail_sync.labels.steps import Create, Delete, Patch, Write
from gmail_sync.labels.tables import Kind, Label, LabelMailbox, Mode, Shadow, Touch
from gmail_sync.session import Sync
from tracker import events, mailboxes
from tracker.db import among
from tracker.mailboxes import Backfill
from tracker.people import Viewer

log = logging.getLogger(__name__)

ROUNDS = (
    12  # of one run: the root, pipelines, boxes; again after names that others had, or that followed by themselves
)
PATIENCE = timedelta(minutes=5)  # after Gmail refused something
SWITCHED_OFF = "You deleted the label {root} in Gmail, so labels were switched off; your boxes are as they were"


def run(sync: Sync) -> None:
    """Bring labels and boxes together. Raises `Transient` when Gmail asks to wait.

    What Gmail refuses for good is told on the labels' page; mail is synced nevertheless.
    """
    with sync.transaction() as session:
        found = looking.setting(session, sync.mailbox.id)
        viewer = looking.owner(session, sync.mailbox) if found is not None else None
        if found is None or viewer is None or sync.mailbox.backfill != Backfill.DONE:
            return
        if not looking.is_something(session, found, sync.now) or _is_patient(found, sync.now):
            return
        leaving, wish = found.mode == Mode.LEAVING, found.wanted_at
    try:
        _leave(sync) if leaving else _bring_together(sync, viewer, wish)
    except (Transient, NeedsAttention):
        raise
    except RootGone:
        _switch_off(sync)
    except Permanent as error:
        log.warning("%s: labels: %s", sync.mailbox.address, error)
        with sync.transaction() as session:
            _say(session, sync, trouble=str(error), wanted_at=None, listed_at=sync.now)


def _is_patient(found: LabelMailbox, now: datetime) -> bool:
    return found.trouble is not None and found.listed_at is not None and now - found.listed_at < PATIENCE


def _bring_together(sync: Sync, viewer: Viewer, wish: datetime | None) -> None:
    listed: dict[str, str] = {}
    list_again, left = True, ROUNDS
    while left > 0:
        left -= 1
        if list_again:
            listed = _list(sync, viewer)
            threads.take_in(sync, viewer)
        told = _tell(sync, viewer, listed)
        if told is None:
            break
        list_again = told
    heard_all = threads.send(sync, viewer)
    _remove_emptied(sync)
    with sync.transaction() as session:
        _finish(session, sync, wish, heard_all=heard_all)


def _finish(session: Session, sync: Sync, wish: datetime | None, *, heard_all: bool) -> None:
    """All that was heard is dealt with, but what one run is too short for."""
    id_ = sync.mailbox.id
    waiting = [one.thread_id for one in looking.plain(session, id_)]
    if heard_all:
        session.execute(delete(Touch).where(Touch.mailbox_id == id_, ~among(Touch.gmail_thread_id, waiting)))
    session.execute(
        update(Label).where(Label.mailbox_id == id_, Label.gmail_label_id.is_not(None)).values(pushing=None)
    )
    unmade = (Label.mailbox_id == id_, Label.gmail_label_id.is_(None), Label.gone_at.is_(None))
    session.execute(delete(Label).where(*unmade, Label.refused.is_(None)))
    _say(session, sync, trouble=None)
    unchanged = LabelMailbox.wanted_at.is_not_distinct_from(wish)
    session.execute(update(LabelMailbox).where(LabelMailbox.mailbox_id == id_, unchanged).values(wanted_at=None))
    if (waiting or not heard_all) and sync.mailbox.wanted_at is None:
        mailboxes.want(session, id_, "labels", sync.now)


def _list(sync: Sync, viewer: Viewer) -> dict[str, str]:
    """Gmail's labels, taken in."""
    listed = sync.gmail.labels()
    with sync.transaction() as session:
        hearing.hear(session, sync.mailbox, viewer, listed, sync.now)
    return listed


# -- labels


def _tell(sync: Sync, viewer: Viewer, listed: dict[str, str]) -> bool | None:
    """Tell Gmail the next names and colours; whether to list it again, None once there is nothing to tell."""
    with sync.transaction() as session:
        told = tell.tell(looking.state(session, sync.mailbox.id, viewer, listed))
    again = told.list_again
    for write in told.writes:
        again = not _write(sync, write, listed) or again
    return again if told.writes else None


def _write(sync: Sync, write: Write, listed: dict[str, str]) -> bool:
    """One label; False if Gmail has another opinion of which there are."""
    try:
        if isinstance(write, Create):
            _create(sync, write, listed)
        elif isinstance(write, Patch):
            _patch(sync, write, listed)
        else:
            _delete(sync, write, listed)
    except (Conflict, NotFound):
        return False
    return True


def _create(sync: Sync, write: Create, listed: dict[str, str]) -> None:
    with sync.transaction() as session:
        row = session.get(Label, write.row_id) if write.row_id else None
        if row is None:
            kind = Kind.of(write.pipeline_id, write.box_id)
            row = Label(
                team_id=sync.mailbox.team_id, mailbox_id=sync.mailbox.id, kind=kind.value,
                pipeline_id=write.pipeline_id, box_id=write.box_id,
            )  # fmt: skip
            session.add(row)
        row.pushing = write.path
        session.flush()
        row_id = row.id
    try:
        gmail_id = sync.gmail.create_label(write.path, _colors(write.color))
    except Conflict:
        _refused(sync, row_id, write.path)
        raise
    with sync.transaction() as session:
        row = session.get_one(Label, row_id)
        row.gmail_label_id, row.name, row.color, row.pushing = gmail_id, write.path, write.color, None
        row.refused = None
        if row.box_id is not None:  # whatever was agreed on was so about another label
            session.execute(
                delete(Shadow).where(Shadow.mailbox_id == sync.mailbox.id, Shadow.box_id == row.box_id)
            )
    listed[gmail_id] = write.path


def _patch(sync: Sync, write: Patch, listed: dict[str, str]) -> None:
    if write.path is not None:
        with sync.transaction() as session:
            session.execute(update(Label).where(Label.id == write.row_id).values(pushing=write.path))
    try:
        sync.gmail.patch_label(write.gmail_id, write.path, _colors(write.color))
    except Conflict:
        _refused(sync, write.row_id, write.path or "")
        raise
    with sync.transaction() as session:
        row = session.get_one(Label, write.row_id)
        row.pushing = None
        if write.path is not None:
            row.name, listed[write.gmail_id] = write.path, write.path
        row.color = write.color or row.color


def _refused(sync: Sync, row_id: int, path: str) -> None:
    """A name that another label has, or had: whoever lists again finds it, or chooses another name."""
    with sync.transaction() as session:
        session.execute(update(Label).where(Label.id == row_id).values(refused=path, pushing=None))


def _delete(sync: Sync, write: Delete, listed: dict[str, str]) -> None:
    with sync.transaction() as session:
        session.execute(update(Label).where(Label.id == write.row_id).values(pushing=""))
    try:
        sync.gmail.delete_label(write.gmail_id)
    except NotFound:
        log.info("%s: the label %s was deleted already", sync.mailbox.address, write.gmail_id)
    with sync.transaction() as session:
        hearing.forget_row(session, session.get_one(Label, write.row_id))
    listed.pop(write.gmail_id, None)


def _colors(background: str | None) -> tuple[str, str] | None:
    return None if background is None else (background, colors.text_on(background))


def _remove_emptied(sync: Sync) -> None:
    """Labels that gave way to another of their box go once no thread carries them."""
    with sync.transaction() as session:
        query = select(Label.id, Label.gmail_label_id).where(
            Label.mailbox_id == sync.mailbox.id, Label.former, Label.gmail_label_id.is_not(None)
        )
        rows = session.execute(query.order_by(Label.id)).all()
    for row_id, gmail_id in rows:
        assert gmail_id is not None
        if not sync.gmail.carries(gmail_id):
            _delete(sync, Delete(row_id, gmail_id), {})


# -- switching off


def _leave(sync: Sync) -> None:
    """Remove our labels from Gmail, the innermost first; then they are off."""
    with sync.transaction() as session:
        query = select(Label.id, Label.gmail_label_id, Label.kind).where(Label.mailbox_id == sync.mailbox.id)
        rows = session.execute(query.order_by(Label.id)).all()
    order = [Kind.BOX.value, Kind.PIPELINE.value, Kind.ROOT.value]
    for row_id, gmail_id, _ in sorted(rows, key=lambda row: order.index(row[2])):
        if gmail_id is not None:
            _delete(sync, Delete(row_id, gmail_id), {})
    with sync.transaction() as session:
        switch.forget(session, sync.mailbox.id)
        _say(session, sync, mode=Mode.OFF.value, wanted_at=None, trouble=None, odd=[])


def _switch_off(sync: Sync) -> None:
    """The root label is gone, and with it the wish for labels."""
    with sync.transaction() as session:
        root = session.scalar(
            select(Label.name).where(Label.mailbox_id == sync.mailbox.id, Label.kind == Kind.ROOT.value)
        )
        words = SWITCHED_OFF.format(root=root)
        switch.forget(session, sync.mailbox.id)
        _say(session, sync, mode=Mode.OFF.value, since=sync.now, wanted_at=None, odd=[], trouble=words)
        mailbox = sync.mailbox
        events.record(session, mailbox.team_id, "labels.off", actor=events.SYNC, mailbox_id=mailbox.id)


def _say(session: Session, sync: Sync, **columns: object) -> None:
    session.execute(update(LabelMailbox).where(LabelMailbox.mailbox_id == sync.mailbox.id).values(**columns))
