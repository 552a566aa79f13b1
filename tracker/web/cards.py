"""A board's columns and cards: read in a fixed number of queries, however many boxes there are.

What a card says of mail and tasks stands in the box's facts and is joined; nothing is counted. Only what a filter
leaves is counted, and that up to a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, func, literal, select, true, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, aliased, joinedload

from tracker import boxes, sight, totals
from tracker.box_filters import THEM, US, BoxFilter
from tracker.boxes import Box, BoxContact
from tracker.contacts import Contact
from tracker.db import among
from tracker.facts import BoxFacts
from tracker.fields import Field, FieldType
from tracker.filing import FILED, Filing
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message
from tracker.people import Viewer
from tracker.pipelines import Kind, Pipeline, Stage
from tracker.tasks import Task
from tracker.web.cursor import Cursor

PAGE = 25  # cards of a column at a time
MOST = 200  # cards of a column that is read again as far as it was scrolled
COUNTED = 5_000  # boxes of a stage that a filter's count goes up to
NAMED = 2  # contacts of a card
TAGS = 3


@dataclass(frozen=True, slots=True)
class Look:
    """Who looks at a pipeline, when, and at which of its boxes."""

    viewer: Viewer
    now: datetime
    fields: Sequence[Field]
    chosen: BoxFilter
    zone: tzinfo = UTC

    @property
    def today(self) -> date:
        """The viewer's day."""
        return self.now.astimezone(self.zone).date()

    def conditions(self) -> list[ColumnElement[bool]]:
        """SQL: what the filter asks of a box."""
        return self.chosen.conditions(self.viewer, self.now, self.fields, self.zone)


@dataclass(frozen=True, slots=True)
class Mark:
    """A small line of another room's on a card."""

    icon: str  #: the id of a symbol in static/icons.svg
    words: str
    title: str = ""


Marks = Callable[[Session, Viewer, Collection[int]], Mapping[int, Mark]]  #: of boxes, by their ids, all at once
_marks: list[Marks] = []


def register_mark(marks: Marks) -> None:
    """Show something of another room's on the cards of boxes; registered twice, it is shown once."""
    if marks not in _marks:
        _marks.append(marks)


@dataclass(slots=True)
class Card:
    """What a rep decides on."""

    box: Box
    facts: BoxFacts | None
    contacts: list[str] = field(default_factory=list)  #: the first names
    contact_count: int = 0
    unread: bool = False  #: the viewer has unread mail in it
    task: Task | None = None  #: the next one
    overdue: bool = False
    owes: str = ""  #: who has to answer, `us` or `them`
    asleep: bool = False
    tags: list[str] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)


@dataclass(slots=True)
class Head:
    """How many boxes a column holds and what they are worth, by currency."""

    count: int = 0
    amounts: dict[str, Decimal] = field(default_factory=dict)
    more: bool = False  #: there are more than were counted


@dataclass(frozen=True, slots=True)
class Column:
    """A stage's first cards, and where the next begin."""

    stage: Stage
    head: Head
    cards: Sequence[Card]
    more: Cursor | None

    @property
    def count(self) -> int:
        """Its boxes."""
        return self.head.count


def board(session: Session, look: Look, pipeline: Pipeline, stages: Sequence[Stage]) -> list[Column]:
    """Every stage with its first cards."""
    counted = heads(session, look, pipeline.id, stages)
    some = _in_stage(look, Stage.id, None, PAGE).correlate(Stage).lateral()
    query = select(some.c.id).select_from(Stage).join(some, true())
    ids = session.scalars(query.where(among(Stage.id, [stage.id for stage in stages])))
    found = _cards(session, look, list(ids), {stage.id: stage for stage in stages})
    return [
        _column(stage, counted[stage.id], [card for card in found if card.box.stage_id == stage.id], PAGE)
        for stage in stages
    ]


def column(session: Session, look: Look, stage: Stage, after: Cursor | None = None, limit: int = PAGE) -> Column:
    """A stage's next cards after a cursor."""
    ids = session.scalars(_in_stage(look, literal(stage.id), after, limit))
    found = _cards(session, look, list(ids), {stage.id: stage})
    return _column(stage, heads(session, look, stage.pipeline_id, [stage])[stage.id], found, limit)


