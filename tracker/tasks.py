"""Tasks: what somebody has to do, on a box or on its own, with a due date, an owner and a reminder."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.boxes import Box
from tracker.db import Base, Keyed, OfTeam
from tracker.people import User


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
