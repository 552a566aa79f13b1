"""Threads: what Gmail says of them goes into Tracker, what Tracker says to Gmail, and both is written down."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from gmail_sync.errors import NotFound
from gmail_sync.labels import calls, looking
from gmail_sync.labels.calls import Call, Change
from gmail_sync.labels.decide import decide_all
from gmail_sync.labels.hearing import make_box
from gmail_sync.labels.looking import Spot
from gmail_sync.labels.tables import OWN, Kind, Label, Shadow, Touch
from gmail_sync.session import Sync
from tracker import filing
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.db import lock_team
from tracker.filing import FILED, Filing
from tracker.people import Viewer

log = logging.getLogger(__name__)

AT_ONCE = 50  # conversations decided upon in one transaction, which holds the team's lock
NEW_BOXES = 50  # made from threads with a pipeline's label in one run; the rest in the next


# -- into Tracker


def take_in(sync: Sync, viewer: Viewer) -> None:
    """Let Tracker follow Gmail, and note where both agree."""
    while True:
        with sync.transaction() as session:
            lock_team(session, viewer.team_id)
            if not _take_in_some(session, sync, viewer):
                break
    with sync.transaction() as session:
        _make_boxes(session, sync, viewer)
        done = update(Label).where(Label.mailbox_id == sync.mailbox.id, Label.taken_at.is_not(None))
        session.execute(done.values(taken_at=None))


def _take_in_some(session: Session, sync: Sync, viewer: Viewer) -> bool:
    """Take in some; whether there may be more."""
    left = AT_ONCE
    done = _Done(session, sync.mailbox.team_id, sync.mailbox.id)
    for group in looking.spots(session, sync.mailbox.id, viewer).values():
        verdict = decide_all([spot.pair for spot in group])
        if verdict.to_tracker is not None and verdict.heard_at is not None:
            if left == 0:
                done.write()
                return True
            left -= 1
            _follow(session, viewer, group[0], verdict.to_tracker, verdict.heard_at)
        for spot in group:
            if spot.pair.gmail == verdict.tracker:
                done.agree(spot, verdict.tracker)
    done.write()
    return False


def _follow(session: Session, viewer: Viewer, spot: Spot, into: bool, heard_at: datetime) -> None:
    """What somebody did in Gmail, as their decision, of the time when we heard of it."""
    conversation = session.get_one(Conversation, spot.conversation_id)
    box = session.get_one(Box, spot.box_id)
    if into:
        made = filing.file(session, viewer, conversation, box, "because you labelled it in Gmail")
    else:
        made = filing.remove(session, viewer, conversation, box, "because its label was taken off in Gmail")
    session.execute(
        update(Filing).where(Filing.id == made.id).values(decided_at=heard_at),
        execution_options={"synchronize_session": False},
    )
    session.expire(made)


@dataclass
class _Done:
    """What is agreed, written down in a few statements."""

    session: Session
    team_id: int
    mailbox_id: int
    on: list[Spot] = field(default_factory=list)
    off: list[Spot] = field(default_factory=list)

    def agree(self, spot: Spot, into: bool) -> None:
        """Both say so."""
        (self.on if into else self.off).append(spot)

    def write(self) -> None:
        """Write it down."""
        settle(self.session, self.team_id, self.mailbox_id, self.on, base=True)
        settle(self.session, self.team_id, self.mailbox_id, self.off, base=False)


_ON = text(
    """
    INSERT INTO thread_labels (team_id, mailbox_id, gmail_thread_id, box_id, base)
    SELECT :team, :mailbox, n.thread, n.box, true
    FROM unnest(CAST(:threads AS text[]), CAST(:boxes AS bigint[])) AS n(thread, box)
    JOIN threads t ON t.mailbox_id = :mailbox AND t.gmail_thread_id = n.thread
    ON CONFLICT (mailbox_id, gmail_thread_id, box_id) DO UPDATE SET base = true, pushing = NULL
    """
)
_OFF = text(
    """
    DELETE FROM thread_labels s USING unnest(CAST(:threads AS text[]), CAST(:boxes AS bigint[])) AS n(thread, box)
    WHERE s.mailbox_id = :mailbox AND s.gmail_thread_id = n.thread AND s.box_id = n.box
    """
)
_DEALT_WITH = text(
    """
    DELETE FROM label_touches u USING unnest(CAST(:threads AS text[]), CAST(:boxes AS bigint[])) AS n(thread, box),
      mailbox_labels l
    WHERE u.mailbox_id = :mailbox AND u.gmail_thread_id = n.thread AND l.mailbox_id = u.mailbox_id
      AND l.gmail_label_id = u.gmail_label_id AND l.box_id = n.box
    """
)
_PUSHING = text(
    """
    INSERT INTO thread_labels (team_id, mailbox_id, gmail_thread_id, box_id, base, pushing)
    SELECT :team, :mailbox, n.thread, n.box, false, n.pushing
    FROM unnest(CAST(:threads AS text[]), CAST(:boxes AS bigint[]), CAST(:says AS bool[]))
      AS n(thread, box, pushing)
    JOIN threads t ON t.mailbox_id = :mailbox AND t.gmail_thread_id = n.thread
    ON CONFLICT (mailbox_id, gmail_thread_id, box_id) DO UPDATE SET pushing = excluded.pushing
    """
)


def settle(session: Session, team_id: int, mailbox_id: int, spots: Sequence[Spot], *, base: bool) -> None:
    """From now on this is what both last agreed on; what was heard before is dealt with."""
    if not spots:
        return
    keys = {
        "team": team_id,
        "mailbox": mailbox_id,
        "threads": [spot.thread_id for spot in spots],
        "boxes": [spot.box_id for spot in spots],
    }
    session.execute(_ON if base else _OFF, keys)
    session.execute(_DEALT_WITH, keys)


def _make_boxes(session: Session, sync: Sync, viewer: Viewer) -> None:
    """A new box of each conversation with a pipeline's label, unless it is in a box there."""
    lock_team(session, viewer.team_id)
    made = 0
    for one in looking.plain(session, sync.mailbox.id):
        if made == NEW_BOXES:
            break
        there = select(Filing.id).where(
            Filing.conversation_id == one.conversation_id,
            Filing.pipeline_id == one.pipeline_id,
            Filing.box_id.is_not(None),
            Filing.state == FILED,
        )
        if session.scalar(there.limit(1)) is None:
            made += 1
            if make_box(session, viewer, one.pipeline_id, one.conversation_id, "", sync.now) is None:
                log.warning("%s: no box could be made of a conversation", sync.mailbox.address)
        used = update(Touch).where(
            Touch.mailbox_id == sync.mailbox.id,
            Touch.gmail_thread_id == one.thread_id,
            Touch.gmail_label_id == one.gmail_label_id,
        )
        session.execute(used.values(how="used"))


