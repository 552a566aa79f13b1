"""The tick of the follow-ups: each run whose turn it is, one transaction a run.

A step becomes a scheduled email in the transaction that says so: a crash before the commit leaves neither, one
after it both. What a run waits for is read again from rows each time, so a tick that is lost, or comes twice,
changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from scheduler import local_time, outbox, replies, rich_text, sequence_stops, sequences, snippets, timing
from scheduler.letters import Letter, LetterError
from scheduler.local_time import LateRule, NoWorkingDay, There
from scheduler.outbox import About, OutboxError, ScheduledEmail, When, Zone
from scheduler.placeholders import fill
from scheduler.sequences import RunState, SequenceRun, SequenceStep, StepState, StoppedBy
from scheduler.states import State
from tracker import people
from tracker.addresses import Address, normalize, written
from tracker.conversations import Conversation, Thread
from tracker.db import Sessions, transaction
from tracker.people import User, Viewer

log = logging.getLogger(__name__)
NINE = time(9)
SOME = 500  #: runs of one tick
LEAD = timedelta(minutes=30)  #: a step is queued so long before it goes, so that its draft lies ready
OFTEN = timedelta(minutes=1)  #: how often a mail on its way is looked at
SELDOM = timedelta(hours=1)  #: and a run that waits for its next day: an answer is noticed at the latest then
READ_BACK = timedelta(hours=1)  #: so long the ids of a sent mail are waited for
SOON = timedelta(minutes=1)  #: what is late goes then: its draft has to be made
AGAIN = timedelta(minutes=10)  #: after something went wrong
DOOR = "follow-ups"


@dataclass(frozen=True, slots=True)
class Where:
    """Where the main recipient is, as it is known now."""

    there: There
    country: str | None


Finds = Callable[[Session, SequenceRun, datetime], Where]


def advance_due(sessions: Sessions, now: datetime, *, find: Finds | None = None) -> set[int]:
    """Look at every run whose turn it is; returns the mailboxes in which a step was queued."""
    queued: set[int] = set()
    with sessions() as session:
        run_ids = session.scalars(_due(now)).all()
    for run_id in run_ids:  # each once: one that another worker is on is left to it
        try:
            with transaction(sessions) as session:
                if (mailbox_id := advance(session, run_id, now, find or found)) is not None:
                    queued.add(mailbox_id)
        except Exception:
            # One run that can't be worked on must not hold up the others.
            log.exception("The follow-ups %s failed; again in %s", run_id, AGAIN)
            with transaction(sessions) as session:
                later = update(SequenceRun).where(SequenceRun.id == run_id, SequenceRun.next_at <= now)
                session.execute(later.values(next_at=now + AGAIN))
    return queued


def _due(now: datetime) -> Select[int]:
    active = SequenceRun.state.in_((RunState.WAITING, RunState.RUNNING))
    return (
        select(SequenceRun.id).where(active, SequenceRun.next_at <= now).order_by(SequenceRun.next_at).limit(SOME)
    )


def is_any_due(session: Session, now: datetime) -> bool:
    """Whether it is a run's turn."""
    return session.scalar(_due(now).limit(1)) is not None


def advance(session: Session, run_id: int, now: datetime, find: Finds) -> int | None:
    """Look at one run; returns its mailbox if a step was queued."""
    query = select(SequenceRun).where(SequenceRun.id == run_id, SequenceRun.next_at <= now)
    run = session.scalar(query.with_for_update(skip_locked=True, of=SequenceRun))
    if run is None or run.state not in (RunState.WAITING, RunState.RUNNING):
        return None
    viewer = people.system_viewer(run.team_id, DOOR)
    if run.state == RunState.WAITING and not _has_begun(session, viewer, run, now):
        return None
    ending = sequence_stops.reason(session, run)
    if ending is not None:
        _end(session, viewer, run, ending, now)
        return None
    step = sequences.next_step(run)
    if step is not None and step.state == StepState.QUEUED:
        step = _settled(session, viewer, run, step, now)
    if run.state == RunState.RUNNING and step is not None and step.state == StepState.WAITING:
        return _turn(session, viewer, run, step, now, find)
    return None


