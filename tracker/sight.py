"""Sight: all that a session reads, it reads as one person. The gate of `tracker.access`, before every question.

A page, an export or a feed says once whose eyes it has (`look_as`); from then on no SELECT of that session finds a
box or a pipeline that they may not see, nor what hangs on one (tasks, notes, filings, events …), whoever wrote the
query and however it joins. Whoever forgets to ask is asked for. Every table with a `box_id` or `pipeline_id` is
behind the gate by itself. Rules that have to know all boxes say so (`everything`).

Where nothing in a team is narrowed, one small question finds that out, and its members' queries stay as they are.
The same question tells what the message gate needs to know beforehand (`ask_also`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    and_,
    any_,
    bindparam,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy import event as listens
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction, with_loader_criteria

from tracker import access
from tracker.access import TEAM, PipelineMember, seen
from tracker.boxes import Box, BoxContact
from tracker.contacts import Contact, ContactAddress
from tracker.db import SIGHT, Base, among, everything
from tracker.events import Event
from tracker.filing import Filing
from tracker.links import BoxLink
from tracker.organizations import Organization, OrganizationDomain
from tracker.people import Role, Viewer
from tracker.pipelines import Pipeline, Stage
from tracker.tasks import Task
from tracker.topics import WATCH_LIMIT

#: What says of itself who sees it: the mail of the outbox (its sender), what the gate itself reads, kept sums,
#: facts that are only ever joined to their box; what people said about sharing their own mail, which they may take
#: back in a pipeline that was closed to them; and what they are told, which has a rule of its own.
_OUTSIDE = {
    "box_members", "pipeline_members", "scheduled_emails", "sequence_runs", "tracked_emails", "stage_totals",
    "box_facts", "boxes", "sharing_rules", "sharing_grants", "kept_shares", "notifications",
}  # fmt: skip
_TOPICS: dict[str, Any] = {
    "box": Box, "pipeline": Pipeline, "stage": Stage, "contact": Contact, "organization": Organization,
}  # fmt: skip
__all__ = [
    "NARROWED", "ask_also", "everything", "hidden", "is_whole", "knowing", "look_as", "seen_by", "sees_all",
    "sees_everything", "viewer_of", "watchable",
]  # fmt: skip
_NAMING = ("box.linked", "box.unlinked")  # events whose data names another box
NARROWED = "n"  #: among what is said: a pipeline or a box is not open to all members
_SEEN = Box.__table__.alias("seen_boxes")  # one for all: SQLAlchemy makes an alias's columns anew each time
_also: list[Callable[[Viewer], ColumnElement[str]]] = []  # asked along; letters
_said_in: set[str] = set()  # the tables that they look at


@dataclass(frozen=True, slots=True)
class Reach:
    """The pipelines of a team, as one person sees them."""

    everything: bool  #: nothing is narrowed: there is no gate to ask
    whole: frozenset[int] = frozenset()  #: open to them
    parts: frozenset[int] = frozenset()  #: of which they see single boxes only
    mixed: frozenset[int] = frozenset()  #: that hold boxes which only named people see
    said: str = ""  #: what there is of that which `ask_also` asks for


@dataclass(slots=True)
class Sight:
    """Whose eyes a session has."""

    viewer: Viewer
    reach: Reach | None = None
    options: Sequence[Any] = ()


def look_as(session: Session, viewer: Viewer) -> Viewer:
    """From now on the session reads as this viewer; system work sees all of its team.

    Returns the viewer, who knows what was said in the team; for this session's questions only.
    """
    now = session.info.get(SIGHT)
    if now is None or now.viewer != viewer:
        session.info[SIGHT] = None if viewer.is_system else Sight(viewer)
    return viewer if viewer.is_system else replace(viewer, said=partial(_said, session, viewer))


def knowing(session: Session, viewer: Viewer) -> Viewer:
    """The viewer, who knows what was said in the team if they are whose eyes the session has."""
    eyes = viewer_of(session)
    if eyes is None or (eyes.team_id, eyes.user_id, eyes.role) != (viewer.team_id, viewer.user_id, viewer.role):
        return viewer
    return replace(viewer, said=partial(_said, session, eyes))


def ask_also(question: Callable[[Viewer], ColumnElement[str]], tables: Collection[str]) -> None:
    """Ask this along with what is narrowed: letters, told by `Viewer.said`; again after a change in its tables."""
    _also.append(question)
    _said_in.update(tables)


def _said(session: Session, viewer: Viewer) -> str:
    with seen_by(session, viewer) if viewer_of(session) != viewer else nullcontext():
        reach = _reach(session)
    assert reach is not None
    return reach.said + ("" if reach.everything else NARROWED)


@contextmanager
def seen_by(session: Session, viewer: Viewer) -> Iterator[None]:
    """Read as this viewer for a while."""
    before = session.info.get(SIGHT)
    session.info[SIGHT] = None if viewer.is_system else Sight(viewer)
    try:
        yield
    finally:
        session.info[SIGHT] = before


def viewer_of(session: Session) -> Viewer | None:
    """Whose eyes the session has, if anybody's."""
    sight = session.info.get(SIGHT)
    return sight.viewer if sight is not None else None


