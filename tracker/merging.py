"""Merging: two boxes that turned out to be one.

Everything in the loser moves to the survivor: conversations with what was decided about them, contacts, tasks,
notes, links, snoozes. Its key leads to the survivor from then on, and its events are read in the survivor's story.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from tracker import access, autobox, boxes, events, facts, fields
from tracker.activities import Activity
from tracker.boxes import Box, BoxConflict, BoxContact, BoxError
from tracker.contacts import Organization
from tracker.db import everything, lock_team
from tracker.fields import FieldType
from tracker.filing import FILED, Filing
from tracker.links import BoxLink
from tracker.messages import Message
from tracker.people import User, Viewer
from tracker.pipelines import Stage
from tracker.sharing import may_read
from tracker.snoozes import Snooze
from tracker.tasks import Task

THIS, OTHER, BOTH = "this", "other", "both"


class MergeError(BoxError):
    """Two boxes can't be merged; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that both boxes have, and not the same: one of them wins."""

    name: str  #: name, stage, owner, organization, or a field's key
    label: str
    this: Any
    other: Any
    field: fields.Field | None = None

    @property
    def choices(self) -> tuple[str, ...]:
        """What may be chosen."""
        both = self.field is not None and self.field.type == FieldType.TAGS
        return (THIS, OTHER, BOTH) if both else (THIS, OTHER)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a merge would do."""

    conversations: int  #: that the viewer may read
    contacts: int
    tasks: int
    activities: int
    links: int
    differences: list[Difference]

    @property
    def fingerprint(self) -> str:
        """Changes when a difference does, so that nobody decides about values that they did not see."""
        told = [(one.name, _plain(one.this), _plain(one.other)) for one in self.differences]
        return hashlib.sha256(repr(told).encode()).hexdigest()[:24]


def _plain(value: Any) -> Any:
    return value.id if isinstance(value, Stage | User | Organization) else value


def check(survivor: Box, loser: Box) -> None:
    """Raise `MergeError` unless the two can be merged."""
    if survivor.id == loser.id:
        raise MergeError("These are one box already; choose another")
    if survivor.team_id != loser.team_id:
        raise MergeError("There is no such box")
    if survivor.pipeline_id != loser.pipeline_id:
        raise MergeError(f"{loser.name} is in another pipeline; link the two instead")
    if survivor.deleted_at or loser.deleted_at:
        raise BoxConflict("One of the two was deleted or merged meanwhile; look again")


def preview(session: Session, viewer: Viewer, survivor: Box, loser: Box) -> Preview:
    """What merging `loser` into `survivor` would move, and where a choice is needed. Raises `MergeError`."""
    check(survivor, loser)
    readable = select(Message.id).where(Message.conversation_id == Filing.conversation_id, may_read(viewer))

    def counted(table: Any, *where: Any) -> Any:
        return select(func.count()).select_from(table).where(*where).scalar_subquery()

    found = session.execute(
        select(
            counted(Filing, Filing.box_id == loser.id, Filing.state == FILED, readable.correlate(Filing).exists()),
            counted(BoxContact, BoxContact.box_id == loser.id),
            counted(Task, Task.box_id == loser.id),
            counted(Activity, Activity.box_id == loser.id, Activity.removed_at.is_(None)),
            counted(BoxLink, (BoxLink.one_id == loser.id) | (BoxLink.other_id == loser.id)),
        )
    ).one()
    return Preview(*found, differences=differences(session, survivor, loser))


def differences(session: Session, survivor: Box, loser: Box) -> list[Difference]:
    """Where both have something and not the same."""
    found = [
        Difference("name", "Name", survivor.name, loser.name),
        Difference("stage", "Stage", survivor.stage, loser.stage),
        Difference("owner", "Owner", survivor.owner, loser.owner),
        Difference("organization", "Organization", survivor.organization, loser.organization),
    ]
    found += [
        Difference(one.key, one.name, survivor.values.get(one.key), loser.values.get(one.key), one)
        for one in fields.of_pipeline(session, survivor.pipeline_id)
    ]
    return [one for one in found if one.this is not None and one.other is not None and one.this != one.other]


def merge(
    session: Session,
    viewer: Viewer,
    survivor: Box,
    loser: Box,
    chosen: Mapping[str, str] | None = None,
    *,
    fingerprint: str | None = None,
    now: datetime,
) -> None:
    """Merge `loser` into `survivor`; for good.

    `chosen` says which side of a `Difference` wins by its name (`this` unless said otherwise); what only one of
    the two has is taken over. `fingerprint` is the preview's that the person saw. Raises `MergeError`, or
    `BoxConflict` if the boxes are not as the person saw them.
    """
    lock_team(session, viewer.team_id)  # no sync files, and no two merges cross
    session.flush()
    query = select(Box).where(Box.id.in_((survivor.id, loser.id))).order_by(Box.id).with_for_update(of=Box)
    session.scalars(query.execution_options(populate_existing=True)).all()
    check(survivor, loser)
    if not access.says_the_same(session, survivor, loser):
        raise MergeError(
            f"{survivor.name} and {loser.name} are not open to the same people; say first who sees the two"
        )
    seen = preview(session, viewer, survivor, loser)
    if fingerprint is not None and fingerprint != seen.fingerprint:
        raise BoxConflict("One of the two changed meanwhile; look again before you merge")
    name = loser.name
    _take_values(session, viewer, survivor, loser, seen.differences, chosen or {}, now)
    with everything(session):
        for move in (_move_filings, _move_contacts, _move_rows, _move_links, _move_snoozes):
            move(session, survivor.id, loser.id)
    loser.merged_into_id, loser.deleted_at = survivor.id, now
    loser.version += 1
    survivor.version += 1
    session.execute(
        update(Box).where(Box.merged_into_id == loser.id).values(merged_into_id=survivor.id),
        execution_options={"synchronize_session": "fetch"},
    )
    session.flush()
    session.expire(survivor, ["contacts"])
    _record(session, viewer, survivor, loser, name, seen)
    facts.refresh(session, [survivor.id, loser.id])
    autobox.consider_box(session, survivor, now)  # mail that spoke for both boxes speaks for one now


def _take_values(
    session: Session,
    viewer: Viewer,
    survivor: Box,
    loser: Box,
    differ: Sequence[Difference],
    chosen: Mapping[str, str],
    now: datetime,
) -> None:
    """The values that win; what only the loser has fills the survivor's gaps."""
    won = {one.name: one for one in differ if chosen.get(one.name, THIS) in one.choices[1:]}
    if "name" in won:
        boxes.rename(session, viewer, survivor, loser.name)
    if "stage" in won:
        boxes.move(session, viewer, survivor, loser.stage, now=now, why=f"as {loser.name} was there")
    if "owner" in won or (survivor.owner_id is None and loser.owner is not None):
        boxes.assign(session, viewer, survivor, loser.owner)
    if "organization" in won or (survivor.organization_id is None and loser.organization is not None):
        boxes.set_organization(session, viewer, survivor, loser.organization)
        if loser.autobox_domain != survivor.autobox_domain:
            boxes.set_autobox_domain(session, viewer, survivor, loser.autobox_domain)
    for column in fields.of_pipeline(session, survivor.pipeline_id):
        theirs, ours = loser.values.get(column.key), survivor.values.get(column.key)
        if theirs is None or (ours is not None and column.key not in won):
            continue
        value = [*ours, *theirs] if ours and chosen.get(column.key) == BOTH else theirs
        try:
            boxes.set_value(session, viewer, survivor, column, value)
        except fields.FieldError:  # a choice that is none any more, somebody who left: what stands, stands
            continue