def _has_begun(session: Session, viewer: Viewer, run: SequenceRun, now: datetime) -> bool:
    """Whether the first mail has gone; until then a run waits, and ends if that mail never goes."""
    email = session.get(ScheduledEmail, run.email_id) if run.email_id else None
    if email is None or email.state == State.CANCELLED:
        sequences.stop(
            session, viewer, run, StoppedBy.CANCELLED, "the mail that it follows was cancelled", now=now
        )
        return False
    if email.state != State.SENT:
        # A stop before it has begun: a closed box, somebody who wants no more.
        ending = sequence_stops.reason(session, run)
        if ending is not None:
            _end(session, viewer, run, ending, now)
        else:
            soon = email.state in (State.PREPARING, State.QUEUED, State.SENDING) and email.due_at < now + SELDOM
            run.next_at = max(now + OFTEN, email.due_at) if soon else now + SELDOM
        return False
    if _is_unread(email, now):
        run.next_at = now + OFTEN
        return False
    assert email.sent_at is not None
    letter = outbox.letter_of(email)
    before = list(letter.references) if letter is not None else []
    run.subject, run.recipients, run.box_id = email.subject, email.recipients, email.box_id
    run.to = sequences.to_of(email)  # it may have been edited since
    run.cc = [written(one) for one in letter.cc] if letter is not None else []
    session.flush()
    sequences.change(
        session, run, RunState.RUNNING, began_at=email.sent_at, last_at=email.sent_at,
        gmail_thread_id=email.sent_thread_id, references=[*before, *filter(None, [email.rfc822_message_id])],
        next_at=now,
    )  # fmt: skip
    return True


def _is_unread(email: ScheduledEmail, now: datetime) -> bool:
    """A mail that has just gone, of which the real Message-ID is not known yet: replies refer to it."""
    return not email.rfc822_message_id and email.sent_at is not None and now - email.sent_at < READ_BACK


def _end(session: Session, viewer: Viewer, run: SequenceRun, ending: sequence_stops.Stop, now: datetime) -> None:
    try:
        if ending.address:
            sequences.unsubscribe(session, viewer, ending.address, ending.why, now=now)
            session.refresh(run)
        if run.state in sequences.LIVE:
            sequences.stop(session, viewer, run, ending.by, ending.why, now=now)
    except OutboxError:  # a step is going out at this very moment: look once more
        run.next_at = now + OFTEN


# -- a step that is queued


def _settled(
    session: Session, viewer: Viewer, run: SequenceRun, step: SequenceStep, now: datetime
) -> SequenceStep | None:
    """What became of the queued step: the next one if it has gone."""
    email = session.get(ScheduledEmail, step.email_id) if step.email_id else None
    if email is None or email.state == State.CANCELLED:
        sequences.stop(session, viewer, run, StoppedBy.CANCELLED, "a follow-up was cancelled", now=now)
        return None
    if email.state in (State.FAILED, State.UNCERTAIN):
        sequences.change(
            session, run, RunState.PAUSED, why=f"follow-up {step.position}: {email.reason or 'failed'}"
        )
        sequences.record(session, run, "sequence.paused", viewer, why=run.why)
        return None
    if email.state != State.SENT or _is_unread(email, now):
        run.next_at = now + (SELDOM if email.state == State.HELD else OFTEN)
        return step
    sequences.move_step(session, step, StepState.QUEUED, StepState.SENT, sent_at=email.sent_at)
    run.last_at = email.sent_at
    if email.rfc822_message_id:
        run.references = [*run.references, email.rfc822_message_id]
    session.flush()
    following = sequences.next_step(run)
    if following is None:
        sequences.change(session, run, RunState.DONE)
        sequences.record(session, run, "sequence.done", viewer, steps=len(run.steps))
    return following


# -- a step whose turn may have come