# -- to Gmail


@dataclass(frozen=True, slots=True)
class Plan:
    """The calls to make, and what is agreed on once they are made."""

    calls: tuple[Call, ...]
    later: bool  #: somebody said something in this moment, which the next run takes in
    spots: dict[str, list[tuple[Spot, bool]]]  #: by thread, with what Gmail is told

    def told(self, number: int) -> list[tuple[Spot, bool]]:
        """What a call tells Gmail; nothing behind the last."""
        return [
            pair
            for call in self.calls[number : number + 1]
            for thread_id in call.threads
            for pair in self.spots.get(thread_id, ())
        ]


def plan(session: Session, mailbox_id: int, viewer: Viewer) -> Plan:
    """What Gmail has to be told of threads. Reads, and changes nothing."""
    own = _labels(session, mailbox_id)
    spots: dict[str, list[tuple[Spot, bool]]] = defaultdict(list)
    later = False
    add: dict[str, set[str]] = defaultdict(set)
    remove: dict[str, set[str]] = defaultdict(set)
    for group in looking.spots(session, mailbox_id, viewer).values():
        verdict = decide_all([spot.pair for spot in group])
        if verdict.to_tracker is not None:
            later = True
            continue
        for spot in group:
            label = own.get(spot.box_id)
            wanted = {label} if verdict.tracker and label else set()
            if verdict.tracker and label is None:
                continue  # it can't be made, or not any more
            plus, minus = wanted - spot.carried, spot.carried - wanted
            if plus or minus:
                spots[spot.thread_id].append((spot, verdict.tracker))
                add[spot.thread_id] |= plus
                remove[spot.thread_id] |= minus
    for thread_id, label_id in _leftovers(session, mailbox_id):
        remove[thread_id].add(label_id)
    held = looking.held(session, mailbox_id, [*add.keys() | remove.keys()])
    changes = [_change(one, found, add[one], remove[one]) for one, found in sorted(held.items())]
    return Plan(tuple(calls.plan(changes)), later, spots)


