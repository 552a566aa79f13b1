"""Looking: what the decisions are made upon, read from the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Text, any_, func, literal, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from gmail_sync.labels import colors, names
from gmail_sync.labels.decide import Pair
from gmail_sync.labels.state import BoxNow, PipelineNow, Row, State
from gmail_sync.labels.tables import Kind, Label, LabelMailbox, Mode
from tracker import access
from tracker.boxes import Box
from tracker.db import among
from tracker.mailboxes import Mailbox
from tracker.people import Role, User, Viewer, viewer_of
from tracker.pipelines import Pipeline, Stage

#: Renames and deletions of labels stand in no history: so often Gmail's list is read though nothing else happened.
LISTING = timedelta(hours=1)


def setting(session: Session, mailbox_id: int) -> LabelMailbox | None:
    """What was said of a mailbox's labels, if they aren't off."""
    found = session.get(LabelMailbox, mailbox_id, populate_existing=True)
    return found if found is not None and found.mode != Mode.OFF else None


def owner(session: Session, mailbox: Mailbox) -> Viewer | None:
    """The mailbox's owner as a viewer; None for who was removed, or is a guest."""
    user = session.get(User, mailbox.user_id)
    if user is None or user.removed_at is not None or user.role == Role.GUEST:
        return None
    return viewer_of(user, "labels")


_WORK = text(
    """
    SELECT EXISTS (SELECT FROM label_touches WHERE mailbox_id = :mailbox)
        OR EXISTS (SELECT FROM thread_labels WHERE mailbox_id = :mailbox AND pushing IS NOT NULL)
        OR EXISTS (SELECT FROM mailbox_labels
                   WHERE mailbox_id = :mailbox AND (pushing IS NOT NULL OR taken_at IS NOT NULL))
    """
)


def is_something(session: Session, found: LabelMailbox, now: datetime) -> bool:
    """Whether there is anything to do, or Gmail's labels are to be listed again."""
    due = found.listed_at is None or found.listed_at <= now - LISTING
    return due or found.wanted_at is not None or bool(session.scalar(_WORK, {"mailbox": found.mailbox_id}))


# -- labels


def state(session: Session, mailbox_id: int, viewer: Viewer, listed: Mapping[str, str]) -> State:
    """All that the scheme is decided upon."""
    labels = session.scalars(select(Label).where(Label.mailbox_id == mailbox_id).order_by(Label.id)).all()
    rows = tuple(_row(label) for label in labels)
    pipelines = _pipelines(session, viewer)
    unknown = {id_: path for id_, path in listed.items() if id_ not in {row.gmail_id for row in rows}}
    now = [(row.name, listed.get(row.gmail_id or "")) for row in rows]
    renamed = [path for name, path in now if path is not None and path != name]
    wanted = _wanted(session, mailbox_id)
    ids = wanted | {row.box_id for row in rows if row.box_id is not None}
    below = [path for path in [*unknown.values(), *renamed] if names.SLASH in path]
    boxes = _boxes(session, viewer, ids, {names.last(path) for path in below}, wanted)
    hidden = [row.box_id for row in rows if row.box_id is not None and row.box_id not in boxes]
    return State(
        rows,
        dict(listed),
        pipelines,
        boxes,
        _merged(session, hidden),
        _used_again(session, mailbox_id, viewer, hidden),
        _carried(session, mailbox_id, [id_ for id_, path in unknown.items() if names.SLASH in path]),
    )


def _row(label: Label) -> Row:
    return Row(
        label.id, label.kind, label.pipeline_id, label.box_id, label.gmail_label_id, label.name, label.color,
        label.pushing, label.former, label.gone_at is not None, label.refused,
    )  # fmt: skip


def _pipelines(session: Session, viewer: Viewer) -> dict[int, PipelineNow]:
    columns = (Pipeline.id, Pipeline.name, access.is_whole(viewer), Pipeline.archived_at)
    query = select(*columns).where(access.may_see_pipeline(viewer)).order_by(Pipeline.position, Pipeline.id)
    return {
        id_: PipelineNow(id_, name, whole, archived is not None)
        for id_, name, whole, archived in session.execute(query)
    }


