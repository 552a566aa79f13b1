"""Reminders of tasks: rung once when their time has come, in the log and on the next page that their owner opens.

When to be reminded is the task's `remind_at`. Whoever notifies people (on the desktop) reads `task.reminded`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from sqlalchemy import ForeignKey, Index, func, select, text, update
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column

from scheduler import local_time, time_zones
from tracker import boxes, events, tasks
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
    return tasks.create(session, viewer, title, box=box, due_on=mine, remind_at=instant, now=now)
