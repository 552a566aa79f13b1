"""Plans: the steps of follow-ups as they are asked for, and as a rep keeps them under a name for another time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from scheduler import placeholders, rich_text, snippets
from tracker.db import Base, Keyed, OfTeam
from tracker.people import Viewer
from webhooks import tracking

MOST_STEPS = 10
MOST_DAYS = 365
LONGEST = 100_000  # characters of a step's HTML
NAME_LIMIT = 60  # characters
MOST_PLANS = 50  # of one person


class SequenceError(ValueError):
    """A follow-up can't be set or changed as asked; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Step:
    """One follow-up as it is asked for: so many days after the mail before it, and what it says."""

    days: int
    html: str  #: with ``{{fields}}``


class SequencePlan(OfTeam, Keyed, Base):
    """Follow-ups under a name: its owner's alone."""

    __tablename__ = "sequence_plans"
    __table_args__ = (Index("uq_sequence_plans_name", "user_id", text("lower(name)"), unique=True),)

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    steps: Mapped[list[Any]] = mapped_column(JSONB)  #: [[days, HTML], …]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


def checked(session: Session, team_id: int, steps: Sequence[Step]) -> list[Step]:
    """The steps as they are kept. Raises `SequenceError` that says what is wrong with which."""
    if not 1 <= len(steps) <= MOST_STEPS:
        raise SequenceError(f"There are one to {MOST_STEPS} follow-ups")
    made = []
    for number, step in enumerate(steps, 1):
        markup = tracking.strip(session, placeholders.mended(step.html[:LONGEST]))
        if not 1 <= step.days <= MOST_DAYS:
            raise SequenceError(f"Follow-up {number}: expected 1 to {MOST_DAYS} days")
        if rich_text.is_blank(markup):
            raise SequenceError(f"Follow-up {number} says nothing; choose a template, or write a text")
        wrong = snippets.problems(session, team_id, "", markup)
        if wrong:
            raise SequenceError(f"Follow-up {number}: {'. '.join(wrong)}")
        made.append(Step(step.days, markup))
    return made


def keep(session: Session, viewer: Viewer, name: str, steps: Sequence[Step]) -> SequencePlan:
    """Keep steps under a name, in place of one's own of that name. Raises `SequenceError`."""
    name = " ".join(name.replace("\x00", "").split())
    if not name or len(name) > NAME_LIMIT:
        raise SequenceError(f"Give the saved follow-ups a name of at most {NAME_LIMIT} characters")
    there = of_user(session, viewer)
    plan = next((one for one in there if one.name.lower() == name.lower()), None)
    if plan is None:
        if len(there) >= MOST_PLANS:
            raise SequenceError(f"You have saved {MOST_PLANS} already; delete one first")
        assert viewer.user_id is not None
        plan = SequencePlan(team_id=viewer.team_id, user_id=viewer.user_id)
        session.add(plan)
    plan.name, plan.steps = name, [[one.days, one.html] for one in checked(session, viewer.team_id, steps)]
    session.flush()
    return plan


def steps_of(plan: SequencePlan) -> list[Step]:
    """The steps that a plan keeps."""
    return [Step(int(days), str(html)) for days, html in plan.steps]


def of_user(session: Session, viewer: Viewer) -> Sequence[SequencePlan]:
    """The viewer's own, by name."""
    query = select(SequencePlan).where(SequencePlan.user_id == viewer.user_id)
    return session.scalars(query.order_by(func.lower(SequencePlan.name))).all()


def by_key(session: Session, viewer: Viewer, key: str) -> SequencePlan | None:
    """The viewer's own with this key."""
    query = select(SequencePlan).where(SequencePlan.user_id == viewer.user_id, SequencePlan.key == key)
    return session.scalar(query)