_WANTED = text(
    """
    SELECT DISTINCT f.box_id FROM threads t
    JOIN filings f ON f.conversation_id = t.conversation_id AND f.state = 'filed'
    WHERE t.mailbox_id = :mailbox AND EXISTS (
      SELECT FROM copies c
      WHERE c.mailbox_id = t.mailbox_id AND c.gmail_thread_id = t.gmail_thread_id AND NOT c.hidden)
    """
)


def _wanted(session: Session, mailbox_id: int) -> set[int]:
    return set(session.scalars(_WANTED, {"mailbox": mailbox_id}))


def _boxes(
    session: Session, viewer: Viewer, ids: Collection[int], parts: Iterable[str], wanted: Collection[int]
) -> dict[int, BoxNow]:
    """Boxes by number, and those that labels may mean by their names."""
    called = {names.spoken(part).lower() for part in parts}
    named = [func.lower(Box.name) == any_(literal(sorted(called), ARRAY(Text())))] if called else []
    for part in called:
        if part.endswith(names.CUT):
            named.append(func.lower(Box.name).startswith(part[: -len(names.CUT)], autoescape=True))
    query = (
        select(Box.id, Box.pipeline_id, Box.name, Stage.color, Box.archived_at)
        .join(Stage, Stage.id == Box.stage_id)
        .where(access.may_see(viewer), Box.deleted_at.is_(None), or_(among(Box.id, ids), *named))
    )
    return {
        id_: BoxNow(id_, pipeline_id, name, colors.nearest(color), archived is not None, id_ in wanted)
        for id_, pipeline_id, name, color, archived in session.execute(query)
    }


def _merged(session: Session, ids: Sequence[int]) -> dict[int, int]:
    query = select(Box.id, Box.merged_into_id).where(among(Box.id, ids), Box.merged_into_id.is_not(None))
    return {id_: into for id_, into in session.execute(query) if into is not None}


_AGAIN = """
  SELECT l.box_id FROM mailbox_labels l JOIN label_touches u
    ON u.mailbox_id = l.mailbox_id AND u.gmail_label_id = l.gmail_label_id AND u.how = 'added'
  JOIN boxes b ON b.id = l.box_id AND b.deleted_at < u.heard_at AND b.merged_into_id IS NULL
  WHERE l.mailbox_id = :mailbox AND l.gone_at IS NULL
"""


def _used_again(session: Session, mailbox_id: int, viewer: Viewer, hidden: Sequence[int]) -> frozenset[int]:
    if not hidden:
        return frozenset()
    found = session.scalars(text(_AGAIN), {"mailbox": mailbox_id}).all()
    return frozenset(session.scalars(select(Box.id).where(among(Box.id, found), access.may_see(viewer))))


_CARRIED = text(
    """
    SELECT DISTINCT l.id FROM copies c CROSS JOIN unnest(c.label_ids) AS l(id)
    WHERE c.mailbox_id = :mailbox AND NOT c.hidden AND c.label_ids && CAST(:ids AS text[])
      AND l.id = ANY (CAST(:ids AS text[]))
    """
)


def _carried(session: Session, mailbox_id: int, ids: Sequence[str]) -> frozenset[str]:
    return frozenset(session.scalars(_CARRIED, {"mailbox": mailbox_id, "ids": list(ids)})) if ids else frozenset()


# -- threads


@dataclass(frozen=True, slots=True)
class Spot:
    """One thread and one box, with all that a decision needs and what carries it out."""

    thread_id: str
    box_id: int
    conversation_id: int
    pair: Pair
    carried: frozenset[str]  #: labels of this box that the thread carries


