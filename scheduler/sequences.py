"""Follow-ups: "in N days if no answer", up to ten steps, each a reply in the thread of the mail before.

A *run* follows up one mail. It waits until that mail has gone, then queues its steps one after the other through
the outbox, each when its turn comes. What stops it is looked at when a step is queued, and by the outbox's guards
once more just before it goes. The tick is in `sequence_turns`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    CursorResult,
    ForeignKey,
    Index,
    SmallInteger,
    UniqueConstraint,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, joinedload, mapped_column, relationship, selectinload

from scheduler import outbox
from scheduler.outbox import ScheduledEmail
from scheduler.sequence_plans import MOST_STEPS as MOST_STEPS
from scheduler.sequence_plans import SequenceError as SequenceError
from scheduler.sequence_plans import Step as Step
from scheduler.sequence_plans import checked as checked
from scheduler.states import EDITABLE, OPEN, State
from scheduler.unsubscribed import Unsubscribed as Unsubscribed
from scheduler.unsubscribed import refuse_unsubscribed
from tracker import events
from tracker.addresses import Address, parse_addresses, written
from tracker.boxes import Box
from tracker.db import Base, Identified, Keyed, OfTeam
from tracker.mailboxes import Mailbox
from tracker.people import Role, User, Viewer


class RunState(StrEnum):
    """Where a run is."""

    WAITING = "waiting"  #: for its first mail to go
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"  #: all steps have gone, and there was no answer
    STOPPED = "stopped"  #: `stopped_by` says by what


class StepState(StrEnum):
    """Where a step is."""

    WAITING = "waiting"
    QUEUED = "queued"  #: it is a scheduled email now
    SENT = "sent"


class StoppedBy(StrEnum):
    """What ended a run."""

    ANSWER = "answer"
    BOUNCE = "bounce"
    UNSUBSCRIBED = "unsubscribed"
    CLOSED = "closed"  #: the box
    CANCELLED = "cancelled"  #: the mail that it follows up, or one of its own
    PERSON = "person"


#: A change is one conditional UPDATE that must touch exactly one row; no other arrow goes.
ARROWS: dict[RunState, frozenset[RunState]] = {
    RunState.WAITING: frozenset({RunState.RUNNING, RunState.PAUSED, RunState.STOPPED}),
    RunState.RUNNING: frozenset({RunState.PAUSED, RunState.DONE, RunState.STOPPED}),
    RunState.PAUSED: frozenset({RunState.WAITING, RunState.RUNNING, RunState.STOPPED}),
    RunState.DONE: frozenset(),
    RunState.STOPPED: frozenset(),
}
LIVE = (RunState.WAITING, RunState.RUNNING, RunState.PAUSED)


class SequenceRun(OfTeam, Keyed, Base):
    """The follow-ups of one mail."""

    __tablename__ = "sequence_runs"
    __table_args__ = (
        Index("ix_sequence_runs_next_at", "next_at", postgresql_where=text("state in ('waiting', 'running')")),
        Index("ix_sequence_runs_box_id", "box_id", "id"),
        Index("ix_sequence_runs_mailbox_id_gmail_thread_id", "mailbox_id", "gmail_thread_id"),
        CheckConstraint(f"state in ({', '.join(repr(one.value) for one in RunState)})", name="state"),
        CheckConstraint("(state = 'stopped') = (stopped_by IS NOT NULL)", name="stopped"),
        CheckConstraint("state <> 'running' OR began_at IS NOT NULL", name="running"),
    )

    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"))
    box_id: Mapped[int | None] = mapped_column(ForeignKey("boxes.id", ondelete="SET NULL"))
    #: The mail that is followed up.
    email_id: Mapped[int | None] = mapped_column(
        ForeignKey("scheduled_emails.id", ondelete="SET NULL"), index=True
    )
    subject: Mapped[str]
    to: Mapped[list[str]] = mapped_column(server_default="{}")  #: as written
    cc: Mapped[list[str]] = mapped_column(server_default="{}")
    recipients: Mapped[list[str]] = mapped_column(server_default="{}")  #: normal forms, the main one first
    state: Mapped[str] = mapped_column(server_default=RunState.WAITING.value)
    stopped_by: Mapped[str | None]
    why: Mapped[str | None]  #: why it is paused or stopped, in words
    began_at: Mapped[datetime | None]  #: when the first mail went: answers count from then on
    last_at: Mapped[datetime | None]  #: when the last one went: days are counted from there
    gmail_thread_id: Mapped[str | None]
    references: Mapped[list[str]] = mapped_column(
        server_default="{}"
    )  #: Message-IDs of the thread, the last one last
    next_at: Mapped[datetime]  #: when it is looked at again
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    steps: Mapped[list[SequenceStep]] = relationship(order_by="SequenceStep.position", back_populates="run")
    user: Mapped[User | None] = relationship()
    mailbox: Mapped[Mailbox] = relationship()


class SequenceStep(OfTeam, Identified, Base):
    """One follow-up of a run."""

    __tablename__ = "sequence_steps"
    __table_args__ = (
        UniqueConstraint("run_id", "position"),
        # A step is one scheduled email, and never a second.
        UniqueConstraint("email_id"),
        CheckConstraint(f"state in ({', '.join(repr(one.value) for one in StepState)})", name="state"),
        CheckConstraint(f"position between 1 and {MOST_STEPS}", name="position"),
    )

    run_id: Mapped[int] = mapped_column(ForeignKey("sequence_runs.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(SmallInteger)
    days: Mapped[int] = mapped_column(SmallInteger)  #: after the mail before it
    html: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=StepState.WAITING.value)
    email_id: Mapped[int | None] = mapped_column(ForeignKey("scheduled_emails.id", ondelete="SET NULL"))
    due_at: Mapped[datetime | None]  #: as far as it is known
    sent_at: Mapped[datetime | None]

    run: Mapped[SequenceRun] = relationship(back_populates="steps")


# -- people's verbs


def start(
    session: Session, viewer: Viewer, email: ScheduledEmail, steps: Sequence[Step], *, now: datetime
) -> SequenceRun:
    """Follow up a queued mail of one's own if no answer comes. Raises `SequenceError`, `PermissionError`."""
    if email.team_id != viewer.team_id or not (viewer.is_system or viewer.user_id == email.user_id):
        raise PermissionError("Only whoever queued a mail follows it up")
    if email.state not in (*OPEN, State.SENT):
        raise SequenceError("That mail does not go out; there is nothing to follow up")
    asked = select(SequenceRun.id).where(SequenceRun.email_id == email.id, SequenceRun.state.in_(LIVE))
    if session.scalar(asked) is not None:
        raise SequenceError("That mail has follow-ups already; stop them first")
    to = to_of(email)
    if not to:
        raise SequenceError("Follow-ups need somebody in To: they go to nobody whom Bcc hides")
    refuse_unsubscribed(session, email.team_id, email.recipients)
    run = SequenceRun(
        team_id=email.team_id, user_id=viewer.user_id or email.user_id, mailbox_id=email.mailbox_id,
        box_id=email.box_id, email_id=email.id, subject=email.subject, to=to, cc=[],
        recipients=email.recipients, state=RunState.WAITING.value, next_at=now, created_at=now, version=1,
        references=[],
    )  # fmt: skip
    return begin(session, viewer, run, steps)