def _change(thread_id: str, held: looking.Held, add: set[str], remove: set[str]) -> Change:
    messages = [
        id_ for id_, labels in held.labels.items() if (id_ in held.shown and not add <= labels) or remove & labels
    ]
    return Change(thread_id, frozenset(add), frozenset(remove), tuple(messages), alone=len(held.labels) == 1)


def _labels(session: Session, mailbox_id: int) -> dict[int, str]:
    """The label of each box that has one."""
    query = select(Label.box_id, Label.gmail_label_id).where(
        Label.mailbox_id == mailbox_id, Label.kind == Kind.BOX.value, Label.gone_at.is_(None), ~Label.former
    )
    rows = session.execute(query)
    return {box_id: id_ for box_id, id_ in rows if box_id is not None and id_ is not None}


_LEFTOVERS = text(
    """
    SELECT DISTINCT u.gmail_thread_id, u.gmail_label_id FROM label_touches u
    JOIN mailbox_labels l ON l.mailbox_id = u.mailbox_id AND l.gmail_label_id = u.gmail_label_id
      AND l.kind = 'pipeline' AND l.gone_at IS NULL
    JOIN copies c ON c.mailbox_id = u.mailbox_id AND c.gmail_thread_id = u.gmail_thread_id AND NOT c.hidden
      AND u.gmail_label_id = ANY (c.label_ids)
    WHERE u.mailbox_id = :mailbox AND u.how = 'used'
    """
)


def _leftovers(session: Session, mailbox_id: int) -> list[tuple[str, str]]:
    """Threads that still carry a pipeline's label whose wish was fulfilled."""
    return [(thread_id, label_id) for thread_id, label_id in session.execute(_LEFTOVERS, {"mailbox": mailbox_id})]


def send(sync: Sync, viewer: Viewer) -> bool:
    """Tell Gmail. Before each call it is written down what it says, after it that it was said.

    Whether all that was heard of Gmail is dealt with now.
    """
    with sync.transaction() as session:
        found = plan(session, sync.mailbox.id, viewer)
        _begin(session, sync, found.told(0))
    for number, call in enumerate(found.calls):
        done = _call(sync, call)
        with sync.transaction() as session:
            _end(session, sync, call, found.told(number), done=done)
            _begin(session, sync, found.told(number + 1))
    return not found.later


def _begin(session: Session, sync: Sync, told: Sequence[tuple[Spot, bool]]) -> None:
    if told:
        keys = {
            "team": sync.mailbox.team_id,
            "mailbox": sync.mailbox.id,
            "threads": [spot.thread_id for spot, _ in told],
            "boxes": [spot.box_id for spot, _ in told],
            "says": [says for _, says in told],
        }
        session.execute(_PUSHING, keys)


def _call(sync: Sync, call: Call) -> bool:
    """Make a call, which may be repeated; False if what it is about is gone."""
    try:
        sync.gmail.relabel(call.method, call.ids, call.add, call.remove)
    except NotFound:
        return False
    return True


_COPIES = """
  UPDATE copies SET label_ids = coalesce(
    (SELECT array_agg(DISTINCT l.id ORDER BY l.id) FROM unnest(label_ids || CAST(:add AS text[])) AS l(id)
     WHERE l.id <> ALL (CAST(:remove AS text[]))), '{}')
  WHERE mailbox_id = :mailbox AND %s
"""
_OF_THREAD = text(_COPIES % "gmail_thread_id = ANY (CAST(:ids AS text[]))")
_OF_MESSAGES = text(_COPIES % "gmail_id = ANY (CAST(:ids AS text[]))")


def _end(session: Session, sync: Sync, call: Call, told: Sequence[tuple[Spot, bool]], *, done: bool) -> None:
    mailbox = sync.mailbox
    if not done:
        forget = update(Shadow).where(
            Shadow.mailbox_id == mailbox.id, Shadow.gmail_thread_id.in_(call.threads), Shadow.pushing.is_not(None)
        )
        session.execute(forget.values(pushing=None))
        return
    session.execute(text(f"SELECT set_config('{OWN}', 'on', true)"))
    statement = _OF_THREAD if call.method == calls.THREAD else _OF_MESSAGES
    keys = {"mailbox": mailbox.id, "ids": list(call.ids), "add": list(call.add), "remove": list(call.remove)}
    session.execute(statement, keys)
    session.execute(text(f"SELECT set_config('{OWN}', 'off', true)"))
    settle(session, mailbox.team_id, mailbox.id, [spot for spot, says in told if says], base=True)
    settle(session, mailbox.team_id, mailbox.id, [spot for spot, says in told if not says], base=False)