_PAIRS = text(
    """
    WITH lab AS (
      SELECT box_id, gmail_label_id FROM mailbox_labels
      WHERE mailbox_id = :mailbox AND kind = 'box' AND gmail_label_id IS NOT NULL AND gone_at IS NULL),
    filed AS (
      SELECT t.gmail_thread_id, f.box_id FROM threads t
      JOIN filings f ON f.conversation_id = t.conversation_id AND f.state = 'filed'
      WHERE t.mailbox_id = :mailbox AND f.box_id = ANY (CAST(:seen AS bigint[]))),
    agreed AS (SELECT gmail_thread_id, box_id FROM thread_labels WHERE mailbox_id = :mailbox AND base),
    odd AS (
      SELECT u.gmail_thread_id, l.box_id FROM label_touches u JOIN lab l ON l.gmail_label_id = u.gmail_label_id
      WHERE u.mailbox_id = :mailbox
      UNION SELECT gmail_thread_id, box_id FROM thread_labels WHERE mailbox_id = :mailbox AND pushing IS NOT NULL
      UNION (SELECT * FROM filed EXCEPT SELECT * FROM agreed)
      UNION (SELECT * FROM agreed EXCEPT SELECT * FROM filed)
      UNION SELECT a.gmail_thread_id, a.box_id FROM agreed a JOIN mailbox_labels l
        ON l.mailbox_id = :mailbox AND l.box_id = a.box_id AND (l.former OR l.taken_at IS NOT NULL))
    SELECT o.gmail_thread_id, o.box_id, t.conversation_id, g.carried, f.state = 'filed',
           coalesce(s.base, false), s.pushing, u.how, coalesce(u.twice, false), u.heard_at, k.taken_at,
           f.decided_at, f.state = 'removed' AND f.origin = 'person'
    FROM odd o
    JOIN threads t ON t.mailbox_id = :mailbox AND t.gmail_thread_id = o.gmail_thread_id
    CROSS JOIN LATERAL (
      SELECT count(*) AS copies, array_agg(DISTINCT l.gmail_label_id) AS carried
      FROM copies c LEFT JOIN lab l ON l.box_id = o.box_id AND l.gmail_label_id = ANY (c.label_ids)
      WHERE c.mailbox_id = :mailbox AND c.gmail_thread_id = o.gmail_thread_id AND NOT c.hidden) g
    LEFT JOIN thread_labels s
      ON s.mailbox_id = :mailbox AND s.gmail_thread_id = o.gmail_thread_id AND s.box_id = o.box_id
    LEFT JOIN filings f ON f.conversation_id = t.conversation_id AND f.box_id = o.box_id
    LEFT JOIN LATERAL (
      SELECT how, twice, heard_at FROM label_touches u JOIN lab l ON l.gmail_label_id = u.gmail_label_id
      WHERE u.mailbox_id = :mailbox AND u.gmail_thread_id = o.gmail_thread_id AND l.box_id = o.box_id
      ORDER BY (how = 'arrived'), heard_at DESC LIMIT 1) u ON true
    LEFT JOIN LATERAL (
      SELECT max(taken_at) AS taken_at FROM mailbox_labels l
      WHERE l.mailbox_id = :mailbox AND l.box_id = o.box_id) k ON true
    WHERE g.copies > 0 AND o.box_id = ANY (CAST(:seen AS bigint[]))
      AND NOT EXISTS (
        SELECT FROM mailbox_labels l
        WHERE l.mailbox_id = :mailbox AND l.box_id = o.box_id AND l.gone_at IS NOT NULL AND NOT l.former)
    ORDER BY t.conversation_id, o.box_id, o.gmail_thread_id
    """
)


def spots(session: Session, mailbox_id: int, viewer: Viewer) -> dict[tuple[int, int], list[Spot]]:
    """Wherever something may have to be done, by conversation and box; boxes that the owner sees."""
    found: dict[tuple[int, int], list[Spot]] = defaultdict(list)
    keys = {"mailbox": mailbox_id, "seen": _seen(session, mailbox_id, viewer)}
    for row in session.execute(_PAIRS, keys):
        spot = _spot(*row)
        found[spot.conversation_id, spot.box_id].append(spot)
    return found


