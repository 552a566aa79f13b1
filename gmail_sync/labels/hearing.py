"""Hearing: what Gmail's labels say is written down here, as if the mailbox's owner had done it in Tracker."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import singledispatchmethod

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from gmail_sync.labels import looking, names, scheme
from gmail_sync.labels.steps import (
    Agree,
    Back,
    Bind,
    Follow,
    Forget,
    Gone,
    Heard,
    MakeBox,
    Odd,
    RenameBox,
    RenamePipeline,
    Take,
    Undelete,
)
from gmail_sync.labels.tables import OWN, Kind, Label, LabelMailbox, Shadow, Touch
from tracker import autobox, boxes, pipelines, sight
from tracker.boxes import Box, BoxError
from tracker.conversations import Conversation
from tracker.db import lock_team
from tracker.fields import FieldError
from tracker.filing import FilingError
from tracker.mailboxes import Mailbox
from tracker.people import Viewer
from tracker.pipelines import Pipeline, PipelineError

DEPTH = 8  # a step may lead to another; a new box's label, for one, is bound in the second hearing
ODD_AT_MOST = 200  # that the page names


class RootGone(Exception):
    """Somebody deleted the root label in Gmail: labels are switched off."""


def hear(session: Session, mailbox: Mailbox, viewer: Viewer, listed: Mapping[str, str], now: datetime) -> None:
    """Take in what the list says. Raises `RootGone`."""
    lock_team(session, viewer.team_id)
    ear = _Ear(session, mailbox, viewer, now)
    for _ in range(DEPTH):
        found = scheme.hear(looking.state(session, mailbox.id, viewer, listed))
        steps = [step for step in found if not isinstance(step, Odd)]
        for step in steps:
            ear.take(step)
        session.flush()
        if not steps:
            break
    odd = [{"name": step.path, "words": step.words} for step in found if isinstance(step, Odd)]
    values = {"odd": odd[:ODD_AT_MOST], "listed_at": now}
    session.execute(update(LabelMailbox).where(LabelMailbox.mailbox_id == mailbox.id).values(**values))


_HEARD = text(
    """
    INSERT INTO label_touches (team_id, mailbox_id, gmail_thread_id, gmail_label_id, heard_at, how)
    SELECT DISTINCT c.team_id, c.mailbox_id, c.gmail_thread_id, :label, clock_timestamp(), :how FROM copies c
    WHERE c.mailbox_id = :mailbox AND NOT c.hidden AND :label = ANY (c.label_ids)
    ON CONFLICT DO NOTHING
    """
)


class _Ear:
    def __init__(self, session: Session, mailbox: Mailbox, viewer: Viewer, now: datetime) -> None:
        self.session, self.mailbox, self.viewer, self.now = session, mailbox, viewer, now

    @singledispatchmethod
    def take(self, step: Heard) -> None:
        """Take one step."""
        raise TypeError(step)

    @take.register
    def _(self, step: Agree) -> None:
        self._set(step.row_id, name=step.path, pushing=None)

    @take.register
    def _(self, step: RenameBox) -> None:
        self._set(step.row_id, name=step.path, pushing=None, refused=None)
        box = self._box(step.box_id)
        try:
            if box.name != step.name:
                boxes.rename(self.session, self.viewer, box, step.name)
        except BoxError:
            pass  # and Gmail is told its name again

    @take.register
    def _(self, step: RenamePipeline) -> None:
        self._set(step.row_id, name=step.path, pushing=None, refused=None)
        pipeline = self.session.get_one(Pipeline, step.pipeline_id, populate_existing=True)
        if not self._is_whole(pipeline.id):
            return
        try:
            pipelines.change(self.session, self.viewer, pipeline, name=step.name)
        except PipelineError:
            self.session.refresh(pipeline)

    @take.register
    def _(self, step: Gone) -> None:
        row = self.session.get_one(Label, step.row_id)
        if row.kind == Kind.ROOT:
            raise RootGone
        if row.former:
            self.session.delete(row)
            return
        row.gone_at, row.pushing = self.now, None
        if step.moved:
            row.gmail_label_id = None

    @take.register
    def _(self, step: Back) -> None:
        self._set(step.row_id, gone_at=None)

    @take.register
    def _(self, step: Forget) -> None:
        forget_row(self.session, self.session.get_one(Label, step.row_id))

    @take.register
    def _(self, step: Bind) -> None:
        self._bind(step.gmail_id, step.path, step.pipeline_id, step.box_id, former=step.former)
        self._heard(step.gmail_id, "arrived")

    @take.register
    def _(self, step: MakeBox) -> None:
        if self._named(step.pipeline_id, step.name) is not None:
            return  # made for another label of the same list: heard again, this one is bound to it
        box = self._make(step.pipeline_id, step.name, step.gmail_id)
        if box is not None:
            self._bind(step.gmail_id, step.path, None, box.id)
            self._heard(step.gmail_id, "arrived")

    @take.register
    def _(self, step: Take) -> None:
        row = self.session.get_one(Label, step.row_id)
        assert row.box_id is not None
        assert row.gmail_label_id is not None
        box_id = step.box_id
        if box_id is None:
            named = self._named(step.pipeline_id, step.name)
            made = named or self._make(step.pipeline_id, step.name, row.gmail_label_id)
            box_id = made.id if made is not None else None
        if box_id is None:
            row.name = step.path  # nothing carries it: Gmail is told its name again
            return
        left = {"team_id": row.team_id, "mailbox_id": row.mailbox_id, "kind": Kind.BOX.value}
        self.session.add(Label(**left, box_id=row.box_id, taken_at=func.clock_timestamp()))
        label_id = row.gmail_label_id
        self.session.delete(row)
        self.session.flush()
        other = self._main(None, box_id)
        # If that box has a label which is named as it is, its threads get that one.
        there = other is not None and other.gmail_label_id is not None and other.gone_at is None
        natural = names.key(names.segment(self._box(box_id).name, names.LIMIT))
        fits = other is not None and names.key(names.last(other.name)) == natural
        self._bind(label_id, step.path, None, box_id, former=there and fits)
        self._heard(label_id, "added")

    @take.register
    def _(self, step: Follow) -> None:
        row = self.session.get_one(Label, step.row_id)
        gone = row.box_id
        other = self._main(None, step.box_id)
        if other is not None and (other.gmail_label_id is None or other.gone_at is not None):
            self._forget_agreed(step.box_id)  # with the label that is gone, and nothing with this one
            self.session.delete(other)
            self.session.flush()
            other = None
        move = text(
            "INSERT INTO thread_labels (team_id, mailbox_id, gmail_thread_id, box_id, base, pushing)"
            " SELECT team_id, mailbox_id, gmail_thread_id, :to, base, pushing FROM thread_labels"
            " WHERE mailbox_id = :mailbox AND box_id = :gone ON CONFLICT DO NOTHING"
        )
        keys = {"to": step.box_id, "gone": gone, "mailbox": self.mailbox.id}
        self.session.execute(move, keys)
        if gone is not None:
            self._forget_agreed(gone)
        if row.gmail_label_id is None:
            self.session.delete(row)
        else:
            row.box_id, row.former, row.refused = step.box_id, row.former or other is not None, None

    @take.register
    def _(self, step: Undelete) -> None:
        boxes.undelete(self.session, self.viewer, self._box(step.box_id))

    # -- what they have in common

    def _forget_agreed(self, box_id: int) -> None:
        """What was agreed on of a box's threads was so about another label."""
        self.session.execute(delete(Shadow).where(Shadow.mailbox_id == self.mailbox.id, Shadow.box_id == box_id))

    def _set(self, row_id: int, **values: object) -> None:
        row = self.session.get_one(Label, row_id)
        for name, value in values.items():
            setattr(row, name, value)

    def _box(self, box_id: int) -> Box:
        return self.session.get_one(Box, box_id, populate_existing=True)

    def _is_whole(self, pipeline_id: int) -> bool:
        with sight.seen_by(self.session, self.viewer):
            return sight.is_whole(self.session, pipeline_id)

    def _main(self, pipeline_id: int | None, box_id: int | None) -> Label | None:
        column, value = (Label.box_id, box_id) if box_id else (Label.pipeline_id, pipeline_id)
        where = [Label.mailbox_id == self.mailbox.id, ~Label.former, Label.taken_at.is_(None)]
        if value is None:
            return self.session.scalar(select(Label).where(*where, Label.kind == Kind.ROOT.value))
        return self.session.scalar(select(Label).where(*where, column == value))

    def _bind(
        self, gmail_id: str, path: str, pipeline_id: int | None, box_id: int | None, *, former: bool = False
    ) -> None:
        kind = Kind.of(pipeline_id, box_id)
        row = None if former else self._main(pipeline_id, box_id)
        if row is not None and kind is Kind.BOX and row.gmail_label_id is not None and row.gone_at is None:
            row.former, row.pushing = True, None  # its threads get the label that has the right name already
            row = None
        if row is None:
            row = Label(
                team_id=self.mailbox.team_id, mailbox_id=self.mailbox.id, kind=kind.value,
                pipeline_id=pipeline_id, box_id=box_id, former=former,
            )  # fmt: skip
            self.session.add(row)
        elif row.gmail_label_id is not None and box_id is not None:  # made anew by hand: nothing was agreed on it
            self._forget_agreed(box_id)
        row.gmail_label_id, row.name, row.color = gmail_id, path, None
        row.pushing = row.gone_at = row.refused = None
        self.session.flush()

    def _heard(self, gmail_id: str, how: str) -> None:
        """Threads that carry it already are heard of now, unless they were before."""
        self.session.execute(_HEARD, {"mailbox": self.mailbox.id, "label": gmail_id, "how": how})

    def _named(self, pipeline_id: int, name: str) -> Box | None:
        query = select(Box).where(
            Box.pipeline_id == pipeline_id, Box.deleted_at.is_(None), func.lower(Box.name) == name.lower()
        )
        with sight.seen_by(self.session, self.viewer):
            return self.session.scalars(query.order_by(Box.id.desc()).limit(1)).first()

    def _make(self, pipeline_id: int, name: str, gmail_id: str) -> Box | None:
        """A new box, made from the first conversation that carries the label."""
        carrying = text(
            "SELECT t.conversation_id FROM copies c JOIN threads t"
            " ON t.mailbox_id = c.mailbox_id AND t.gmail_thread_id = c.gmail_thread_id"
            " WHERE c.mailbox_id = :mailbox AND NOT c.hidden AND :label = ANY (c.label_ids)"
            " ORDER BY c.internal_date, c.id LIMIT 1"
        )
        first = self.session.scalar(carrying, {"mailbox": self.mailbox.id, "label": gmail_id})
        return None if first is None else make_box(self.session, self.viewer, pipeline_id, first, name, self.now)


