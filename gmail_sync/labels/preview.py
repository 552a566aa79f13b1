"""The preview: what switching labels on would do, worked out by the very decisions, without doing it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import text
from sqlalchemy.orm import Session

from gmail_sync.budget import UNITS
from gmail_sync.labels import calls, colors, looking, scheme, tell
from gmail_sync.labels.calls import Change
from gmail_sync.labels.decide import decide_all
from gmail_sync.labels.state import BoxNow, Row, State
from gmail_sync.labels.steps import Bind, Create, Heard, MakeBox, Odd, Patch
from gmail_sync.labels.tables import Kind
from tracker.people import Viewer

NEW = "new:"  # how labels are called that Gmail does not have yet


@dataclass(frozen=True, slots=True)
class Line:
    """One label."""

    path: str
    color: str | None
    threads: int  #: that are going to carry it
    words: str  #: what becomes of it

    @property
    def text_color(self) -> str:
        """What is written on its colour."""
        return colors.text_on(self.color) if self.color else colors.BLACK


@dataclass(frozen=True, slots=True)
class Preview:
    """What switching on would do."""

    made: tuple[Line, ...]
    taken: tuple[Line, ...]  #: labels that Gmail has already
    odd: tuple[Odd, ...]
    threads: int  #: that get a label
    units: int
    left_out: int  #: boxes that get no label, being too many


def preview(session: Session, mailbox_id: int, viewer: Viewer, listed: Mapping[str, str]) -> Preview:
    """Work it out. `listed` is Gmail's labels, by their ids. Nothing is changed."""
    state = replace(looking.state(session, mailbox_id, viewer, listed), rows=())
    heard = scheme.hear(state)
    state, new_boxes = _bound(state, heard)
    carried = _carried(session, mailbox_id, list(listed))
    taken = tuple(_taken(step, state, new_boxes, carried) for step in heard if isinstance(step, Bind | MakeBox))
    state, writes = _told(state)
    own: dict[int | None, str | None] = {
        row.box_id: row.gmail_id for row in state.rows if row.box_id is not None and not row.former
    }
    changes, threads = _changes(session, mailbox_id, viewer, own)
    made = tuple(
        Line(one.path, one.color, threads[one.box_id] if one.box_id else 0, "is made")
        for one in writes
        if isinstance(one, Create)
    )
    units = UNITS["labels.list"] + tell.units(writes) + sum(one.units for one in calls.plan(changes))
    wanted = [box for box in state.boxes.values() if box.wanted and not box.archived]
    left_out = sum(box.id not in own and not state.pipelines[box.pipeline_id].archived for box in wanted)
    odd = tuple(step for step in heard if isinstance(step, Odd))
    return Preview(made, taken, odd, len(changes), units, left_out)


def _bound(state: State, heard: list[Heard]) -> tuple[State, dict[str, BoxNow]]:
    """The state once Gmail's labels were taken in; boxes that are made for it have numbers below 0."""
    rows, boxes, made = list[Row](), dict(state.boxes), dict[str, BoxNow]()
    for number, step in enumerate(heard, 1):
        if isinstance(step, MakeBox):
            box = BoxNow(-number, step.pipeline_id, step.name, colors.BLACK, wanted=True)
            boxes[box.id] = made[step.gmail_id] = box
            rows.append(Row(number, Kind.BOX, None, box.id, step.gmail_id, step.path))
        elif isinstance(step, Bind):
            kind = Kind.of(step.pipeline_id, step.box_id)
            rows.append(
                Row(number, kind, step.pipeline_id, step.box_id, step.gmail_id, step.path, former=step.former)
            )
    return replace(state, rows=tuple(rows), boxes=boxes), made


def _told(state: State) -> tuple[State, list[Create | Patch]]:
    """What Gmail would be told until nothing is left to tell."""
    writes: list[Create | Patch] = []
    while told := [one for one in tell.tell(state).writes if isinstance(one, Create | Patch)]:
        writes += told
        rows, listed = list(state.rows), dict(state.listed)
        for one in told:
            if isinstance(one, Create):
                kind = Kind.of(one.pipeline_id, one.box_id)
                id_ = f"{NEW}{one.path}"
                rows.append(Row(-len(rows) - 1, kind, one.pipeline_id, one.box_id, id_, one.path, one.color))
                listed[id_] = one.path
                continue
            rows = [
                replace(row, name=one.path or row.name, color=one.color or row.color)
                if row.id == one.row_id
                else row
                for row in rows
            ]
            listed[one.gmail_id] = one.path or listed[one.gmail_id]
        state = replace(state, rows=tuple(rows), listed=listed)
    return state, writes


_CARRIED = text(
    """
    SELECT l.id, count(DISTINCT c.gmail_thread_id) FROM copies c CROSS JOIN unnest(c.label_ids) AS l(id)
    WHERE c.mailbox_id = :mailbox AND NOT c.hidden AND l.id = ANY (CAST(:ids AS text[])) GROUP BY l.id
    """
)


def _carried(session: Session, mailbox_id: int, ids: list[str]) -> dict[str, int]:
    """How many threads carry each label."""
    rows = session.execute(_CARRIED, {"mailbox": mailbox_id, "ids": ids})
    return {row[0]: row[1] for row in rows}


def _taken(step: Bind | MakeBox, state: State, made: Mapping[str, BoxNow], carried: Mapping[str, int]) -> Line:
    number = carried.get(step.gmail_id, 0)
    if isinstance(step, MakeBox):
        pipeline = state.pipelines[step.pipeline_id].name
        return Line(step.path, None, number, f"a new box “{made[step.gmail_id].name}” is made in {pipeline}")
    if step.box_id is not None:
        box = state.boxes[step.box_id]
        words = f"its threads go into the box “{box.name}”"
        return Line(
            step.path,
            box.color,
            number,
            f"{words}; the label of that box takes its place" if step.former else words,
        )
    if step.pipeline_id is not None:
        words = "a new box is made from each of its threads" if number else "is the pipeline’s label"
        return Line(step.path, None, number, words)
    return Line(step.path, None, number, "is what all of them stand under")


def _changes(
    session: Session, mailbox_id: int, viewer: Viewer, own: Mapping[int | None, str | None]
) -> tuple[list[Change], Counter[int | None]]:
    """The threads that get a label, and how many each box has."""
    add: dict[str, set[str]] = defaultdict(set)
    threads: Counter[int | None] = Counter()
    for (_, box_id), group in looking.spots(session, mailbox_id, viewer).items():
        label = own.get(box_id)
        if label is None or not decide_all([spot.pair for spot in group]).tracker:
            continue
        for spot in group:
            add[spot.thread_id].add(label)
            threads[box_id] += 1
    changes = []
    for thread_id, held in looking.held(session, mailbox_id, add).items():
        messages = tuple(id_ for id_ in held.shown if not add[thread_id] <= held.labels[id_])
        if messages:
            changes.append(
                Change(thread_id, frozenset(add[thread_id]), frozenset(), messages, alone=len(held.labels) == 1)
            )
    return changes, threads
