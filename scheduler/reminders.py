"""Reminders of tasks: rung once when their time has come, in the log and on the next page that their owner opens.

When to be reminded is the task's `remind_at`. Whoever notifies people (on the desktop) reads `task.reminded`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from sqlalchemy import DateTime, ForeignKey, Index, func, select, text, update
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column

from scheduler import local_time, time_zones
from scheduler.zones.evidence import Inferred
from tracker import boxes, events, people, tasks, unions
from tracker.boxes import Box
from tracker.contacts import Contact
from tracker.db import Base, OfTeam, among
from tracker.people import User, Viewer
from tracker.tasks import Task, TaskError

AT_ONCE = 500  #: of one tick
SHOWN = 3  #: on one page


class Reminder(OfTeam, Base):
    """That a task's owner is reminded, and whether they saw it."""

    __tablename__ = "reminders"
    __table_args__ = (Index("ix_reminders_unseen", "user_id", postgresql_where=text("seen_at IS NULL")),)

    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    remind_at: Mapped[datetime]  #: the task's, as it was when it rang: another one rings again
    rung_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime | None]


class TheirClock(OfTeam, Base):
    """That a task's reminder is meant by a contact's clock; it moves when they turn out to be elsewhere."""

    __tablename__ = "reminders_by_their_clock"

    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), index=True)
    wall_time: Mapped[datetime] = mapped_column(DateTime(timezone=False))
    remind_at: Mapped[datetime]  #: as it was worked out: a task that has another was given it by a person


# One statement, so that two workers' ticks ring once: the second finds the row and changes nothing.
_RING = text(
    """
    INSERT INTO reminders AS r (team_id, task_id, user_id, remind_at, rung_at)
    SELECT k.team_id, k.id, k.assignee_id, k.remind_at, :now
    FROM tasks k LEFT JOIN boxes b ON b.id = k.box_id
    WHERE k.done_at IS NULL AND k.remind_at <= :now AND k.assignee_id IS NOT NULL
      AND b.archived_at IS NULL AND b.deleted_at IS NULL
      AND NOT EXISTS (SELECT 1 FROM reminders o WHERE o.task_id = k.id AND o.remind_at = k.remind_at
                      AND o.user_id = k.assignee_id)
    ORDER BY k.id LIMIT :limit
    ON CONFLICT (task_id) DO UPDATE
      SET user_id = excluded.user_id, remind_at = excluded.remind_at, rung_at = excluded.rung_at, seen_at = NULL
      WHERE (r.user_id, r.remind_at) IS DISTINCT FROM (excluded.user_id, excluded.remind_at)
    RETURNING r.task_id
    """
)


def ring(session: Session, now: datetime) -> int:
    """The tick: remind of what has come; returns how many there were, at most `AT_ONCE`."""
    ids = session.scalars(_RING, {"now": now, "limit": AT_ONCE}).all()
    query = select(Task).where(among(Task.id, ids)).options(joinedload(Task.assignee))
    rung = [_event(task) for task in session.scalars(query.execution_options(populate_existing=True))]
    events.record_many(session, rung)
    return len(ids)


def _event(task: Task) -> dict[str, object]:
    assignee = task.assignee.key if task.assignee else None
    return {
        "team_id": task.team_id,
        "kind": "task.reminded",
        "actor": events.SYSTEM,
        "user_id": task.assignee_id,
        "box_id": task.box_id,
        "data": {"task": task.key, "title": task.title, "assignee": assignee},
    }


def unseen(session: Session, user: User, now: datetime) -> Sequence[Task]:
    """What somebody is to be reminded of on the page that they open; seen with that."""
    query = (
        select(Task)
        .join(Reminder, Reminder.task_id == Task.id)
        .where(Reminder.user_id == user.id, Reminder.seen_at.is_(None))
        .where(Task.done_at.is_(None), Task.assignee_id == user.id)
        .options(joinedload(Task.box))
        .order_by(Reminder.rung_at, Task.id)
    )
    found = session.scalars(query.limit(SHOWN)).all()
    if found:
        seen = update(Reminder).where(among(Reminder.task_id, [task.id for task in found])).values(seen_at=now)
        session.execute(seen.execution_options(synchronize_session=False))
    return found