def _in_stage(look: Look, stage_id: SQLColumnExpression[int], after: Cursor | None, limit: int) -> Select[int]:
    query = select(Box.id).where(Box.stage_id == stage_id, boxes.is_listed())
    if look.chosen:
        query = query.outerjoin(BoxFacts, BoxFacts.box_id == Box.id).where(*look.conditions())
    if after is not None:
        seen = aliased(Box)
        there = select(seen.id).where(seen.team_id == look.viewer.team_id, seen.key == after.key).scalar_subquery()
        query = query.where(
            tuple_(Box.stage_entered_at, Box.id) < tuple_(literal(after.at), func.coalesce(there, 0))
        )
    return query.order_by(Box.stage_entered_at.desc(), Box.id.desc()).limit(limit + 1)


def _column(stage: Stage, head: Head, found: Sequence[Card], limit: int) -> Column:
    shown = found[:limit]
    last = shown[-1].box if len(found) > limit else None
    return Column(stage, head, shown, Cursor(last.stage_entered_at, last.key) if last else None)


def heads(session: Session, look: Look, pipeline_id: int, stages: Sequence[Stage]) -> dict[int, Head]:
    """Counts and worth of stages: kept totals, or, of what a filter or the gate leaves, counted up to a bound.

    Of kept totals, the few boxes in a pipeline that are hidden from the viewer are taken off.
    """
    found = {stage.id: Head() for stage in stages}
    if not look.chosen and sight.is_whole(session, pipeline_id):
        for stage_id, total in totals.of_pipeline(session, pipeline_id).items():
            if stage_id in found:
                found[stage_id] = Head(total.boxes, total.amounts)
        _take_hidden(session, pipeline_id, found)
        return found
    some = (
        select(Box.value_currency.label("currency"), Box.value_amount.label("amount"))
        .outerjoin(BoxFacts, BoxFacts.box_id == Box.id)
        .where(Box.stage_id == Stage.id, boxes.is_listed(), *look.conditions())
        .limit(COUNTED + 1)
        .correlate(Stage)
        .lateral()
    )
    query = (
        select(Stage.id, some.c.currency, func.count(), func.sum(some.c.amount))
        .join(some, true())
        .where(among(Stage.id, found))
        .group_by(Stage.id, some.c.currency)
    )
    for stage_id, currency, count, amount in session.execute(query):
        head = found[stage_id]
        head.count += count
        if currency:
            head.amounts[currency] = amount
    for head in found.values():
        head.more, head.count = head.count > COUNTED, min(head.count, COUNTED)
    return found


def _take_hidden(session: Session, pipeline_id: int, found: dict[int, Head]) -> None:
    box = Box.__table__.alias("hidden_boxes")
    unseen = sight.hidden(session, pipeline_id, box.c) if not sight.sees_all(session, pipeline_id) else None
    if unseen is None:
        return
    query = (
        select(box.c.stage_id, box.c.value_currency, func.count(), func.sum(box.c.value_amount))
        .where(unseen, box.c.archived_at.is_(None), box.c.deleted_at.is_(None), box.c.stage_id.in_(list(found)))
        .group_by(box.c.stage_id, box.c.value_currency)
    )
    for stage_id, currency, count, amount in session.execute(query):
        head = found[stage_id]
        head.count -= count
        if currency in head.amounts:
            head.amounts[currency] -= amount or 0
            if not head.amounts[currency]:  # it may be the only one of its currency
                del head.amounts[currency]


