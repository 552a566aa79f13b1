"""A board's columns and cards: read in a fixed number of queries, however many boxes there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, literal, select, true, tuple_
from sqlalchemy.orm import Session, aliased, joinedload, selectinload

from tracker import boxes
from tracker.boxes import Box
from tracker.filing import FILED, Filing
from tracker.messages import Message
from tracker.people import Viewer
from tracker.pipelines import Pipeline, Stage
from tracker.sharing import may_read
from tracker.web.cursor import Cursor

PAGE = 25  # cards of a column at a time


@dataclass(frozen=True, slots=True)
class Card:
    """What a rep decides on."""

    box: Box
    last_mail: datetime | None


@dataclass(frozen=True, slots=True)
class Column:
    """A stage's first cards, and where the next begin."""

    stage: Stage
    count: int
    cards: Sequence[Card]
    more: Cursor | None


def board(session: Session, viewer: Viewer, pipeline: Pipeline, stages: Sequence[Stage]) -> list[Column]:
    """Every stage with its first cards, in five queries."""
    counts = boxes.counts(session, pipeline.id)
    first = aliased(Box)
    some = (
        select(first.id)
        .where(first.stage_id == Stage.id, boxes.is_listed(first))
        .order_by(first.stage_entered_at.desc(), first.id.desc())
        .limit(PAGE + 1)
        .lateral()
    )
    ids = session.scalars(
        select(some.c.id).select_from(Stage).join(some, true()).where(Stage.pipeline_id == pipeline.id)
    )
    found = _loaded(session, list(ids))
    mail = last_mail(session, viewer, (box.id for box in found))
    return [
        _column(stage, counts.get(stage.id, 0), [box for box in found if box.stage_id == stage.id], mail)
        for stage in stages
    ]


def column(session: Session, viewer: Viewer, stage: Stage, after: Cursor | None) -> Column:
    """A stage's next cards after a cursor."""
    query = select(Box.id).where(Box.stage_id == stage.id, boxes.is_listed())
    if after is not None:
        seen = select(Box.id).where(Box.team_id == viewer.team_id, Box.key == after.key).scalar_subquery()
        place = tuple_(Box.stage_entered_at, Box.id)
        query = query.where(place < tuple_(literal(after.at), func.coalesce(seen, 0)))
    query = query.order_by(Box.stage_entered_at.desc(), Box.id.desc()).limit(PAGE + 1)
    found = _loaded(session, list(session.scalars(query)))
    count = boxes.counts(session, stage.pipeline_id).get(stage.id, 0)
    return _column(stage, count, found, last_mail(session, viewer, (box.id for box in found)))


def _loaded(session: Session, ids: Sequence[int]) -> Sequence[Box]:
    query = (
        select(Box)
        .where(Box.id.in_(ids))
        .options(joinedload(Box.owner), joinedload(Box.organization), selectinload(Box.contacts))
        .order_by(Box.stage_entered_at.desc(), Box.id.desc())
    )
    return session.scalars(query).all() if ids else []


def _column(stage: Stage, count: int, found: Sequence[Box], mail: dict[int, datetime]) -> Column:
    shown = found[:PAGE]
    more = Cursor(shown[-1].stage_entered_at, shown[-1].key) if len(found) > PAGE else None
    return Column(stage, count, [Card(box, mail.get(box.id)) for box in shown], more)


def last_mail(session: Session, viewer: Viewer, box_ids: Iterable[int]) -> dict[int, datetime]:
    """When the last mail that the viewer may read came or went, by box."""
    filing = aliased(Filing)  # `may_read` asks Filing too, and must not be tied to this one
    filed = filing.box_id.in_(list(box_ids)), filing.state == FILED
    query = (
        select(filing.box_id, func.max(Message.sent_at))
        .join(Message, Message.conversation_id == filing.conversation_id)
        .where(*filed, may_read(viewer))
        .group_by(filing.box_id)
    )
    return {box_id: at for box_id, at in session.execute(query) if box_id is not None}
