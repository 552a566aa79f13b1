"""Access: who may see which pipeline and box. The one gate that every list, search and count of boxes asks.

A pipeline is open to the team or to named people; a box inherits that, or says otherwise. Members see what is open
to the team, where they are named, and boxes that they own; admins no more than that, but they may name themselves.
Guests see only where they are named. `tracker.sight` puts this before all that a session reads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    ForeignKey,
    Select,
    and_,
    delete,
    exists,
    literal,
    or_,
    select,
    union_all,
)  # fmt: skip
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import events, topics
from tracker.boxes import Box
from tracker.db import Base, OfTeam, among
from tracker.people import Role, User, Viewer
from tracker.pipelines import Pipeline

TEAM, PEOPLE = "team", "people"
TOPIC = "access"  #: told when somebody may see more or less than before
#: Called with the session when somebody may see more or less than before.
on_change: list[Callable[[Session], None]] = []


class AccessError(ValueError):
    """Who sees something can't be changed so; the text says why and what to do."""


class PipelineMember(OfTeam, Base):
    """A person who is named to see a pipeline."""

    __tablename__ = "pipeline_members"

    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)


class BoxMember(OfTeam, Base):
    """A person who is named to see a box."""

    __tablename__ = "box_members"

    box_id: Mapped[int] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True)


# -- the law, as SQL


def may_see(viewer: Viewer, box: Any = Box) -> ColumnElement[bool]:
    """SQL: the viewer may see the `Box` of the enclosing query (or `box`, an alias of it)."""
    if viewer.is_system:
        return and_(box.team_id == viewer.team_id)
    return seen(viewer, box, box.pipeline_id.in_(_whole(viewer)))


def seen(viewer: Viewer, box: Any, in_whole: ColumnElement[bool]) -> ColumnElement[bool]:
    """SQL: the law, given what says that the box's pipeline is open to the viewer."""
    named = box.id.in_(select(_BOXES.c.box_id).where(_BOXES.c.user_id == viewer.user_id))
    if viewer.role == Role.GUEST:
        inherits = and_(or_(box.access.is_(None), box.access == TEAM), in_whole)
        return and_(box.team_id == viewer.team_id, or_(inherits, named))
    inherits = and_(box.access.is_(None), in_whole)
    return and_(
        box.team_id == viewer.team_id,
        or_(inherits, box.access == TEAM, box.owner_id == viewer.user_id, named),
    )