def _cards(session: Session, look: Look, ids: Sequence[int], stages: dict[int, Stage]) -> list[Card]:
    query = (
        select(Box, BoxFacts)
        .outerjoin(BoxFacts, BoxFacts.box_id == Box.id)
        .where(among(Box.id, ids))
        .options(joinedload(Box.owner), joinedload(Box.organization))
        .order_by(Box.stage_entered_at.desc(), Box.id.desc())
    )
    made = {box.id: Card(box, facts) for box, facts in session.execute(query)}
    _add_contacts(session, made)
    _add_unread(session, look.viewer, made)
    _add_tasks(session, look.today, made)
    for marks in _marks:
        for box_id, mark in marks(session, look.viewer, list(made)).items():
            made[box_id].marks.append(mark)
    tagged = [one.key for one in look.fields if one.type == FieldType.TAGS]
    for id_, card in list(made.items()):
        stage = stages.get(card.box.stage_id)
        if stage is None:  # moved out of these stages since its id was read
            del made[id_]
            continue
        card.owes = owes(card.facts, stage)
        card.asleep = is_asleep(card.box, card.facts, stage, look.now)
        card.tags = [str(tag) for key in tagged for tag in card.box.values.get(key) or ()]
    return list(made.values())


def owes(facts: BoxFacts | None, stage: Stage) -> str:
    """Who has to answer next; see `box_filters.owed_by`, which is the same in SQL."""
    if facts is None:
        return ""
    sent, received = facts.last_sent_at, facts.last_received_at
    if received is not None and (sent is None or received > sent):
        return US
    waiting = sent is not None and (received is None or sent > received)
    return THEM if waiting and stage.kind == Kind.OPEN else ""


def is_asleep(box: Box, facts: BoxFacts | None, stage: Stage, now: datetime) -> bool:
    """Neither mail nor a move for longer than the stage allows; see `box_filters.asleep`."""
    if stage.sleep_days is None:
        return False
    mail = facts.last_mail_at if facts else None
    return max(box.stage_entered_at, mail or box.stage_entered_at) < now - timedelta(days=stage.sleep_days)


def _add_contacts(session: Session, made: dict[int, Card]) -> None:
    first = (
        select(
            BoxContact.box_id,
            Contact.name,
            func.row_number()
            .over(partition_by=BoxContact.box_id, order_by=(Contact.name, Contact.id))
            .label("place"),
            func.count().over(partition_by=BoxContact.box_id).label("number"),
        )
        .join(Contact, Contact.id == BoxContact.contact_id)
        .where(among(BoxContact.box_id, made))
        .subquery()
    )
    query = select(first.c.box_id, first.c.name, first.c.number).where(first.c.place <= NAMED)
    for box_id, name, number in session.execute(query.order_by(first.c.box_id, first.c.place)):
        made[box_id].contacts.append(name)
        made[box_id].contact_count = number


def _add_unread(session: Session, viewer: Viewer, made: dict[int, Card]) -> None:
    query = (
        select(Filing.box_id)
        .join(Message, Message.conversation_id == Filing.conversation_id)
        .join(Copy, Copy.message_id == Message.id)
        .join(Mailbox, Mailbox.id == Copy.mailbox_id)
        .where(
            among(Filing.box_id, made),
            Filing.state == FILED,
            Mailbox.user_id == viewer.user_id,
            Copy.label_ids.contains(["UNREAD"]),
            ~Copy.hidden,
        )
        .distinct()
    )
    for box_id in session.scalars(query):
        if box_id is not None:
            made[box_id].unread = True


def _add_tasks(session: Session, today: date, made: dict[int, Card]) -> None:
    query = (
        select(Task)
        .where(among(Task.box_id, made), Task.done_at.is_(None))
        .ext(distinct_on(Task.box_id))
        .order_by(Task.box_id, Task.due_on.asc().nulls_last(), Task.id)
    )
    for task in session.scalars(query):
        if task.box_id is not None:
            card = made[task.box_id]
            card.task, card.overdue = task, task.due_on is not None and task.due_on < today


def known_tags(session: Session, pipeline_id: int, columns: Sequence[Field], recent: int = 500) -> list[str]:
    """Tags to choose from: those of the pipeline's newest boxes."""
    keys = [column.key for column in columns if column.type == FieldType.TAGS]
    if not keys:
        return []
    query = (
        select(*(Box.values[key] for key in keys))
        .where(Box.pipeline_id == pipeline_id, boxes.is_listed())
        .order_by(Box.created_at.desc(), Box.id.desc())
        .limit(recent)
    )
    found = {str(tag) for row in session.execute(query) for tags in row for tag in tags or ()}
    return sorted(found, key=str.casefold)