def begin(session: Session, viewer: Viewer, run: SequenceRun, steps: Sequence[Step]) -> SequenceRun:
    """Give a new run its steps, and keep it. Raises `SequenceError`."""
    for position, step in enumerate(checked(session, run.team_id, steps), 1):
        made = SequenceStep(team_id=run.team_id, position=position, days=step.days, html=step.html)
        made.state = StepState.WAITING.value
        run.steps.append(made)
    session.add(run)
    session.flush()
    record(session, run, "sequence.started", viewer, steps=len(run.steps))
    return run


def pause(session: Session, viewer: Viewer, run: SequenceRun, why: str = "") -> None:
    """Queue nothing more until it goes on; a step that is queued already is held.

    Raises `SequenceError`, or `OutboxConflict` if that step is just going out.
    """
    may_change(viewer, run)
    _lock(session, run)
    queued = queued_email(session, run)
    if queued is not None and queued.state in EDITABLE and queued.state != State.HELD:
        outbox.hold(session, viewer, queued, "its follow-ups are paused", by="sequence")
    change(session, run, RunState.PAUSED, why=why or None)
    record(session, run, "sequence.paused", viewer, why=why)


def resume(session: Session, viewer: Viewer, run: SequenceRun, *, now: datetime) -> None:
    """Go on. Raises `SequenceError`."""
    may_change(viewer, run)
    if run.state != RunState.PAUSED:
        raise SequenceError("It is not paused; look at it again")
    _lock(session, run)
    queued = queued_email(session, run)
    change(session, run, RunState.RUNNING if run.began_at else RunState.WAITING, why=None, next_at=now)
    if queued is not None and queued.state == State.HELD and queued.held_by == "sequence":
        _back_to_waiting(session, viewer, run, queued, now)
    record(session, run, "sequence.resumed", viewer)