def _seen(session: Session, mailbox_id: int, viewer: Viewer) -> list[int]:
    """Of the boxes that concern the mailbox those that its owner sees."""
    labelled = select(Label.box_id).where(Label.mailbox_id == mailbox_id, Label.kind == Kind.BOX.value)
    ids = {*_wanted(session, mailbox_id), *(id_ for id_ in session.scalars(labelled) if id_ is not None)}
    query = select(Box.id).where(among(Box.id, ids), access.may_see(viewer), Box.deleted_at.is_(None))
    return list(session.scalars(query))


def _spot(
    thread_id: str, box_id: int, conversation_id: int, carried: Sequence[str | None], tracker: bool | None,
    base: bool, pushing: bool | None, how: str | None, twice: bool, heard_at: datetime | None,
    taken_at: datetime | None, decided_at: datetime | None, taken_out: bool | None,
) -> Spot:  # fmt: skip
    labels = frozenset(id_ for id_ in carried if id_ is not None)
    if taken_at is not None and not labels and base and how is None:
        how, heard_at = "removed", taken_at  # its label stands for another box now
    pair = Pair(
        bool(labels), bool(tracker), base, pushing, how, twice, heard_at, decided_at, taken_out=bool(taken_out)
    )
    return Spot(thread_id, box_id, conversation_id, pair, labels)


@dataclass(frozen=True, slots=True)
class Held:
    """A thread as the mailbox holds it: its messages with their labels, and those that are seen."""

    labels: dict[str, frozenset[str]]  #: by message
    shown: tuple[str, ...]


def held(session: Session, mailbox_id: int, thread_ids: Collection[str]) -> dict[str, Held]:
    """Threads as the mailbox holds them."""
    query = text(
        "SELECT gmail_thread_id, gmail_id, label_ids, hidden FROM copies WHERE mailbox_id = :mailbox"
        " AND gmail_thread_id = ANY (CAST(:ids AS text[])) ORDER BY internal_date, gmail_id"
    )
    rows: dict[str, list[Any]] = defaultdict(list)
    for row in session.execute(query, {"mailbox": mailbox_id, "ids": list(thread_ids)}):
        rows[row[0]].append(row)
    return {
        thread_id: Held({row[1]: frozenset(row[2]) for row in found}, tuple(row[1] for row in found if not row[3]))
        for thread_id, found in rows.items()
    }


_PLAIN = text(
    """
    SELECT c.gmail_thread_id, t.conversation_id, l.pipeline_id, l.gmail_label_id, u.heard_at
    FROM mailbox_labels l
    JOIN label_touches u ON u.mailbox_id = l.mailbox_id AND u.gmail_label_id = l.gmail_label_id
    JOIN copies c ON c.mailbox_id = l.mailbox_id AND c.gmail_thread_id = u.gmail_thread_id AND NOT c.hidden
      AND l.gmail_label_id = ANY (c.label_ids)
    JOIN threads t ON t.mailbox_id = c.mailbox_id AND t.gmail_thread_id = c.gmail_thread_id
    WHERE l.mailbox_id = :mailbox AND l.kind = 'pipeline' AND l.gone_at IS NULL AND u.how <> 'used'
    GROUP BY 1, 2, 3, 4, 5 ORDER BY u.heard_at, c.gmail_thread_id
    """
)


@dataclass(frozen=True, slots=True)
class Plain:
    """A thread that carries a pipeline's label: a new box is to be made from it."""

    thread_id: str
    conversation_id: int
    pipeline_id: int
    gmail_label_id: str
    heard_at: datetime


def plain(session: Session, mailbox_id: int) -> list[Plain]:
    """The threads to make new boxes from."""
    return [Plain(*row) for row in session.execute(_PLAIN, {"mailbox": mailbox_id})]
