"""Follow-ups: the boxes and tasks that want something of somebody today, and why.

A stage is one to *come back* from if its name says so (Contact back, Revisit, Follow up), and a date field tells
when if it is called like that or like a stage of its pipeline (Revisit on). A box stands in one list only, the
most urgent: its day has come, they wait for our answer, no day is set, nothing has happened for too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, false, func, literal, not_, or_, select, tuple_, union_all
from sqlalchemy.orm import Session, joinedload

from tracker import boxes, snoozes
from tracker.boxes import Box
from tracker.db import among
from tracker.facts import BoxFacts
from tracker.fields import Field, FieldType
from tracker.people import Viewer
from tracker.pipelines import Kind, Pipeline, Stage
from tracker.tasks import Task

COME_BACK = ("contact back", "revisit", "follow up", "follow-up", "followup", "come back", "call back", "get back")
ANSWER_AFTER = timedelta(days=2)  #: a box whose mail waits for longer is to be answered
UNDATED_AFTER = timedelta(days=7)  #: so long after it came there, a box to come back to needs a day
MOST = 99  # a longer list is counted "99+"
FIELDS = 20  # date fields that are looked at
_ON = (" on", " at", " by", " date", " day")


class Part(StrEnum):
    """Why something is to be done, the most urgent first."""

    DUE = "due"  #: a task, or the day to come back, is today or was before
    ANSWER = "answer"  #: their mail waits
    UNDATED = "undated"  #: to come back to, but no day is set
    SLEEPING = "sleeping"  #: neither mail nor a move for longer than the stage allows


@dataclass(frozen=True, slots=True)
class Scope:
    """For whom, and when it is there."""

    viewer: Viewer
    mine: bool  #: the viewer's own boxes and tasks, or the whole team's
    now: datetime
    today: date


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of a list ended: the day or instant that it is ordered by (ISO 8601), and what stood there."""

    at: str
    kind: str  #: task or box
    key: str


@dataclass(frozen=True, slots=True)
class Item:
    """Something to do."""

    part: Part
    box: Box | None
    facts: BoxFacts | None
    task: Task | None
    on: date | None = None
    field: Field | None = None  #: whose day has come
    place: Place | None = None

    @property
    def kind(self) -> str:
        """A task or a box."""
        return "task" if self.task is not None else "box"

    @property
    def key(self) -> str:
        """Of the task, else of the box."""
        one = self.task or self.box
        assert one is not None
        return one.key


@dataclass(frozen=True, slots=True)
class Plan:
    """Which date fields and stages of the team are about coming back."""

    fields: Sequence[Field]
    stage_ids: Sequence[int]


def plan(session: Session, viewer: Viewer) -> Plan:
    """Read the names of the team's stages and date fields."""
    live = (Pipeline.team_id == viewer.team_id, Pipeline.archived_at.is_(None))
    stages = session.execute(
        select(Stage.id, Stage.pipeline_id, Stage.name)
        .join(Pipeline, Pipeline.id == Stage.pipeline_id)
        .where(*live)
    ).all()
    named = {(pipeline_id, name.strip().lower()) for _, pipeline_id, name in stages}
    dates = session.scalars(
        select(Field)
        .join(Pipeline, Pipeline.id == Field.pipeline_id)
        .where(*live, Field.type == FieldType.DATE.value, ~Field.removed)
        .order_by(Field.pipeline_id, Field.position)
    )
    kept = [one for one in dates if _is_day_to_come_back(one, named)]
    return Plan(kept[:FIELDS], [id_ for id_, _, name in stages if _says_come_back(name)])


def _says_come_back(name: str) -> bool:
    return name.strip().lower().startswith(COME_BACK)


def _is_day_to_come_back(field: Field, stages: set[tuple[int, str]]) -> bool:
    name = field.name.strip().lower()
    bare = next((name.removesuffix(end) for end in _ON if name.endswith(end)), name).strip()
    return _says_come_back(name) or (field.pipeline_id, bare) in stages


# -- the questions, in SQL; `Box`, `Stage` and (outer) `BoxFacts` are joined


def _day(field: Field) -> ColumnElement[str]:
    day: ColumnElement[str] = Box.values[field.key].astext
    return day


def _has_come(made: Plan, today: date) -> ColumnElement[bool]:
    # Dates are stored as ISO 8601: as texts, they compare as they should.
    days = [and_(Box.pipeline_id == one.pipeline_id, _day(one) <= today.isoformat()) for one in made.fields]
    return func.coalesce(or_(false(), *days), false())


