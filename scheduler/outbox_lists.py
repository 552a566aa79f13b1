"""What waits, goes and went, as pages list it: within the viewer's rights, a page at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Boolean, ColumnElement, exists, func, literal_column, select, tuple_
from sqlalchemy.orm import Session

from scheduler import letters
from scheduler.emails import ScheduledEmail, When, Zone
from scheduler.letters import Letter
from scheduler.local_time import LateRule
from scheduler.states import OPEN, State
from tracker import access
from tracker.boxes import Box
from tracker.db import among
from tracker.people import OwnAddress, Viewer

_SHARED = """
    (EXISTS (SELECT 1 FROM boxes b WHERE b.id = {table}.box_id AND b.deleted_at IS NULL)
     AND EXISTS (SELECT 1 FROM unnest({table}.recipients) AS one(normalized) WHERE NOT EXISTS (
       SELECT 1 FROM own_addresses o
       WHERE o.team_id = {table}.team_id AND o.normalized = one.normalized)))
"""

_SEEN = Box.__table__.alias("sight_box")  # one for all: SQLAlchemy makes an alias's columns anew each time


class Mail(Protocol):
    """What goes to somebody: a scheduled email, or the follow-ups of one."""

    team_id: Any
    recipients: Any


def by_key(session: Session, viewer: Viewer, key: str) -> ScheduledEmail | None:
    """The team's scheduled email with this key, if the viewer may see it (`visible`)."""
    return session.scalar(select(ScheduledEmail).where(ScheduledEmail.key == key, visible(viewer)))


def visible(viewer: Viewer) -> Any:
    """SQL: what the viewer may see: one's own, and what goes to somebody outside from a box that is there.

    As mail that has arrived (`sharing.may_read`): internal mail is nobody else's, a deleted box shares nothing.
    """
    mine = ScheduledEmail.team_id == viewer.team_id
    if viewer.is_system:
        return mine
    of_box = in_sight(viewer, ScheduledEmail.box_id) & shared("scheduled_emails")
    return mine & ((ScheduledEmail.user_id == viewer.user_id) | of_box)


def in_sight(viewer: Viewer, box_id: Any) -> ColumnElement[bool]:
    """SQL: the viewer may see the box of this column."""
    return exists().where(_SEEN.c.id == box_id, access.may_see(viewer, _SEEN.c))


def shared(table: str) -> ColumnElement[bool]:
    """SQL: a row of this table (`team_id`, `box_id`, `recipients`) is the team's: it goes outside from a box."""
    return literal_column(_SHARED.format(table=table), Boolean)


def inside(session: Session, mails: Iterable[Mail]) -> list[bool]:
    """Of each mail whether all its recipients are of the team; one query.

    Written into the events about it: what they tell stays its sender's, whomever it goes to later.
    """
    asked = [(one.team_id, set(one.recipients)) for one in mails]
    everybody = set[str]().union(*(recipients for _, recipients in asked))
    query = select(OwnAddress.team_id, OwnAddress.normalized).where(among(OwnAddress.normalized, everybody))
    own = {(team_id, address) for team_id, address in session.execute(query)}
    return [all((team_id, one) in own for one in recipients) for team_id, recipients in asked]


def listed(
    session: Session, viewer: Viewer, states: Iterable[State], *, after: tuple[datetime, int] | None = None,
    newest_first: bool = False, everybody: bool = False, limit: int = 50,
) -> Sequence[ScheduledEmail]:  # fmt: skip
    """A page of the viewer's (or everybody's visible) mail by `due_at` and id, from behind `after`."""
    place = tuple_(ScheduledEmail.due_at, ScheduledEmail.id)
    query = select(ScheduledEmail).where(visible(viewer), ScheduledEmail.state.in_([*states]))
    if not everybody and not viewer.is_system:
        query = query.where(ScheduledEmail.user_id == viewer.user_id)
    if after is not None:
        query = query.where(place < after if newest_first else place > after)
    columns = (ScheduledEmail.due_at, ScheduledEmail.id)
    query = query.order_by(*((column.desc() for column in columns) if newest_first else columns))
    return session.scalars(query.limit(limit)).all()


def counts(session: Session, viewer: Viewer) -> dict[State, int]:
    """How many of the viewer's own mails are in each state that waits for something."""
    query = select(ScheduledEmail.state, func.count()).where(
        ScheduledEmail.user_id == viewer.user_id, ScheduledEmail.state.in_([*OPEN, State.FAILED, State.UNCERTAIN])
    )
    return {State(state): count for state, count in session.execute(query.group_by(ScheduledEmail.state))}


def of_box(session: Session, viewer: Viewer, box_id: int, *, limit: int = 50) -> Sequence[ScheduledEmail]:
    """What waits on a box, or needs a decision, the next first."""
    return _of(session, viewer, ScheduledEmail.box_id == box_id, limit)


def of_contact(session: Session, viewer: Viewer, contact_id: int, *, limit: int = 50) -> Sequence[ScheduledEmail]:
    """What waits for a contact, the next first."""
    return _of(session, viewer, ScheduledEmail.contact_id == contact_id, limit)


def of_conversation(
    session: Session, viewer: Viewer, conversation_id: int, *, limit: int = 50
) -> Sequence[ScheduledEmail]:
    """What waits on a conversation, the next first."""
    return _of(session, viewer, ScheduledEmail.conversation_id == conversation_id, limit)


def _of(session: Session, viewer: Viewer, what: Any, limit: int) -> Sequence[ScheduledEmail]:
    states = [*OPEN, State.FAILED, State.UNCERTAIN]
    query = select(ScheduledEmail).where(visible(viewer), what, ScheduledEmail.state.in_(states))
    return session.scalars(query.order_by(ScheduledEmail.due_at, ScheduledEmail.id).limit(limit)).all()


def letter_of(email: ScheduledEmail) -> Letter | None:
    """What a mail says, for editing; None for a draft that was written in Gmail (read it there)."""
    return letters.read(email.raw) if email.raw is not None else None


def when_of(email: ScheduledEmail) -> When:
    """When a mail is meant to go."""
    return When(
        email.wall_time, email.zone, Zone(email.zone_rule), email.working_days, LateRule(email.late_rule),
        email.country,
    )  # fmt: skip
