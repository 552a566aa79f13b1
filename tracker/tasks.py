"""Tasks: what somebody has to do, on a box or on its own, with a due date, an owner and a reminder."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import CursorResult, ForeignKey, Index, delete, func, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column, relationship

from tracker import access, boxes, events, facts
from tracker.boxes import Box, BoxError
from tracker.db import Base, Keyed, OfTeam
from tracker.events import Event
from tracker.people import User, Viewer

TITLE_LIMIT = 300  # characters


class TaskError(BoxError):
    """A task can't be changed as asked; the text says why and what to do."""


class Task(OfTeam, Keyed, Base):
    """One thing to do."""

    __tablename__ = "tasks"
    __table_args__ = (
        Index("ix_tasks_box_id_done_at", "box_id", "done_at"),
        Index("ix_tasks_assignee_id_due_on", "assignee_id", "due_on", postgresql_where=text("done_at IS NULL")),
        Index("ix_tasks_team_id_remind_at", "team_id", "remind_at", postgresql_where=text("done_at IS NULL")),
    )

    box_id: Mapped[int | None] = mapped_column(ForeignKey("boxes.id", ondelete="CASCADE"))
    title: Mapped[str]
    #: A day as people say it; the owner's time zone decides when it begins.
    due_on: Mapped[date | None]
    assignee_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    remind_at: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    box: Mapped[Box | None] = relationship()
    assignee: Mapped[User | None] = relationship(foreign_keys=[assignee_id])


def create(
    session: Session,
    viewer: Viewer,
    title: str,
    *,
    box: Box | None = None,
    due_on: date | None = None,
    assignee_id: int | None = None,
    remind_at: datetime | None = None,
    now: datetime,
) -> Task:
    """Set a task, on a box or on its own; whoever sets it owns it unless somebody else is named.

    Raises `TaskError`, also for an owner who does not see the box.
    """
    if assignee_id != viewer.user_id:
        _check_owner(session, viewer, box, assignee_id)
    task = Task(
        team_id=viewer.team_id,
        box_id=box.id if box else None,
        title=_title(title),
        due_on=due_on,
        assignee_id=assignee_id or viewer.user_id,
        remind_at=remind_at,
        created_by_id=viewer.user_id,
        created_at=now,
    )
    session.add(task)
    session.flush()
    _record(session, viewer, "task.created", task, at=now, due_on=_iso(due_on))
    _count(session, task)
    return task


def _check_owner(session: Session, viewer: Viewer, box: Box | None, user_id: int | None) -> None:
    """Whoever has to do something sees on which box."""
    user = session.get(User, user_id) if user_id is not None else None
    if user_id is not None and (user is None or user.team_id != viewer.team_id or user.removed_at is not None):
        raise TaskError("There is no such person in the team any more; choose somebody else")
    if user is not None and not _sees(session, box, user):
        raise TaskError(
            f"{user.name} doesn’t see this box: choose somebody who does, or name them under “Who sees this box”"
        )


def _sees(session: Session, box: Box | None, user: User) -> bool:
    return box is None or bool(access.seers(session, box, [user]))


def may_own(session: Session, task: Task, user: User) -> bool:
    """Whether somebody can be given a task: they see its box, if it has one."""
    return _sees(session, task.box, user)


def _title(title: str) -> str:
    title = " ".join(title.replace("\x00", "").split())
    if not title:
        raise TaskError("A task needs a title: what is to be done?")
    if len(title) > TITLE_LIMIT:
        raise TaskError(f"A task's title has at most {TITLE_LIMIT} characters; put the rest into a note")
    return title


def change(session: Session, viewer: Viewer, task: Task, **changes: Any) -> None:
    """Change a task's `title`, `due_on`, `assignee_id` or `remind_at`.

    Raises `TaskError`, also for a new owner who does not see the box.
    """
    if "title" in changes:
        changes["title"] = _title(changes["title"])
    told = {name: value for name, value in changes.items() if getattr(task, name) != value}
    if not told:
        return
    if "assignee_id" in told:
        _check_owner(session, viewer, task.box, told["assignee_id"])
    before = {name: _iso(getattr(task, name)) for name in told}
    for name, value in told.items():
        setattr(task, name, value)
    session.flush()
    after = {name: _iso(value) for name, value in told.items()}
    _record(session, viewer, "task.changed", task, before=before, after=after)
    _count(session, task)


def complete(session: Session, viewer: Viewer, task: Task, now: datetime) -> None:
    """Say that a task is done; saying it twice changes nothing."""
    _settle(session, viewer, task, "task.completed", Task.done_at.is_(None), now)


def reopen(session: Session, viewer: Viewer, task: Task) -> None:
    """Say that a task is not done after all."""
    _settle(session, viewer, task, "task.reopened", Task.done_at.is_not(None), None)


def _settle(session: Session, viewer: Viewer, task: Task, kind: str, where: Any, done_at: datetime | None) -> None:
    changed = session.execute(
        update(Task).where(Task.id == task.id, where).values(done_at=done_at),
        execution_options={"synchronize_session": False},
    )
    session.refresh(task, ["done_at"])
    if isinstance(changed, CursorResult) and changed.rowcount == 1:
        _record(session, viewer, kind, task)
        _count(session, task)