def _has_day(made: Plan) -> ColumnElement[bool]:
    return or_(false(), *(and_(Box.pipeline_id == one.pipeline_id, _day(one).is_not(None)) for one in made.fields))


def _waits(scope: Scope) -> ColumnElement[bool]:
    return and_(
        Stage.kind == Kind.OPEN.value,
        func.coalesce(BoxFacts.last_received_at < scope.now - ANSWER_AFTER, false()),
        or_(BoxFacts.last_sent_at.is_(None), BoxFacts.last_sent_at < BoxFacts.last_received_at),
    )


def _undated(scope: Scope, made: Plan) -> ColumnElement[bool]:
    return and_(
        Stage.id.in_(made.stage_ids),
        Stage.kind == Kind.OPEN.value,
        Box.stage_entered_at < scope.now - UNDATED_AFTER,
        func.coalesce(BoxFacts.open_task_count, 0) == 0,
        not_(_has_day(made)),
    )


def _sleeps(scope: Scope, made: Plan) -> ColumnElement[bool]:
    """Longer than its stage allows; not while a day or a task says when it goes on."""
    limit = literal(scope.now) - func.make_interval(0, 0, 0, Stage.sleep_days)
    return and_(
        Stage.kind == Kind.OPEN.value,
        Stage.sleep_days.is_not(None),
        Stage.id.not_in(made.stage_ids),
        Box.stage_entered_at < limit,
        or_(BoxFacts.last_mail_at.is_(None), BoxFacts.last_mail_at < limit),
        BoxFacts.next_task_on.is_(None),
        not_(_has_day(made)),
    )


def _in_use() -> ColumnElement[bool]:
    """SQL: the pipeline of the `Box` was not put away, and the box with it."""
    away = select(Pipeline.id).where(Pipeline.id == Box.pipeline_id, Pipeline.archived_at.is_not(None))
    return ~away.correlate(Box).exists()


def _boxes(scope: Scope, query: Any) -> Any:
    """Listed boxes of the scope that the viewer has not put off."""
    query = (
        query.select_from(Box)
        .join(Stage, Stage.id == Box.stage_id)
        .outerjoin(BoxFacts, BoxFacts.box_id == Box.id)
        .where(Box.team_id == scope.viewer.team_id, boxes.is_listed(), _in_use())
        .where(not_(snoozes.box_sleeps(scope.viewer, scope.now)))
    )
    return query.where(Box.owner_id == scope.viewer.user_id) if scope.mine else query


def _due(scope: Scope, made: Plan) -> Any:
    """Tasks and boxes of which the day has come: kind, id, day, field."""
    tasks = (
        select(
            literal("task").label("kind"),
            Task.id.label("id"),
            func.to_char(Task.due_on, "YYYY-MM-DD").label("day"),
            literal("").label("field"),
        )
        .outerjoin(Box, Box.id == Task.box_id)
        .where(Task.team_id == scope.viewer.team_id, Task.done_at.is_(None), Task.due_on <= scope.today)
        .where(or_(Task.box_id.is_(None), and_(boxes.is_listed(), _in_use())))
    )
    if scope.mine:
        tasks = tasks.where(Task.assignee_id == scope.viewer.user_id)
    parts: list[Any] = [tasks]
    for one in made.fields:
        columns = select(literal("box"), Box.id, _day(one), literal(one.key))
        parts.append(
            _boxes(scope, columns).where(Box.pipeline_id == one.pipeline_id, _day(one) <= scope.today.isoformat())
        )
    return union_all(*parts).subquery("due")


def _part(scope: Scope, made: Plan, part: Part) -> tuple[Any, Any]:
    """The boxes of a list, and what they are ordered by, the latest first."""
    at = Box.stage_entered_at.expression
    query = _boxes(scope, select(Box.id)).where(not_(_has_come(made, scope.today)))
    if part == Part.ANSWER:
        return query.where(_waits(scope)), BoxFacts.last_received_at.expression
    query = query.where(not_(_waits(scope)))
    if part == Part.UNDATED:
        return query.where(_undated(scope, made)), at
    return query.where(_sleeps(scope, made)), at


# -- the lists


def page(
    session: Session, scope: Scope, made: Plan, part: Part, limit: int, after: Place | None = None
) -> tuple[list[Item], Place | None]:
    """Some of a list, and where the next begin."""
    found = _due_page(session, scope, made, limit, after) if part == Part.DUE else None
    if found is None:
        found = _box_page(session, scope, made, part, limit, after)
    items = _items(session, made, part, found[:limit])
    return items, items[-1].place if len(found) > limit and items else None