def is_whole(session: Session, pipeline_id: int) -> bool:
    """Whether the session's reader may work in a pipeline: add boxes, change its settings.

    Not in one of which they see only single boxes.
    """
    reach = _reach(session)
    return reach is None or reach.everything or pipeline_id in reach.whole


def sees_everything(session: Session) -> bool:
    """Whether nothing in the team is narrowed for the session's reader."""
    reach = _reach(session)
    return reach is None or reach.everything


def sees_all(session: Session, pipeline_id: int) -> bool:
    """Whether no box of a pipeline is hidden from the session's reader: kept sums are true for them."""
    reach = _reach(session)
    return reach is None or reach.everything or (pipeline_id in reach.whole and pipeline_id not in reach.mixed)


def hidden(session: Session, pipeline_id: int, box: Any) -> ColumnElement[bool] | None:
    """SQL: of a pipeline that is open to the session's reader, the boxes that are not.

    `box` is the columns of an alias of the table. None for a pipeline of which they see only single boxes.
    """
    reach, viewer = _reach(session), viewer_of(session)
    if reach is None or viewer is None or pipeline_id not in reach.whole:
        return None
    shown = func.coalesce(_condition(viewer, reach.whole, box), false())  # nobody owns some
    return and_(box.pipeline_id == pipeline_id, box.access.is_not(None), ~shown)


def watchable(session: Session, given: str) -> str:
    """Of the topics that a page asks for (see `topics`) those of what the session's reader may see."""
    reach = _reach(session)
    if reach is None or reach.everything:
        return given
    asked = given.split(",", WATCH_LIMIT)[:WATCH_LIMIT]
    viewer = viewer_of(session)
    if viewer is not None and viewer.role == Role.GUEST:  # of every task of the team; theirs are told as `inbox`
        asked = [name for name in asked if name != "tasks"]
    seen = {name for name in asked if name.partition(":")[0] not in _TOPICS}
    for kind, model in _TOPICS.items():
        keys = [name.partition(":")[2] for name in asked if name.startswith(f"{kind}:")]
        found = session.scalars(select(model.key).where(among(model.key, keys))) if keys else ()
        seen.update(f"{kind}:{key}" for key in found)
    return ",".join(name for name in asked if name in seen)


def _reach(session: Session) -> Reach | None:
    sight: Sight | None = session.info.get(SIGHT)
    if sight is None:
        return None
    if sight.reach is None:
        sight.reach = _look(session, sight.viewer)
        sight.options = () if sight.reach.everything else tuple(_options(sight.viewer, sight.reach))
    return sight.reach