def rung(session: Session, user: User, *, limit: int = 8) -> Sequence[Task]:
    """What somebody was reminded of and has not done, the last first."""
    query = (
        select(Task)
        .join(Reminder, Reminder.task_id == Task.id)
        .where(Reminder.user_id == user.id, Task.done_at.is_(None), Task.assignee_id == user.id)
        .options(joinedload(Task.box))
        .order_by(Reminder.rung_at.desc(), Task.id)
    )
    return session.scalars(query.limit(limit)).all()


def coming(session: Session, user: User, now: datetime, *, limit: int = 8) -> Sequence[Task]:
    """What somebody will be reminded of, the next first."""
    query = (
        select(Task)
        .outerjoin(Box, Box.id == Task.box_id)
        .where(Task.assignee_id == user.id, Task.done_at.is_(None), Task.remind_at > now)
        .where(Task.box_id.is_(None) | boxes.is_listed())
        .options(joinedload(Task.box))
        .order_by(Task.remind_at, Task.id)
    )
    return session.scalars(query.limit(limit)).all()


def remind(
    session: Session, viewer: Viewer, user: User, box: Box, title: str, day: date, at: time,
    contact: Contact | None, *, now: datetime,
) -> Task:  # fmt: skip
    """Set a task with a reminder at a wall time of one's own, or of where a contact is. Raises `TaskError`."""
    zone = user.time_zone
    if contact is not None:
        zone = time_zones.of_contact(session, contact.id, now, user.time_zone).zone
    instant = local_time.resolve(datetime.combine(day, at), ZoneInfo(zone))
    if instant <= now:
        raise TaskError(f"That has passed in {local_time.place_of(ZoneInfo(zone))}; choose a later time")
    mine = instant.astimezone(ZoneInfo(user.time_zone)).date()
    task = tasks.create(session, viewer, title, box=box, due_on=mine, remind_at=instant, now=now)
    if contact is not None:
        wall = datetime.combine(day, at)
        row = {"task_id": task.id, "team_id": task.team_id, "contact_id": contact.id, "wall_time": wall}
        session.add(TheirClock(**row, remind_at=instant))
        session.flush()
    return task


def _follow_zone(session: Session, contact_id: int, inferred: Inferred, now: datetime) -> None:
    """A contact is elsewhere than was known: what is to ring by their clock rings then; what has rung, has."""
    query = (
        select(TheirClock, Task)
        .join(Task, Task.id == TheirClock.task_id)
        .where(TheirClock.contact_id == contact_id, Task.remind_at == TheirClock.remind_at)
        .where(Task.done_at.is_(None), Task.remind_at > now)
        .order_by(Task.id)
        .with_for_update()
    )
    for row, task in session.execute(query).all():
        _move(session, row, task, local_time.resolve(row.wall_time, ZoneInfo(inferred.zone)))


def _move(session: Session, row: TheirClock, task: Task, instant: datetime) -> None:
    """The reminder, and with it the day on which the task is due, if that was the reminder's."""
    owner = session.get(User, task.assignee_id) if task.assignee_id else None
    own = ZoneInfo(owner.time_zone if owner else "UTC")
    before, after = (at.astimezone(own).date() for at in (row.remind_at, instant))
    changes = {"due_on": after} if task.due_on == before else {}
    row.remind_at = instant
    tasks.change(session, people.system_viewer(task.team_id, "reminders"), task, remind_at=instant, **changes)


def _follow_merge(session: Session, kept: int, gone: int, now: datetime) -> None:
    """Two contacts became one: their reminders are by the clock of the one that stays."""
    rows = update(TheirClock).where(TheirClock.contact_id == gone).values(contact_id=kept)
    moved = session.scalars(
        rows.returning(TheirClock.task_id), execution_options={"synchronize_session": False}
    ).all()
    if moved:
        session.flush()
        _follow_zone(session, kept, time_zones.of_contact(session, kept, now), now)


time_zones.on_change(_follow_zone)
if _follow_merge not in unions.on_merge:
    unions.on_merge.append(_follow_merge)