Found = tuple[str, int, str, str]  # kind, id, day or instant, field's key


def _due_page(session: Session, scope: Scope, made: Plan, limit: int, after: Place | None) -> list[Found]:
    due = _due(scope, made)
    query = select(due.c.kind, due.c.id, due.c.day, due.c.field)
    if after is not None:
        id_ = _id_of(session, scope.viewer, after)
        query = query.where(
            tuple_(due.c.day, due.c.kind, due.c.id) > tuple_(literal(after.at), literal(after.kind), literal(id_))
        )
    query = query.order_by(due.c.day, due.c.kind, due.c.id).limit(limit + 1)
    return [(row[0], row[1], row[2], row[3]) for row in session.execute(query)]


def _box_page(
    session: Session, scope: Scope, made: Plan, part: Part, limit: int, after: Place | None
) -> list[Found]:
    query, at = _part(scope, made, part)
    if after is not None:
        place = tuple_(literal(datetime.fromisoformat(after.at)), literal(_id_of(session, scope.viewer, after)))
        query = query.where(tuple_(at, Box.id) < place)
    query = query.add_columns(at.label("at")).order_by(at.desc(), Box.id.desc()).limit(limit + 1)
    return [("box", id_, when.isoformat(), "") for id_, when in session.execute(query)]


def _id_of(session: Session, viewer: Viewer, place: Place) -> int:
    what: Any = Task if place.kind == "task" else Box
    return session.scalar(select(what.id).where(what.team_id == viewer.team_id, what.key == place.key)) or 0


def _items(session: Session, made: Plan, part: Part, found: Sequence[Found]) -> list[Item]:
    tasks = {
        task.id: task
        for task in session.scalars(
            select(Task)
            .where(among(Task.id, [id_ for kind, id_, _, _ in found if kind == "task"]))
            .options(joinedload(Task.assignee))
        )
    }
    ids = [id_ for kind, id_, _, _ in found if kind == "box"] + [
        one.box_id for one in tasks.values() if one.box_id
    ]
    loaded = {
        box.id: (box, facts)
        for box, facts in session.execute(
            select(Box, BoxFacts)
            .outerjoin(BoxFacts, BoxFacts.box_id == Box.id)
            .where(among(Box.id, ids))
            .options(joinedload(Box.stage), joinedload(Box.pipeline), joinedload(Box.owner))
            .options(joinedload(Box.organization))
        )
    }
    columns = {one.key: one for one in made.fields}
    items = []
    for kind, id_, at, field_key in found:
        task = tasks.get(id_) if kind == "task" else None
        box_id = task.box_id if task is not None else id_
        box, facts = loaded.get(box_id or 0, (None, None))
        one = task or box
        if one is None:  # gone between two statements
            continue
        on = date.fromisoformat(at) if part == Part.DUE else None
        items.append(Item(part, box, facts, task, on, columns.get(field_key), Place(at, kind, one.key)))
    return items


def counts(session: Session, scope: Scope, made: Plan, parts: Sequence[Part] = tuple(Part)) -> dict[Part, int]:
    """How many each list (of these) holds, counted no further than one above `MOST`; in one query."""

    def number(part: Part) -> ColumnElement[int]:
        query: Any = _part(scope, made, part)[0] if part != Part.DUE else select(_due(scope, made).c.id)
        return select(func.count()).select_from(query.limit(MOST + 1).subquery()).scalar_subquery()

    numbers = [number(part) for part in parts]
    return dict(zip(parts, session.execute(select(*numbers)).one(), strict=True))


def is_anything_due(session: Session, scope: Scope) -> bool:
    """Whether the day begins with follow-ups; in three queries."""
    made = plan(session, scope.viewer)
    due = select(_due(scope, made).c.id).limit(1).scalar_subquery()
    parts = [
        _part(scope, made, part)[0].limit(1).scalar_subquery()
        for part in (Part.ANSWER, Part.UNDATED, Part.SLEEPING)
    ]
    return bool(session.scalar(select(or_(due.is_not(None), *(part.is_not(None) for part in parts)))))


def clear_day(session: Session, viewer: Viewer, box: Box, field: Field) -> Any:
    """The day has been kept: empty the field. Returns what stood there."""
    before = box.values.get(field.key)
    boxes.set_value(session, viewer, box, field, None)
    return before