def _look(session: Session, viewer: Viewer) -> Reach:
    """What is open to them. One small question, a second only where something is narrowed."""
    asked, said_alone = _questions(len(_also))
    who = {"team_id": viewer.team_id, "user_id": viewer.user_id}
    rows = session.connection().execute(asked, who).all()
    said = "".join(rows[0][4:] if rows else session.connection().execute(said_alone, who).one())
    if viewer.role != Role.GUEST and all(row[1] == TEAM and not row[3] for row in rows):
        return Reach(everything=True, said=said)
    whole = {row[0] for row in rows if row[2] or (row[1] == TEAM and viewer.role != Role.GUEST)}
    mixed = {row[0] for row in rows if row[3]}
    rest = {row[0] for row in rows} - whole
    box = _SEEN
    some = (
        select(box.c.pipeline_id).where(_any(box.c.pipeline_id, rest), _condition(viewer, whole, box.c)).distinct()
    )
    parts = set(session.connection().scalars(some)) if rest else set()
    return Reach(False, frozenset(whole), frozenset(parts), frozenset(mixed), said)


@cache
def _questions(_: int) -> tuple[Select[Any], Select[Any]]:
    """What is asked of a team's pipelines, and what is said in a team that has none: made once for all."""
    pipelines, boxes, named = Pipeline.__table__, Box.__table__, PipelineMember.__table__
    team_id: Any = bindparam("team_id", type_=BigInteger())
    user_id: Any = bindparam("user_id", type_=BigInteger())
    anybody = Viewer(team_id, user_id, Role.MEMBER, "question")
    also: list[Any] = [question(anybody) for question in _also]
    asked = select(
        pipelines.c.id,
        pipelines.c.access,
        exists().where(named.c.pipeline_id == pipelines.c.id, named.c.user_id == anybody.user_id),
        exists().where(boxes.c.pipeline_id == pipelines.c.id, boxes.c.access.is_not(None)),
        *also,
    ).where(pipelines.c.team_id == anybody.team_id)
    return asked, select(*also)


def _any(column: Any, ids: set[int] | frozenset[int]) -> ColumnElement[bool]:
    return and_(column == any_(literal(sorted(ids), ARRAY(BigInteger()))))


def _condition(viewer: Viewer, whole: set[int] | frozenset[int], box: Any) -> ColumnElement[bool]:
    return seen(viewer, box, _any(box.pipeline_id, whole))


def _options(viewer: Viewer, reach: Reach) -> Iterator[Any]:
    """The gate, for every table that it stands before."""

    def add(model: type[Base], condition: ColumnElement[bool]) -> Any:
        return with_loader_criteria(model, condition, include_aliases=True, propagate_to_loaders=False)

    shown = _condition(viewer, reach.whole, _SEEN.c)

    def there(column: Any) -> ColumnElement[bool]:
        return exists(select(_SEEN.c.id).where(_SEEN.c.id == column, shown).correlate_except(_SEEN))

    known = reach.whole | reach.parts
    yield add(Box, _condition(viewer, reach.whole, Box))
    yield add(Pipeline, and_(Pipeline.team_id == viewer.team_id, _any(Pipeline.id, known)))
    yield add(BoxLink, and_(there(BoxLink.one_id), there(BoxLink.other_id)))
    for model, of_box, of_pipeline in _behind():
        conditions = []
        if of_pipeline is not None:
            conditions.append(or_(of_pipeline.is_(None), _any(of_pipeline, known)))
        if of_box is not None:
            conditions.append(or_(and_(of_box.is_(None), _without_box(model, viewer, reach)), there(of_box)))
        yield add(model, and_(*conditions))
    yield add(Event, _event(viewer, reach))
    if viewer.role == Role.GUEST:
        yield from (add(model, condition) for model, condition in _directory(viewer, reach))