def make_box(
    session: Session, viewer: Viewer, pipeline_id: int, conversation_id: int, name: str, now: datetime
) -> Box | None:
    """A new box made from a conversation, as the web's page makes one; None where the owner may not."""
    with sight.seen_by(session, viewer):
        pipeline = session.get(Pipeline, pipeline_id, populate_existing=True)
        conversation = session.get(Conversation, conversation_id, populate_existing=True)
        if pipeline is None or conversation is None or not sight.is_whole(session, pipeline_id):
            return None
        try:
            with session.begin_nested():
                box = autobox.new_box(session, viewer, pipeline, conversation, name=name, now=now)
                session.flush()
                return box
        except (BoxError, FilingError, FieldError):
            return None


def forget_row(session: Session, row: Label) -> None:
    """A label that is in Gmail no more, with all that hangs on it."""
    gmail_id, keys = row.gmail_label_id, {"mailbox": row.mailbox_id, "label": row.gmail_label_id}
    if gmail_id is not None:
        session.execute(text(f"SELECT set_config('{OWN}', 'on', true)"))
        session.execute(
            text(
                "UPDATE copies SET label_ids = array_remove(label_ids, :label)"
                " WHERE mailbox_id = :mailbox AND :label = ANY (label_ids)"
            ),
            keys,
        )
        session.execute(text(f"SELECT set_config('{OWN}', 'off', true)"))
        session.execute(delete(Touch).where(Touch.mailbox_id == row.mailbox_id, Touch.gmail_label_id == gmail_id))
    if row.box_id is not None and not row.former:
        session.execute(delete(Shadow).where(Shadow.mailbox_id == row.mailbox_id, Shadow.box_id == row.box_id))
    session.delete(row)
    session.flush()