def stop(
    session: Session, viewer: Viewer, run: SequenceRun, by: StoppedBy = StoppedBy.PERSON, why: str = "", *,
    now: datetime,
) -> None:  # fmt: skip
    """End a run; a step that is queued and not yet on its way is cancelled.

    Raises `SequenceError`, or `OutboxConflict` if that step is just going out.
    """
    may_change(viewer, run)
    _lock(session, run)
    queued = queued_email(session, run)
    # First: if it is claimed at this moment, nothing is changed here either, and whoever asked looks again.
    if queued is not None and queued.state in EDITABLE:
        outbox.cancel(session, viewer, queued, f"follow-ups ended{f': {why}' if why else ''}", now=now)
    change(session, run, RunState.STOPPED, stopped_by=by.value, why=why or None)
    record(session, run, "sequence.stopped", viewer, why=why, by=by.value)


def unsubscribe(session: Session, viewer: Viewer, address: str, why: str, *, now: datetime) -> int:
    """Nobody follows up with this address any more; returns how many runs that ended.

    A run that somebody else is on is left to its own next look, which ends it: whoever waited for it here could
    be waited for there (two ticks that find the same person's wish in two runs).
    """
    normalized = next((one.normalized for one in parse_addresses([address])), "")
    if not normalized:
        raise SequenceError("Expected an address")
    row = {"team_id": viewer.team_id, "normalized": normalized, "at": now, "why": why[:200]}
    session.execute(insert(Unsubscribed).values(row).on_conflict_do_nothing())
    query = select(SequenceRun).where(
        SequenceRun.team_id == viewer.team_id, SequenceRun.state.in_(LIVE),
        SequenceRun.recipients.contains([normalized]),
    )  # fmt: skip
    session.flush()
    locked = (
        query.order_by(SequenceRun.id).with_for_update(skip_locked=True).execution_options(populate_existing=True)
    )
    runs = session.scalars(locked).all()
    system = Viewer(viewer.team_id, viewer.user_id, Role.ADMIN, viewer.door)
    for run in runs:
        stop(session, system, run, StoppedBy.UNSUBSCRIBED, why, now=now)
    return len(runs)


# -- reading


def by_key(session: Session, viewer: Viewer, key: str) -> SequenceRun | None:
    """The team's run with this key, if the viewer may see it (`visible`)."""
    return session.scalar(select(SequenceRun).where(visible(viewer), SequenceRun.key == key))


