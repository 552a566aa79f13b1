"""Telling: from what happened to who is told of it. Nobody is told of what they did themselves.

The log is read with a cursor of our own, which moves in the transaction that writes the rows: no event is lost and
none is told twice, whenever a worker dies.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from tracker import access, events, readers, sharing, topics
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.db import among
from tracker.events import Event
from tracker.people import User
from webhooks.bells import deliveries
from webhooks.bells.around import Around
from webhooks.bells.kinds import ABOUT, OF_MAIL, Channel, Kind
from webhooks.bells.notices import RINGS_WITHIN, Notification

log = logging.getLogger(__name__)

READER = "bells"
AT_ONCE = 500  # events of one transaction
MANY = 3  # of a kind, for one person, out of one transaction; more become one row
STALE = timedelta(days=3)  # what is learnt so late is no news


@dataclass(frozen=True, slots=True)
class Told:
    """That one person is to know of one event."""

    user_id: int
    kind: Kind
    thing: str
    event: Event
    box_id: int | None = None
    conversation_id: int | None = None
    message_id: int | None = None
    tracked_email_id: int | None = None
    count: int = 1
    others: tuple[int, ...] = ()  #: boxes to name where the first is not shown to them


def read_some(session: Session, now: datetime, *, limit: int = AT_ONCE) -> int:
    """Tell of the next events; returns how many were read. Nothing while another worker is at it."""
    reader = readers.taken(session, READER)
    if reader is None:
        return 0
    found = events.after(session, reader.cursor, limit=limit)
    if not found:
        return 0
    tell(session, [event for _, event in found], now)
    reader.move(found[-1][0])
    return len(found)


def tell(session: Session, happened: Sequence[Event], now: datetime) -> None:
    """Write down who is told of these events; one that can't be told (the log says why) keeps no other back."""
    wanted = [event for event in happened if event.kind in _TELLERS and event.at > now - STALE]
    if not wanted:
        return
    try:
        with session.begin_nested():
            _tell(session, wanted, now)
    except OperationalError:  # the database, not what is told: all of it again
        raise
    except Exception:
        if len(wanted) == 1:
            log.exception("Nobody is told of the event %s (%s)", wanted[0].id, wanted[0].kind)
            return
        half = len(wanted) // 2
        tell(session, wanted[:half], now)
        tell(session, wanted[half:], now)


def _tell(session: Session, wanted: Sequence[Event], now: datetime) -> None:
    around = Around(session, wanted)
    told = [one for event in wanted for one in _TELLERS[event.kind](around, event)]
    told = _readable(around, [one for one in _visible(around, told) if _concerns(around, one)])
    if told:
        _write(around, _joined(told), now)


# -- whom an event concerns


def _read(around: Around, event: Event) -> Iterable[Told]:
    """Whoever sent the mail; and who owns its box, if they may read it."""
    tracked = around.tracked.get(str(event.data.get("tracked")))
    if tracked is None or (tracked.erased_at is not None and event.at <= tracked.erased_at):
        return
    if event.kind == "email.clicked":
        kind = Kind.CLICKED
    else:
        kind = Kind.READ if event.data.get("first") else Kind.READ_AGAIN
    if not tracked.still_stands(clicked=kind == Kind.CLICKED):
        return  # taken back meanwhile
    box = around.boxes.get(event.box_id or 0)
    message_id = event.message_id or tracked.message_id
    for user_id in {tracked.user_id, box.owner_id if box and message_id else None} - {None}:
        assert user_id is not None
        yield Told(
            user_id, kind, f"mail:{tracked.key}", event, event.box_id,
            tracked.conversation_id or event.conversation_id, message_id, tracked.id,
        )  # fmt: skip


def _answer(around: Around, event: Event) -> Iterable[Told]:
    """Who wrote in the conversation before, and who owns its box. Not of what a machine sent, nor of old mail."""
    mail = around.mails.get(event.message_id or 0)
    if mail is None or mail.automatic or mail.is_old:
        return
    boxes = around.filed.get(mail.conversation_id, [])
    owners = {box.owner_id for box in boxes if box.owner_id}
    for user_id in owners | around.writers.get(mail.conversation_id, set()):
        ids = [box.id for box in sorted(boxes, key=lambda box: box.owner_id != user_id)]  # one's own first
        yield Told(
            user_id, Kind.ANSWER, f"conversation:{mail.conversation_id}", event, ids[0] if ids else None,
            mail.conversation_id, event.message_id, others=tuple(ids[1:]),
        )  # fmt: skip