def remove(session: Session, viewer: Viewer, task: Task) -> None:
    """Delete a task. The event says what it was, so that `restore` can bring it back."""
    gone = session.scalar(delete(Task).where(Task.id == task.id).returning(Task.id))
    if gone is None:
        return
    kept = {column: _iso(getattr(task, column)) for column in ("due_on", "remind_at", "done_at", "created_at")}
    kept |= {"assignee_id": task.assignee_id, "created_by_id": task.created_by_id}
    _record(session, viewer, "task.removed", task, kept=kept)
    _count(session, task)


#: How far back in the log a deleted task without a box is looked for; one of a box is found in the box's own.
UNDO_EVENTS = 20_000


def restore(session: Session, viewer: Viewer, key: str, box: Box | None = None) -> Task:
    """Bring a deleted task of a box (or of none) back. Raises `TaskError` if there is nothing to bring back."""
    query = (
        select(Event)
        .where(Event.team_id == viewer.team_id, Event.kind == "task.removed", Event.data["task"].astext == key)
        .order_by(Event.id.desc())
    )
    if box is not None:
        query = query.where(Event.box_id.in_(boxes.ids_of(session, box)))
    else:
        last = select(func.max(Event.id)).scalar_subquery()
        query = query.where(Event.box_id.is_(None), Event.id > last - UNDO_EVENTS)
    event = session.scalars(query.limit(1)).first()
    if event is None:
        raise TaskError("There is no such task to bring back")
    kept: dict[str, Any] = dict(event.data["kept"])
    for name in ("remind_at", "done_at", "created_at"):
        kept[name] = datetime.fromisoformat(kept[name]) if kept[name] else None
    kept["due_on"] = date.fromisoformat(kept["due_on"]) if kept["due_on"] else None
    for name in ("assignee_id", "created_by_id"):  # whoever left meanwhile
        kept[name] = kept[name] if session.get(User, kept[name] or 0) else None
    owner = session.get(User, kept["assignee_id"] or 0)
    if owner is not None and (owner.removed_at is not None or not _sees(session, box, owner)):
        kept["assignee_id"] = None
    row = {"team_id": viewer.team_id, "key": key, "box_id": box.id if box else None, "title": event.data["title"]}
    session.execute(insert(Task).values(**row, **kept).on_conflict_do_nothing(index_elements=["key"]))
    task = by_key(session, viewer.team_id, key)
    assert task is not None
    _record(session, viewer, "task.restored", task)
    _count(session, task)
    return task


def by_key(session: Session, team_id: int, key: str) -> Task | None:
    """The team's task with this key."""
    return session.scalar(select(Task).where(Task.team_id == team_id, Task.key == key))


def of_box(session: Session, box_id: int, *, done: bool = False, limit: int = 100) -> Sequence[Task]:
    """A box's tasks: those to do, the most urgent first; or those that are done, the last first."""
    query = select(Task).where(Task.box_id == box_id).options(joinedload(Task.assignee))
    if done:
        query = query.where(Task.done_at.is_not(None)).order_by(Task.done_at.desc(), Task.id.desc())
    else:
        query = query.where(Task.done_at.is_(None)).order_by(Task.due_on.asc().nulls_last(), Task.id)
    return session.scalars(query.limit(limit)).all()


def due_for(
    session: Session, user_id: int, day: date, *, limit: int = 50, after: Task | None = None
) -> Sequence[Task]:
    """What somebody has to do on a day or had to do before it, the most urgent first; with box and stage.

    Tasks of boxes that are archived or deleted wait with their box. `after` is the last of the page before.
    """
    query = (
        select(Task)
        .outerjoin(Box, Box.id == Task.box_id)
        .where(Task.assignee_id == user_id, Task.done_at.is_(None), Task.due_on <= day)
        .where(or_(Task.box_id.is_(None), boxes.is_listed()))
        .options(joinedload(Task.box).joinedload(Box.stage), joinedload(Task.box).joinedload(Box.pipeline))
        .order_by(Task.due_on, Task.id)
    )
    if after is not None:
        query = query.where(tuple_(Task.due_on, Task.id) > tuple_(after.due_on, after.id))
    return session.scalars(query.limit(limit)).all()


def _iso(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _count(session: Session, task: Task) -> None:
    if task.box_id is not None:
        facts.refresh(session, [task.box_id])


def _record(
    session: Session, viewer: Viewer, kind: str, task: Task, *, at: datetime | None = None, **data: Any
) -> None:
    when = {"at": at} if at else {}
    assignee = session.get(User, task.assignee_id) if task.assignee_id else None
    events.record(
        session,
        task.team_id,
        kind,
        actor=viewer.actor,
        user_id=viewer.user_id,
        box_id=task.box_id,
        data={"task": task.key, "title": task.title, "assignee": assignee.key if assignee else None, **data},
        **when,
    )
