"""Leaving: somebody is removed from the team. What they had shared stays; the rest goes with their mailboxes.

In one transaction they are out: no session, no key, no mailbox that is read, and their mail is nobody's to see but
for what was shared. What takes time (Gmail's drafts, Google's credentials, deleting their mail) is a job's,
`gmail_sync.farewell`, which begins from `mailboxes.left_at`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from tracker import api_keys, boxes, invitations, mailboxes, people, sessions, sharing, tasks
from tracker.api_keys import ApiKey
from tracker.boxes import Box
from tracker.db import everything
from tracker.mailboxes import Mailbox, State
from tracker.messages import Copy, Kept
from tracker.people import PeopleError, Role, User, Viewer
from tracker.tasks import Task


@dataclass(frozen=True, slots=True)
class Choice:
    """What the admin decides about the work of who leaves; None: nobody."""

    heir: User | None = None  #: has their boxes and open tasks from now on
    mail_to: User | None = None  #: has their queued mail, held until they look at it; else it is cancelled


@dataclass(frozen=True, slots=True)
class Room:
    """What a higher room has to do when somebody leaves."""

    tells: Callable[[Session, User], Sequence[str]]  #: what is theirs, as "3 queued mails"
    #: Does it, and says what became of it, as "3 queued mails were cancelled". Raises `PeopleError`.
    leave: Callable[[Session, Viewer, User, Choice, datetime], Sequence[str] | None]
    queued: Callable[[Session, User], int] = lambda _, __: 0  #: how much mail waits that somebody may be handed


@dataclass(frozen=True, slots=True)
class Left:
    """What is left to do, and what was done with their work."""

    mailboxes: list[int]  #: those that `gmail_sync.farewell` has to see to
    told: list[str]  #: what became of what rooms had of theirs, in words


_rooms: list[Room] = []


def register(room: Room) -> None:
    """Have a room asked when somebody leaves."""
    _rooms.append(room)


@dataclass(slots=True)
class Plan:
    """What will happen, in numbers."""

    boxes: int = 0
    tasks: int = 0
    sessions: int = 0
    api_keys: int = 0
    mailboxes: list[str] = field(default_factory=list)  #: their addresses
    mails: int = 0  #: in those
    more: list[str] = field(default_factory=list)  #: of other rooms, in words
    queued: int = 0  #: mails that wait and that somebody may be handed


def plan(session: Session, viewer: Viewer, user: User, now: datetime) -> Plan:
    """What would happen if this person left now."""
    _must_be_admin(viewer, user)
    with everything(session):
        return _plan(session, user, now)


def _plan(session: Session, user: User, now: datetime) -> Plan:
    own = mailboxes.of_user(session, user.id)

    def count(*conditions: object) -> int:
        return int(session.scalar(select(func.count()).where(*conditions)) or 0)  # type: ignore[arg-type]

    held = select(func.count(Copy.message_id.distinct())).where(Copy.mailbox_id.in_([one.id for one in own]))
    return Plan(
        boxes=count(Box.owner_id == user.id, Box.deleted_at.is_(None)),
        tasks=count(Task.assignee_id == user.id, Task.done_at.is_(None)),
        sessions=len(sessions.of_user(session, user.id, now)),
        api_keys=count(ApiKey.user_id == user.id, ApiKey.revoked_at.is_(None)),
        mailboxes=[one.address for one in own],
        mails=int(session.scalar(held) or 0) if own else 0,
        more=[words for room in _rooms for words in room.tells(session, user)],
        queued=sum(room.queued(session, user) for room in _rooms),
    )


def leave(session: Session, viewer: Viewer, user: User, choice: Choice, now: datetime) -> Left:
    """Remove somebody; what is left to do. Raises `PeopleError`."""
    _must_be_admin(viewer, user)
    for heir in (choice.heir, choice.mail_to):
        _may_inherit(user, heir)
    if choice.mail_to is not None and not may_send(session, choice.mail_to):
        raise PeopleError(f"{choice.mail_to.name} has no connected mailbox to send from; choose somebody else")
    # The work of who leaves, also what the admin may not see: handing it over is no looking into it.
    with everything(session):
        return _leave(session, viewer, user, choice, now)


def _leave(session: Session, viewer: Viewer, user: User, choice: Choice, now: datetime) -> Left:
    people.remove(session, viewer, user, now)
    sessions.end_all(session, viewer, user, now)
    api_keys.revoke_all(session, viewer, user, now)
    invitations.withdraw_of(session, viewer, user, now)
    told = [words for room in _rooms for words in room.leave(session, viewer, user, choice, now) or ()]
    _hand_over(session, viewer, user, choice.heir)
    sharing.keep_what_was_shared(session, user, now)
    return Left(_leave_mailboxes(session, user, now), told)


def _may_inherit(user: User, heir: User | None) -> None:
    if heir is None:
        return
    if heir.team_id != user.team_id or heir.removed_at is not None or heir.id == user.id:
        raise PeopleError("Choose somebody else of the team")
    if heir.role == Role.GUEST:
        raise PeopleError(f"{heir.name} is a guest; choose a member")


def may_send(session: Session, user: User) -> bool:
    """Whether somebody may be handed queued mail: it would go from a mailbox of theirs."""
    return any(one.state == State.CONNECTED for one in mailboxes.of_user(session, user.id))


def _hand_over(session: Session, viewer: Viewer, user: User, heir: User | None) -> None:
    owned = select(Box).where(Box.owner_id == user.id, Box.team_id == user.team_id).order_by(Box.id)
    for box in session.scalars(owned).all():
        boxes.assign(session, viewer, box, heir)
    open_ones = select(Task).where(Task.assignee_id == user.id, Task.done_at.is_(None)).order_by(Task.id)
    for task in session.scalars(open_ones).all():
        # Of a box that the heir may not see they could not even know it: it waits there for whoever does.
        goes_to = heir if heir is not None and tasks.may_own(session, task, heir) else None
        tasks.change(session, viewer, task, assignee_id=goes_to.id if goes_to else None)


def _leave_mailboxes(session: Session, user: User, now: datetime) -> list[int]:
    own = [one.id for one in mailboxes.of_user(session, user.id)]
    for id_ in own:
        mailboxes.move(session, id_, State.DISCONNECTED, reason=None, now=now)
    left = {"left_at": now, "wanted_at": now, "wanted_by": "its owner was removed"}
    session.execute(update(Mailbox).where(Mailbox.id.in_(own)).values(**left))
    return own


def kept_of(session: Session, user: User) -> int:
    """How many mails of somebody who left the team has kept."""
    query = select(func.count(Kept.message_id.distinct())).where(Kept.owner_id == user.id)
    return int(session.scalar(query) or 0)


def _must_be_admin(viewer: Viewer, user: User) -> None:
    if user.team_id != viewer.team_id or viewer.role != Role.ADMIN:
        raise PermissionError("Only an admin of the team removes somebody")
    if user.removed_at is not None:
        raise PeopleError(f"{user.name} was removed already")