def _queued_mail(around: Around, event: Event) -> Iterable[Told]:
    """Whose mailbox it goes out of."""
    user_id = around.mailbox_owners.get(event.mailbox_id or 0)
    if user_id is None or not _is_news(event):
        return
    kind = Kind.SENT if event.kind == "email.sent" else Kind.TROUBLE
    yield Told(user_id, kind, f"email:{event.data.get('email')}", event, event.box_id, event.conversation_id)


def _is_news(event: Event) -> bool:
    """What went out the moment it was asked for is none, nor what somebody or a sequence took back."""
    if event.kind == "email.sent":
        return not event.data.get("at_once")
    return event.kind != "email.cancelled" or "deleted in Gmail" in str(event.data.get("why"))


def _mention(around: Around, event: Event) -> Iterable[Told]:
    user_id = around.users.get(str(event.data.get("user")))
    if user_id is not None:
        yield Told(user_id, Kind.MENTION, f"activity:{event.data.get('activity')}", event, event.box_id)


def _task(around: Around, event: Event) -> Iterable[Told]:
    user_id = around.users.get(str(event.data.get("assignee")))
    if user_id is not None:
        yield Told(user_id, Kind.TASK, f"task:{event.data.get('task')}", event, event.box_id)


def _moved(around: Around, event: Event) -> Iterable[Told]:
    box = around.boxes.get(event.box_id or 0)
    if box is not None and box.owner_id is not None:
        kind = Kind.MOVED if event.actor == events.PERSON else Kind.MOVED_BY_RULE
        yield Told(box.owner_id, kind, f"box:{box.id}", event, box.id)


def _assigned(around: Around, event: Event) -> Iterable[Told]:
    user_id = around.users.get(str(event.data.get("owner")))
    if user_id is not None:
        yield Told(user_id, Kind.ASSIGNED, f"box:{event.box_id}", event, event.box_id)


def _mailbox(around: Around, event: Event) -> Iterable[Told]:
    user_id = around.mailbox_owners.get(event.mailbox_id or 0)
    if user_id is not None:
        yield Told(user_id, Kind.MAILBOX, f"mailbox:{event.mailbox_id}", event)


def _access(around: Around, event: Event) -> Iterable[Told]:
    """The owner, of a request; its asker, of the answer."""
    user_id, declined = around.users.get(str(event.data.get("user"))), event.data.get("scope") == "decline"
    if user_id is not None:
        kind = Kind.ACCESS_ASKED if event.kind == "access.requested" else Kind.ACCESS_ANSWERED
        yield Told(
            user_id, kind, f"request:{event.data.get('request')}", event, None,
            None if declined else event.conversation_id, None if declined else event.message_id,
        )  # fmt: skip


def _answer_asked(around: Around, event: Event) -> Iterable[Told]:
    user_id = around.users.get(str(event.data.get("user")))
    if user_id is not None:
        yield Told(
            user_id, Kind.ANSWER_ASKED, f"task:{event.data.get('task')}", event, event.box_id,
            event.conversation_id, event.message_id,
        )  # fmt: skip


_TELLERS: dict[str, Callable[[Around, Event], Iterable[Told]]] = {
    "email.read": _read,
    "email.clicked": _read,
    "message.received": _answer,
    "email.sent": _queued_mail,
    "email.failed": _queued_mail,
    "email.held": _queued_mail,
    "email.uncertain": _queued_mail,
    "email.cancelled": _queued_mail,
    "user.mentioned": _mention,
    "task.reminded": _task,
    "box.moved": _moved,
    "box.assigned": _assigned,
    "mailbox.attention": _mailbox,
    "access.requested": _access,
    "access.answered": _access,
    events.ANSWER_ASKED: _answer_asked,
}


def _concerns(around: Around, told: Told) -> bool:
    """Whether this person is to know: it was not they who did it, it is their team's, and they wish it."""
    person = around.person(told.user_id)
    if person is None or person.team_id != told.event.team_id:
        return False
    if told.event.actor == events.PERSON and told.event.user_id == told.user_id:
        return False
    box = around.boxes.get(told.box_id or 0)
    if box is not None and box.pipeline in around.wishes(told.user_id).quiet_pipelines:
        return False
    return bool(around.wishes(told.user_id).on(told.kind))