def _without_box(model: type[Base], viewer: Viewer, reach: Reach) -> ColumnElement[bool]:
    """What hangs on no box: the offer of a new one in a pipeline that is open to them; a guest's own tasks."""
    if model is Filing:
        return _any(Filing.pipeline_id, reach.whole)
    if model is Task and viewer.role == Role.GUEST:
        return or_(Task.assignee_id == viewer.user_id, Task.created_by_id == viewer.user_id)
    return true()


def _event(viewer: Viewer, reach: Reach) -> ColumnElement[bool]:
    """Events of a box are its own; some name another box, which has to be seen too."""
    box = Box.__table__.alias("named_box")
    other = exists().where(box.c.key == Event.data["box"].astext, _condition(viewer, reach.whole, box.c))
    shown = or_(Event.kind.not_in(_NAMING), other)
    if viewer.role != Role.GUEST:
        return shown
    return and_(shown, or_(Event.box_id.is_not(None), Event.user_id == viewer.user_id))


def _directory(viewer: Viewer, reach: Reach) -> Iterator[tuple[type[Base], ColumnElement[bool]]]:
    """What a guest knows of contacts and organizations: those of their boxes."""
    box, link = Box.__table__.alias("seen_boxes"), BoxContact.__table__.alias("seen_contacts")
    inside = _condition(viewer, reach.whole, box.c)
    joined = link.join(box, box.c.id == link.c.box_id)
    contacts = select(link.c.contact_id).select_from(joined).where(inside)
    of_boxes = select(box.c.organization_id).where(inside, box.c.organization_id.is_not(None))
    person = Contact.__table__.alias("seen_people")
    of_people = select(person.c.organization_id).where(
        person.c.id.in_(contacts), person.c.organization_id.is_not(None)
    )
    yield Contact, Contact.id.in_(contacts)
    yield ContactAddress, ContactAddress.contact_id.in_(contacts)
    for model, column in (
        (Organization, Organization.id),
        (OrganizationDomain, OrganizationDomain.organization_id),
    ):
        yield model, or_(column.in_(of_boxes), column.in_(of_people))


@cache
def _behind() -> tuple[tuple[type[Base], Any, Any], ...]:
    """Every mapped class that hangs on a box or a pipeline, with the columns that say on which."""
    found = []
    for mapper in Base.registry.mappers:
        model = mapper.class_
        of_box, of_pipeline = getattr(model, "box_id", None), getattr(model, "pipeline_id", None)
        if model.__tablename__ not in _OUTSIDE and (of_box is not None or of_pipeline is not None):
            found.append((model, of_box, of_pipeline))
    return tuple(sorted(found, key=lambda one: str(one[0].__tablename__)))


def _gate(state: ORMExecuteState) -> None:
    sight: Sight | None = state.session.info.get(SIGHT)
    if sight is not None and not state.is_select and _writes_what_was_said(state):
        _forget(state.session)
    if sight is None or not state.is_select or state.is_column_load:
        return
    if not hasattr(state.statement, "options"):  # written as text: its author asks `is_whole` and `sees_all`
        return
    _reach(state.session)
    if sight.options:
        state.statement = state.statement.options(*sight.options)


def _forget(session: Session) -> None:
    """Somebody may see more or less than before: ask again."""
    sight: Sight | None = session.info.get(SIGHT)
    if sight is not None:
        sight.reach, sight.options = None, ()


def _writes_what_was_said(state: ORMExecuteState) -> bool:
    return getattr(getattr(state.statement, "table", None), "name", None) in _said_in


def _forget_said(session: Session, _: object) -> None:
    if session.info.get(SIGHT) is not None and any(one.__tablename__ in _said_in for one in session.new):
        _forget(session)


def _end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:  # until a page has the next one, others may have said something
        _forget(session)


listens.listen(Session, "do_orm_execute", _gate)
listens.listen(Session, "after_transaction_end", _end)
listens.listen(Session, "after_flush", _forget_said)
access.on_change.append(_forget)
