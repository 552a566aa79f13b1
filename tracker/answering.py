"""Answering: a reader of a teammate's mail asks its owner to answer it. What is asked is a task of the owner's.

The task says nothing of the mail: a box is seen by people who may not read all mail in it, and a title stays when
the mail is shared no more. The log says which mail it is about; whoever may read that finds it from the task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from tracker import access, events, sharing, tasks
from tracker.boxes import Box, BoxError
from tracker.db import among
from tracker.events import ANSWER_ASKED, Event
from tracker.filing import FILED, Filing
from tracker.messages import Message
from tracker.people import OwnAddress, Role, User, Viewer
from tracker.sharing import Why
from tracker.tasks import Task

TEXT_LIMIT = 500  # characters
MOST_A_DAY = 50  # that one person may ask for within a day
DAY = timedelta(days=1)


class AnswerError(BoxError):
    """An answer can't be asked for; the text says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """That an answer was asked for, and the task is not done yet."""

    asker: str
    owner: str  #: whose task it is now
    text: str  #: for the two of them
    by_me: bool
    to_me: bool


def offers(
    session: Session, viewer: Viewer, messages: Iterable[Message], reasons: Mapping[int, Why]
) -> dict[int, User]:
    """Whom the viewer may ask to answer these messages, which they read but don't hold (`reasons`: why), by id.

    Nobody for what its owner wrote themselves, and nobody who got it by Bcc: such an owner is never named.
    """
    there = [one for one in messages if one.id in reasons]
    if not there:
        return {}
    owners, addresses = _owners(session, viewer, {reasons[one.id].owner_id for one in there})
    allowed = _in_boxes(session, viewer, there) if viewer.role == Role.GUEST else None
    found = {}
    for one in there:
        owner = owners.get(reasons[one.id].owner_id or 0)
        if owner is None or (owner.id, one.sender_normalized) in addresses:
            continue
        if _is_named(owner, reasons[one.id]) and (allowed is None or one.conversation_id in allowed):
            found[one.id] = owner
    return found


def _owners(
    session: Session, viewer: Viewer, ids: set[int | None]
) -> tuple[dict[int, User], set[tuple[int, str | None]]]:
    """Those who are still in the team, and the addresses that are theirs."""
    query = (
        select(User, OwnAddress.normalized)
        .outerjoin(OwnAddress, OwnAddress.user_id == User.id)
        .where(among(User.id, ids - {None}), User.team_id == viewer.team_id, User.removed_at.is_(None))
    )
    rows = session.execute(query).all()
    return {user.id: user for user, _ in rows}, {(user.id, address) for user, address in rows}


def _is_named(owner: User, reason: Why) -> bool:
    """Whether the reason names the owner: not who got a blind copy."""
    return reason.because.startswith((f"{owner.name} shares ", f"{owner.name} had shared "))


def _in_boxes(session: Session, viewer: Viewer, messages: Sequence[Message]) -> set[int]:
    """The conversations that are in a box of the viewer's: a guest sets tasks nowhere else."""
    query = (
        select(Filing.conversation_id)
        .join(Box, Box.id == Filing.box_id)
        .where(among(Filing.conversation_id, {one.conversation_id for one in messages}), Filing.state == FILED)
        .where(access.may_see(viewer), Box.deleted_at.is_(None))
    )
    return set(session.scalars(query))


def asked(session: Session, viewer: Viewer, message_ids: Iterable[int]) -> dict[int, Asked]:
    """For which of these messages, which the viewer may read, an answer is asked for; their own asking first."""
    ids = list(message_ids)
    if not ids:
        return {}
    asker, owner = aliased(User), aliased(User)
    query = (
        select(Event.message_id, Event.user_id, asker.name, owner.id, owner.name, Event.data["text"].astext)
        .join(Task, Task.key == Event.data["task"].astext)
        .outerjoin(asker, asker.id == Event.user_id)
        .outerjoin(owner, owner.id == Task.assignee_id)
        .where(Event.team_id == viewer.team_id, Event.kind == ANSWER_ASKED, among(Event.message_id, ids))
        .where(Task.team_id == viewer.team_id, Task.done_at.is_(None))
        .order_by(Event.user_id == viewer.user_id, Event.id)
    )
    found = {}
    for message_id, user_id, name, owner_id, owner_name, text in session.execute(query):
        by_me, to_me = user_id == viewer.user_id, owner_id == viewer.user_id
        told = (text or "") if by_me or to_me else ""
        found[message_id] = Asked(name or "Somebody", owner_name or "nobody", told, by_me, to_me)
    return found