def _turn(
    session: Session, viewer: Viewer, run: SequenceRun, step: SequenceStep, now: datetime, find: Finds
) -> int | None:
    where = find(session, run, now)
    try:
        when = _when(run, step, where, now)
    except NoWorkingDay as error:
        _pause(session, viewer, run, f"follow-up {step.position}: {error}")
        return None
    step.due_at = due = when.instant
    if due - LEAD > now:
        run.next_at = min(due - LEAD, now + SELDOM)
        session.flush()
        return None
    letter, missing = _letter(session, run, step)
    if missing:
        _pause(session, viewer, run, f"follow-up {step.position}: nothing is known for {', '.join(missing)}")
        return None
    assert letter is not None
    first = session.get(ScheduledEmail, run.email_id) if run.email_id is not None else None
    about = About(
        box=sequences.box_of(session, run), conversation=_conversation(session, run),
        reply_thread_id=run.gmail_thread_id, sequence_run_id=run.id, sequence_step=step.position,
        track_opens=first.track_opens if first else None, track_clicks=first.track_clicks if first else None,
    )  # fmt: skip
    try:
        email = outbox.queue(session, _sender(session, run), run.mailbox, letter, when, about, now=now)
    except (OutboxError, LetterError, PermissionError) as error:
        _pause(session, viewer, run, f"follow-up {step.position}: {error}")
        return None
    # An answer that was sent before, and is only synced now, holds it as well.
    assert run.began_at is not None
    email.decided_at = run.began_at
    # In the same transaction as the mail: there is none without it, and no second one.
    sequences.move_step(session, step, StepState.WAITING, StepState.QUEUED, email_id=email.id, due_at=due)
    run.next_at = now + OFTEN
    sequences.record(session, run, "sequence.queued", viewer, step=step.position)
    session.flush()
    return run.mailbox_id


def _when(run: SequenceRun, step: SequenceStep, where: Where, now: datetime) -> When:
    """At nine there, so many days after the mail before; what is late goes while it is still morning there."""
    zone, free = where.there.zone, where.there.free
    assert run.last_at is not None
    day = local_time.wall_of(run.last_at, zone).date() + timedelta(days=step.days)
    wall = local_time.on_or_after(day, NINE, zone, run.last_at, free)
    if local_time.resolve(wall, zone) <= now:
        later = local_time.late(wall, zone, now, LateRule.MORNING, free)
        if later is None:
            later = local_time.wall_of(
                now + SOON, zone
            )  # a time like any other: late again, it is looked at again
        wall = later
    return When(wall, zone.key, Zone.RECIPIENT, working_days=True, country=where.country)


def _letter(session: Session, run: SequenceRun, step: SequenceStep) -> tuple[Letter | None, tuple[str, ...]]:
    """The follow-up as a reply to the mail before it; or the fields that nothing is known for."""
    user, to = run.user, sequences.addresses(run.to)
    if user is None or not to:
        return None, ("its sender",) if user is None else ("its recipient",)
    cc = sequences.addresses(run.cc)
    if not {one.normalized for one in (*to, *cc)} <= set(run.recipients):
        return None, ("its recipient",)  # nobody gets a follow-up whom the mail before did not go to
    known = snippets.values(session, user, to[:1], sequences.box_of(session, run))
    made = fill("", step.html, known.get(to[0].normalized, {}))
    if made.missing:
        return None, made.missing
    sender = Address(user.name, run.mailbox.address, normalize(run.mailbox.address))
    letter = Letter(
        from_=sender, to=to, cc=cc, bcc=(), subject=replies.subject(run.subject),
        html=made.html, text=rich_text.to_plain(made.html), attachments=(),
        in_reply_to=run.references[-1] if run.references else None, references=tuple(run.references),
    )  # fmt: skip
    return letter, ()


def _conversation(session: Session, run: SequenceRun) -> Conversation | None:
    query = (
        select(Conversation)
        .join(Thread, Thread.conversation_id == Conversation.id)
        .where(Thread.mailbox_id == run.mailbox_id, Thread.gmail_thread_id == (run.gmail_thread_id or ""))
    )
    return session.scalar(query)


def _sender(session: Session, run: SequenceRun) -> Viewer:
    """Whoever set the follow-ups, as far as the outbox is concerned."""
    viewer = people.viewer_of(run.user, DOOR) if run.user is not None else people.system_viewer(run.team_id, DOOR)
    return viewer if run.mailbox.user_id == viewer.user_id else people.system_viewer(run.team_id, DOOR)


def _pause(session: Session, viewer: Viewer, run: SequenceRun, why: str) -> None:
    sequences.change(session, run, RunState.PAUSED, why=why)
    sequences.record(session, run, "sequence.paused", viewer, why=why)


def found(session: Session, run: SequenceRun, now: datetime) -> Where:
    """Where the main recipient is, by all that is known."""
    user = run.user or session.scalar(select(User).where(User.id == run.mailbox.user_id))
    assert user is not None
    people_there = timing.places(session, user, sequences.addresses(run.to)[:1], now)
    if not people_there:
        return Where(There(ZoneInfo(user.time_zone)), None)
    return Where(people_there[0].there, people_there[0].inferred.country)