def may_see_pipeline(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: the viewer may see the `Pipeline` of the enclosing query, or some box in it."""
    ours = Pipeline.team_id == viewer.team_id
    if viewer.is_system:
        return ours
    box = Box.__table__.alias("seen_boxes")
    some = exists().where(box.c.pipeline_id == Pipeline.id, may_see(viewer, box.c))
    return and_(ours, or_(Pipeline.id.in_(_whole(viewer)), some))


def is_whole(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: the `Pipeline` of the enclosing query is open to the viewer: they may add boxes to it."""
    whole = or_(literal(viewer.is_system), Pipeline.id.in_(_whole(viewer)))
    return and_(Pipeline.team_id == viewer.team_id, whole)


_BOXES = BoxMember.__table__.alias("box_named")
_PIPELINES = PipelineMember.__table__.alias("pipeline_named")
_OPEN = Pipeline.__table__.alias("team_pipelines")


def _whole(viewer: Viewer) -> Select[Any]:
    """The pipelines that are open to the viewer: all boxes in them that don't say otherwise."""
    table = Pipeline.__table__.alias("open_pipelines")
    named = table.c.id.in_(select(_PIPELINES.c.pipeline_id).where(_PIPELINES.c.user_id == viewer.user_id))
    is_open = named if viewer.role == Role.GUEST else or_(table.c.access == TEAM, named)
    return select(table.c.id).where(table.c.team_id == viewer.team_id, is_open)


def watchers(session: Session, box_ids: Collection[int], users: Iterable[User]) -> set[tuple[int, int]]:
    """Which of these people may see which of these boxes, as (person, box)."""
    table = Box.__table__.alias("watched")
    asked, ids = list(users), list(box_ids)
    if not asked or not ids:
        return set()
    of_team = select(_OPEN.c.id).where(_OPEN.c.access == TEAM)
    is_open = and_(table.c.access.is_(None), table.c.pipeline_id.in_(of_team))
    rows = session.execute(select(table.c.id, table.c.team_id, is_open).where(table.c.id.in_(ids))).all()
    members = [user for user in asked if user.role != Role.GUEST]
    found = {
        (user.id, id_)
        for id_, team_id, everybody in rows
        if everybody
        for user in members
        if user.team_id == team_id
    }
    if any((user.id, id_) not in found for user in asked for id_, _, _ in rows):
        found.update(_watching(session, [id_ for id_, _, _ in rows], asked))
    return found


def _watching(session: Session, ids: Sequence[int], users: Sequence[User]) -> Iterator[tuple[int, int]]:
    """The law for many people, in one question."""
    table = Box.__table__.alias("watched")

    def wanted(user: User) -> Select[Any]:
        viewer = Viewer(user.team_id, user.id, Role(user.role), "access")
        rows = select(literal(user.id, BigInteger()), table.c.id)
        return rows.where(table.c.id.in_(ids), may_see(viewer, table.c))

    yield from ((row[0], row[1]) for row in session.execute(union_all(*map(wanted, users))))


def seers(session: Session, box: Box, users: Iterable[User]) -> list[User]:
    """Those of these people who may see a box: to mention them in it, or to give them its tasks."""
    asked = list(users)
    if box.access is None and box.pipeline.access == TEAM and all(user.role != Role.GUEST for user in asked):
        return asked
    allowed = watchers(session, [box.id], asked)
    return [user for user in asked if (user.id, box.id) in allowed]


# -- changing it


def may_change(viewer: Viewer, thing: Pipeline | Box) -> bool:
    """Whether the viewer says who sees it: an admin, or a box's owner."""
    if viewer.role == Role.GUEST:
        return False
    owns = isinstance(thing, Box) and thing.owner_id is not None and thing.owner_id == viewer.user_id
    return viewer.role == Role.ADMIN or owns


def open_to(session: Session, viewer: Viewer, thing: Pipeline | Box, access: str | None) -> None:
    """Open to the `team`, to named `people`, or, a box, to whom its pipeline is open (None).

    Whoever narrows it is named from then on. Raises `AccessError`.
    """
    _check(viewer, thing)
    if access not in (TEAM, PEOPLE) and not (access is None and isinstance(thing, Box)):
        raise AccessError("Choose the team or named people")
    if thing.access == access:
        return
    thing.access = access
    session.flush()
    if access == PEOPLE and viewer.user_id is not None:
        _add(session, thing, viewer.user_id)
    _record(session, viewer, thing, {"access": access or "pipeline"})


def name(session: Session, viewer: Viewer, thing: Pipeline | Box, user: User) -> None:
    """Name a person who sees it. Raises `AccessError`."""
    _check(viewer, thing)
    if user.team_id != thing.team_id:
        raise AccessError("There is no such person")
    if _add(session, thing, user.id):
        _record(session, viewer, thing, {"named": user.key})


def unname(session: Session, viewer: Viewer, thing: Pipeline | Box, user: User) -> None:
    """Name a person no more. Raises `AccessError` for the last one of what only named people see."""
    _check(viewer, thing)
    session.refresh(thing, ["access"], with_for_update=True)  # two who take one another out: the second is told
    if user.id not in (there := named(session, thing)):
        return
    if thing.access == PEOPLE and len(there) == 1:
        raise AccessError("Somebody has to see it: name another person first, or open it to the team")
    table, column = _table(thing)
    session.execute(delete(table).where(column == thing.id, table.user_id == user.id))
    _record(session, viewer, thing, {"unnamed": user.key})


def arrange(session: Session, viewer: Viewer, thing: Pipeline | Box, access: str | None, who: set[int]) -> None:
    """Say at once who sees it: how it is open, and who (by their ids) is named. Raises `AccessError`."""
    people = session.scalars(select(User).where(User.team_id == thing.team_id, among(User.id, who))).all()
    narrows = access == PEOPLE and thing.access != PEOPLE
    open_to(session, viewer, thing, access)
    for user in sorted(people, key=lambda one: one.id):
        name(session, viewer, thing, user)
    kept = {user.id for user in people} | ({viewer.user_id} if narrows else set())
    gone = select(User).where(among(User.id, named(session, thing) - kept)).order_by(User.id)
    for user in session.scalars(gone).all():
        unname(session, viewer, thing, user)


def named(session: Session, thing: Pipeline | Box) -> set[int]:
    """The ids of those who are named."""
    table, column = _table(thing)
    return set(session.scalars(select(table.user_id).where(column == thing.id)))


def _check(viewer: Viewer, thing: Pipeline | Box) -> None:
    if thing.team_id != viewer.team_id or not (viewer.is_system or may_change(viewer, thing)):
        raise AccessError("Only admins say who sees it, and the owner of a box")


def _table(thing: Pipeline | Box) -> tuple[Any, Any]:
    if isinstance(thing, Box):
        return BoxMember, BoxMember.box_id
    return PipelineMember, PipelineMember.pipeline_id


def _add(session: Session, thing: Pipeline | Box, user_id: int) -> bool:
    table, column = _table(thing)
    row = {"team_id": thing.team_id, column.key: thing.id, "user_id": user_id}
    statement = insert(table).values(**row).on_conflict_do_nothing().returning(table.user_id)
    return session.scalar(statement) is not None


def _record(session: Session, viewer: Viewer, thing: Pipeline | Box, data: dict[str, Any]) -> None:
    is_box = isinstance(thing, Box)
    events.record(
        session,
        viewer.team_id,
        "box.access" if is_box else "pipeline.access",
        actor=viewer.actor,
        user_id=viewer.user_id,
        box_id=thing.id if is_box else None,
        data=data if is_box else {"pipeline": thing.key, **data},
    )
    topics.tell(session, viewer.team_id, [TOPIC])
    for forget in on_change:
        forget(session)


def says_the_same(session: Session, one: Box, other: Box) -> bool:
    """Whether two boxes of a pipeline are open to the same people by what they say themselves."""
    if one.access != other.access:
        return False
    return one.access != PEOPLE or named(session, one) == named(session, other)