_WEAKER = text(
    """
    DELETE FROM filings f USING filings t
    WHERE f.conversation_id = t.conversation_id AND f.id <> t.id
      AND f.box_id IN (:survivor, :loser) AND t.box_id IN (:survivor, :loser)
      AND (f.origin = 'person', f.origin = 'rule' AND f.state = 'filed', f.decided_at, f.id)
        < (t.origin = 'person', t.origin = 'rule' AND t.state = 'filed', t.decided_at, t.id)
    """
)


def _move_filings(session: Session, survivor: int, loser: int) -> None:
    """Of two decisions about a conversation a person's stands before a rule's, then the later; then all move."""
    session.flush()
    session.execute(_WEAKER, {"survivor": survivor, "loser": loser})
    session.expire_all()
    _move(session, Filing, survivor, loser)


def _move_contacts(session: Session, survivor: int, loser: int) -> None:
    there = select(BoxContact.team_id, literal(survivor), BoxContact.contact_id).where(BoxContact.box_id == loser)
    columns = ["team_id", "box_id", "contact_id"]
    session.execute(insert(BoxContact).from_select(columns, there).on_conflict_do_nothing())
    session.execute(delete(BoxContact).where(BoxContact.box_id == loser))


def _move_rows(session: Session, survivor: int, loser: int) -> None:
    for table in (Task, Activity):
        _move(session, table, survivor, loser)


def _move(session: Session, table: Any, survivor: int, loser: int) -> None:
    session.execute(
        update(table).where(table.box_id == loser).values(box_id=survivor),
        execution_options={"synchronize_session": "fetch"},
    )


def _move_links(session: Session, survivor: int, loser: int) -> None:
    ends = (BoxLink.one_id == loser) | (BoxLink.other_id == loser)
    for link in session.scalars(select(BoxLink).where(ends)).all():
        far = link.other_id if link.one_id == loser else link.one_id
        if far != survivor:
            one, two = sorted((far, survivor))
            row = {"team_id": link.team_id, "one_id": one, "other_id": two, "user_id": link.user_id}
            session.execute(
                insert(BoxLink).values(**row, created_at=link.created_at).on_conflict_do_nothing(),
            )
    session.execute(delete(BoxLink).where(ends))


def _move_snoozes(session: Session, survivor: int, loser: int) -> None:
    """Who put off either has it put off; of two times the survivor's stands."""
    already = select(Snooze.user_id).where(Snooze.box_id == survivor)
    session.execute(delete(Snooze).where(Snooze.box_id == loser, Snooze.user_id.in_(already)))
    _move(session, Snooze, survivor, loser)


def _record(session: Session, viewer: Viewer, survivor: Box, loser: Box, name: str, seen: Preview) -> None:
    who: dict[str, Any] = {"actor": viewer.actor, "user_id": viewer.user_id}
    moved = {
        "conversations": seen.conversations,
        "contacts": seen.contacts,
        "tasks": seen.tasks,
        "activities": seen.activities,
    }
    data = {"box": loser.key, "name": name, **moved}
    events.record(session, survivor.team_id, "box.merged", box_id=survivor.id, data=data, **who)
    data = {"into": survivor.key, "name": survivor.name}
    events.record(session, survivor.team_id, "box.merged_away", box_id=loser.id, data=data, **who)