def ask(session: Session, viewer: Viewer, message: Message, text: str, now: datetime) -> User | None:
    """Ask the owner of a mail that the viewer may read to answer it: a task on its box, or on none.

    Whom was asked (once: asking again while it is open changes nothing); None if there is nobody to ask.
    Raises `AnswerError`.
    """
    # One person's requests one after the other: what is sent twice is asked once.
    session.execute(select(User.id).where(User.id == viewer.user_id).with_for_update())
    reasons = sharing.why(session, viewer, [message.id])
    owner = offers(session, viewer, [message], reasons).get(message.id)
    if owner is None or owner.id == viewer.user_id or asked(session, viewer, [message.id]):
        return owner
    if len(text) > TEXT_LIMIT:
        raise AnswerError(f"At most {TEXT_LIMIT} characters; this has {len(text):,}. Put the rest into a note")
    _may_ask(session, viewer, now)
    box = _box(session, viewer, message, owner)
    if box is None and viewer.role == Role.GUEST:
        return None
    task = tasks.create(session, viewer, _title(box, message), box=box, assignee_id=owner.id, now=now)
    events.record(
        session, viewer.team_id, ANSWER_ASKED, actor=viewer.actor, user_id=viewer.user_id, at=now,
        box_id=box.id if box else None, conversation_id=message.conversation_id, message_id=message.id,
        data={"user": owner.key, "task": task.key, "text": text},
    )  # fmt: skip
    return owner


def _may_ask(session: Session, viewer: Viewer, now: datetime) -> None:
    mine = select(func.count()).where(
        Event.team_id == viewer.team_id, Event.kind == ANSWER_ASKED, Event.user_id == viewer.user_id,
        Event.at > now - DAY,
    )  # fmt: skip
    if (session.scalar(mine) or 0) >= MOST_A_DAY:
        raise AnswerError(f"You asked {MOST_A_DAY} times today. Ask again tomorrow, or talk to them.")


def _box(session: Session, viewer: Viewer, message: Message, owner: User) -> Box | None:
    """The box that the conversation was put into first, of those that both of them see."""
    query = (
        select(Box)
        .join(Filing, Filing.box_id == Box.id)
        .where(Filing.conversation_id == message.conversation_id, Filing.state == FILED)
        .where(access.may_see(viewer), Box.deleted_at.is_(None))
        .order_by(Filing.decided_at, Filing.id)
    )
    found = session.scalars(query).all()
    seen = access.watchers(session, [one.id for one in found], [owner])
    return next((one for one in found if (owner.id, one.id) in seen), None)


def _title(box: Box | None, message: Message) -> str:
    """Whom to answer, if that is a contact of the box, whom everybody knows who sees the task."""
    for contact in box.contacts if box else ():
        if any(one.normalized == message.sender_normalized for one in contact.addresses):
            return f"Answer {contact.name or message.sender_normalized}"[: tasks.TITLE_LIMIT]
    return "Answer a mail"


def mails_of(session: Session, viewer: Viewer, found: Iterable[Task]) -> dict[str, str]:
    """The keys of the mails that tasks ask to answer, by the tasks' keys: of those that the viewer may read."""
    keys = [one.key for one in found if one.assignee_id != one.created_by_id]
    if not keys:
        return {}
    task = Event.data["task"].astext
    query = (
        select(task, Message.key)
        .join(Message, Message.id == Event.message_id)
        .where(Event.team_id == viewer.team_id, Event.kind == ANSWER_ASKED, task.in_(keys))
        .where(sharing.may_read(viewer))
    )
    return dict(session.execute(query).all())