def visible(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: the follow-ups that the viewer may see: one's own, and those of mail that is the team's."""
    mine = SequenceRun.team_id == viewer.team_id
    if viewer.is_system:
        return mine
    return mine & (
        (SequenceRun.user_id == viewer.user_id)
        | (outbox.in_sight(viewer, SequenceRun.box_id) & outbox.shared("sequence_runs"))
    )


def of_box(session: Session, viewer: Viewer, box_id: int, *, limit: int = 10) -> Sequence[SequenceRun]:
    """A box's runs with their steps, those that go on first; two queries."""
    query = (
        select(SequenceRun)
        .where(visible(viewer), SequenceRun.box_id == box_id)
        .options(selectinload(SequenceRun.steps), joinedload(SequenceRun.user))
        .order_by(SequenceRun.state.in_(LIVE).desc(), SequenceRun.id.desc())
    )
    return session.scalars(query.limit(limit)).all()


def next_step(run: SequenceRun) -> SequenceStep | None:
    """The step that is queued, or else the first that waits."""
    return next((step for step in run.steps if step.state != StepState.SENT), None)


def queued_email(session: Session, run: SequenceRun) -> ScheduledEmail | None:
    """The scheduled email of the step that is queued."""
    step = next_step(run)
    if step is None or step.state != StepState.QUEUED or step.email_id is None:
        return None
    return session.get(ScheduledEmail, step.email_id)


# -- what the tick shares


def _lock(session: Session, run: SequenceRun) -> None:
    """Lock a run before its steps' mails, as the tick does, and read its steps as they are now.

    Raises `SequenceError` if it changed meanwhile.
    """
    session.flush()
    query = select(SequenceRun.version).where(SequenceRun.id == run.id).with_for_update()
    if session.scalar(query) != run.version:
        raise SequenceError("It was changed meanwhile; look at it again")
    steps = select(SequenceStep).where(SequenceStep.run_id == run.id)
    session.scalars(steps.execution_options(populate_existing=True)).all()


def change(session: Session, run: SequenceRun, to: RunState, **columns: Any) -> None:
    """Change a run's state along an arrow. Raises `SequenceError` if it changed meanwhile."""
    if to not in ARROWS[RunState(run.state)]:
        raise SequenceError(f"It is {run.state} already; look at it again")
    changed = session.execute(
        update(SequenceRun)
        .where(SequenceRun.id == run.id, SequenceRun.state == run.state, SequenceRun.version == run.version)
        .values(state=to.value, version=SequenceRun.version + 1, **columns)
        .execution_options(synchronize_session=False)
    )
    if cast("CursorResult[Any]", changed).rowcount != 1:
        raise SequenceError("It was changed meanwhile; look at it again")
    session.refresh(run)


def move_step(session: Session, step: SequenceStep, before: StepState, to: StepState, **columns: Any) -> None:
    """Change a step's state. Raises `SequenceError` if it changed meanwhile."""
    changed = session.execute(
        update(SequenceStep)
        .where(SequenceStep.id == step.id, SequenceStep.state == before.value)
        .values(state=to.value, **columns)
        .execution_options(synchronize_session=False)
    )
    if cast("CursorResult[Any]", changed).rowcount != 1:
        raise SequenceError("The step was changed meanwhile")
    session.refresh(step)


def _back_to_waiting(
    session: Session, viewer: Viewer, run: SequenceRun, queued: ScheduledEmail, now: datetime
) -> None:
    """A step that was held by the pause is written anew when its turn comes."""
    step = next_step(run)
    assert step is not None
    outbox.cancel(session, viewer, queued, "its follow-ups went on; it is queued anew", now=now)
    move_step(session, step, StepState.QUEUED, StepState.WAITING, email_id=None, due_at=None)


def may_change(viewer: Viewer, run: SequenceRun) -> None:
    """Raises `PermissionError` unless it is the viewer's, or they are an admin."""
    if run.team_id != viewer.team_id or not (
        viewer.is_system or viewer.role == Role.ADMIN or viewer.user_id == run.user_id
    ):
        raise PermissionError("Only whoever set these follow-ups, or an admin, may change them")


def record(session: Session, run: SequenceRun, kind: str, viewer: Viewer, **data: Any) -> None:
    """Record what happened to a run, in the transaction of the change."""
    told = {"run": run.key, "subject": run.subject, "to": ", ".join(run.to)[:300]}
    data["inside"] = outbox.inside(session, [run])[0]
    events.record(
        session, run.team_id, kind, actor=viewer.actor, user_id=viewer.user_id, box_id=run.box_id,
        mailbox_id=run.mailbox_id, data=told | {name: value for name, value in data.items() if value},
    )  # fmt: skip


def addresses(written: Sequence[str]) -> tuple[Address, ...]:
    """Addresses as they are kept, as those of a letter."""
    return tuple(parse_addresses(written))


def to_of(email: ScheduledEmail) -> list[str]:
    """Whom a mail's follow-ups go to, as it is kept: who stands in its To, and never who stands in Bcc."""
    letter = outbox.letter_of(email)
    return [written(one) for one in (letter.to if letter is not None else addresses(email.to))]


def box_of(session: Session, run: SequenceRun) -> Box | None:
    """The run's box; the one that it was merged into, if it was."""
    box = session.get(Box, run.box_id) if run.box_id else None
    for _ in range(5):
        if box is None or box.merged_into_id is None:
            break
        box = session.get(Box, box.merged_into_id)
    return box