def _visible(around: Around, told: Sequence[Told]) -> list[Told]:
    """Without what is about boxes that its reader may not see; what is about mail names another box, or none."""
    ids = {id_ for one in told for id_ in (one.box_id, *one.others) if id_ in around.boxes and id_ is not None}
    users = {user.id: user for one in told if (user := around.person(one.user_id)) is not None}
    allowed = access.watchers(around.session, ids, users.values())
    found = []
    for one in told:
        seen = [id_ for id_ in (one.box_id, *one.others) if id_ not in ids or (one.user_id, id_) in allowed]
        if seen or one.kind in OF_MAIL:
            found.append(replace(one, box_id=next(iter(seen), None)))
    return found


def _readable(around: Around, told: Sequence[Told]) -> list[Told]:
    """Without what is about mail that its reader may not read."""
    asked: dict[User, set[int]] = defaultdict(set)
    for one in told:
        if one.message_id is not None:
            person = around.person(one.user_id)
            assert person is not None
            asked[person].add(one.message_id)
    allowed = sharing.allowed(around.session, asked)
    return [one for one in told if one.message_id is None or (one.user_id, one.message_id) in allowed]


# -- the rows


def _joined(told: Sequence[Told]) -> list[Told]:
    """What a transaction did to many things at once (an import, a bulk change) is one thing to know."""
    groups: dict[tuple[int, Kind, str], list[Told]] = defaultdict(list)
    for one in told:
        groups[one.user_id, one.kind, str(one.event.transaction)].append(one)
    joined: list[Told] = []
    for (_, kind, transaction), group in groups.items():
        if len(group) > MANY and kind in (Kind.ASSIGNED, Kind.MOVED, Kind.MOVED_BY_RULE):
            joined.append(replace(group[-1], thing=f"many:{transaction}", box_id=None, count=len(group)))
        else:
            joined.extend(group)
    return joined


def _write(around: Around, told: Sequence[Told], now: datetime) -> None:
    session = around.session
    open_ = _unseen(session, told, now)
    made = []
    for one in told:
        row = open_.get((one.user_id, one.kind, one.thing))
        if row is not None:
            _add(row, one, now)
        else:
            row = _row(around, one, now)
            open_[one.user_id, one.kind, one.thing] = row
            made.append(row)
    session.add_all(made)
    session.flush()
    ringing = [row for row in made if row.desktop and row.at > now - RINGS_WITHIN]
    deliveries.add(session, around.quiet_until, ringing, now)
    for user in {user.id: user for one in told if (user := around.person(one.user_id))}.values():
        topics.tell(session, user.team_id, [f"bell:{user.key}"])


def _unseen(session: Session, told: Sequence[Told], now: datetime) -> dict[tuple[int, Kind, str], Notification]:
    """The rows that more of the same is added to: not seen yet, and not too long ago."""
    query = (
        select(Notification)
        .where(
            among(Notification.user_id, {one.user_id for one in told}),
            among(Notification.thing, {one.thing for one in told}),
            Notification.seen_at.is_(None),
        )
        .order_by(Notification.id)
        .with_for_update()
    )
    found = {}
    for row in session.scalars(query):
        kind = Kind(row.kind)
        if row.at > now - ABOUT[kind].window:
            found[row.user_id, kind, row.thing] = row
    return found


def _add(row: Notification, told: Told, now: datetime) -> None:
    row.count = row.count + told.count
    row.at, row.event_id = max(row.at, min(told.event.at, now)), told.event.id
    row.message_id = told.message_id or row.message_id


def _row(around: Around, told: Told, now: datetime) -> Notification:
    on = around.wishes(told.user_id).on(told.kind)
    return Notification(
        team_id=told.event.team_id, user_id=told.user_id, kind=told.kind.value, thing=told.thing,
        event_id=told.event.id, box_id=around.there(Box, told.box_id),
        conversation_id=around.there(Conversation, told.conversation_id), message_id=told.message_id,
        tracked_email_id=told.tracked_email_id, at=min(told.event.at, now), created_at=now, count=told.count,
        listed=Channel.BELL in on, desktop=Channel.DESKTOP in on, email=Channel.EMAIL in on,
    )  # fmt: skip
