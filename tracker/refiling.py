"""Refiling: taking back what was just decided about conversations, as if it had not been said.

Only what is still as the decision left it goes back; what a teammate or a rule decided since then stays, and the
whole is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from tracker import events, facts, filing
from tracker.activities import Activity
from tracker.boxes import Box
from tracker.db import among, insert_many, lock_team, new_key
from tracker.events import Event
from tracker.filing import FILED, SUGGESTED, Filing, FilingError
from tracker.people import Viewer
from tracker.tasks import Task

Place = tuple[int, int | None, int]  #: conversation, box (None for a new one), pipeline
State = list[Any]  #: state, origin, rule, reason, user, decided at (ISO 8601)
Change = list[Any]  #: conversation, box, pipeline, State before or None, State after or None

MEANWHILE = "Somebody has decided about it since; nothing was taken back"


def snapshot(session: Session, conversation_ids: Iterable[int]) -> dict[Place, State]:
    """What is decided about conversations now."""
    session.flush()
    columns = (Filing.conversation_id, Filing.box_id, Filing.pipeline_id)
    told = (Filing.state, Filing.origin, Filing.rule, Filing.reason, Filing.user_id, Filing.decided_at)
    query = select(*columns, *told).where(among(Filing.conversation_id, list(conversation_ids)))
    found: dict[Place, State] = {}
    rows: Sequence[Any] = session.execute(query).all()
    for row in rows:
        found[row[0], row[1], row[2]] = [*row[3:8], row[8].isoformat()]
    return found


def changes(before: Mapping[Place, State], after: Mapping[Place, State]) -> list[Change]:
    """What became of each decision between two snapshots; JSON."""
    places = sorted(before.keys() | after.keys(), key=lambda place: (place[0], place[1] or 0, place[2]))
    return [
        [*place, before.get(place), after.get(place)] for place in places if before.get(place) != after.get(place)
    ]


def take_back(session: Session, viewer: Viewer, made: Sequence[Change]) -> None:
    """Make decisions what they were. Raises `FilingError` if one of them was changed meanwhile."""
    lock_team(session, viewer.team_id)
    now = snapshot(session, {change[0] for change in made})
    for conversation_id, box_id, pipeline_id, before, after in made:
        place = (conversation_id, box_id, pipeline_id)
        if now.get(place) != after:
            raise FilingError(MEANWHILE)
        _restore(session, viewer, place, before)
        _record(session, viewer, place, before, after)
    facts.refresh(session, {change[1] for change in made if change[1] is not None})


def _restore(session: Session, viewer: Viewer, place: Place, before: State | None) -> None:
    conversation_id, box_id, pipeline_id = place
    there = (
        Filing.team_id == viewer.team_id,
        Filing.conversation_id == conversation_id,
        Filing.box_id.is_(None) if box_id is None else Filing.box_id == box_id,
        Filing.pipeline_id == pipeline_id,
    )
    if before is None:
        session.execute(delete(Filing).where(*there), execution_options={"synchronize_session": False})
        return
    names = ("state", "origin", "rule", "reason", "user_id")
    values = {**dict(zip(names, before[:5], strict=True)), "decided_at": datetime.fromisoformat(before[5])}
    changed = session.execute(
        update(Filing).where(*there).values(**values).returning(Filing.id),
        execution_options={"synchronize_session": False},
    ).first()
    if changed is None and _is_there(session, box_id):
        where = {"conversation_id": conversation_id, "box_id": box_id, "pipeline_id": pipeline_id}
        insert_many(session, Filing, [{"team_id": viewer.team_id, "key": new_key(), **where, **values}])


def _is_there(session: Session, box_id: int | None) -> bool:
    return box_id is None or session.scalar(select(Box.id).where(Box.id == box_id)) is not None


def _record(session: Session, viewer: Viewer, place: Place, before: State | None, after: State | None) -> None:
    was, became = (state[0] if state else None for state in (after, before))
    kind = {FILED: "conversation.filed", SUGGESTED: "conversation.suggested"}.get(str(became))
    if kind is None and was == FILED:
        kind = "conversation.removed"
    if kind is not None:
        events.record(
            session,
            viewer.team_id,
            kind,
            actor=viewer.actor,
            user_id=viewer.user_id,
            conversation_id=place[0],
            box_id=place[1],
            data={"reason": "because the last step was undone"},
        )


def is_only_from(session: Session, viewer: Viewer, box: Box, conversation_ids: Iterable[int]) -> bool:
    """Whether nothing was put into a box by hand but these conversations: a new box that may go again.

    Neither other mail nor a task or a note, and no teammate has done anything with it.
    """
    more = (
        select(Filing.id).where(
            Filing.box_id == box.id,
            Filing.origin == filing.PERSON,
            Filing.state == FILED,
            ~among(Filing.conversation_id, list(conversation_ids)),
        ),
        select(Task.id).where(Task.box_id == box.id),
        select(Activity.id).where(Activity.box_id == box.id, Activity.removed_at.is_(None)),
        select(Event.id).where(Event.box_id == box.id, Event.user_id != viewer.user_id),
    )
    return session.scalar(select(or_(*(query.exists() for query in more)))) is False


def empty(session: Session, viewer: Viewer, box: Box) -> None:
    """Forget all that rules decided about a box that is about to go again."""
    session.execute(
        delete(Filing).where(Filing.team_id == viewer.team_id, Filing.box_id == box.id),
        execution_options={"synchronize_session": False},
    )
