"""What is queued for the thread that is open in Gmail and for its people, and what can be done about it there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import url_for
from sqlalchemy import ScalarSelect, exists, func, select, text
from sqlalchemy.orm import Session

from scheduler import outbox, preparing, sequence_sent, telling, timing
from scheduler import panel_words as words
from scheduler.emails import ScheduledEmail
from scheduler.outbox import OutboxError
from scheduler.sequences import LIVE, RunState, SequenceRun, StepState
from scheduler.states import EDITABLE, OPEN, State
from scheduler.timing import Timing, TimingError
from tracker.jobs import Jobs
from tracker.messages import Message, Recipient
from tracker.panel import (
    Action,
    Asked,
    Button,
    Buttons,
    Card,
    Done,
    Line,
    Outcome,
    Panel,
    Paragraph,
    Place,
    Refused,
    Section,
    Shown,
    Widget,
)
from tracker.people import OwnAddress, User
from tracker.sharing import may_read

CANCEL, NINE = "outbox.cancel", "outbox.nine"
TITLE = "Queued mail"
MOST = 5  #: mails
PEOPLE = 50  #: of a thread, whose queued mail is looked for
KEY = 100  # characters that are read of a key
STATES = {
    State.PREPARING: "Goes", State.QUEUED: "Goes", State.SENDING: "Is going out", State.HELD: "Held; was to go",
    State.FAILED: "Failed; was to go", State.UNCERTAIN: "Uncertain; was to go",
}  # fmt: skip
WAITING = [*OPEN, State.FAILED, State.UNCERTAIN]  #: or needing a decision
RUNS = {
    RunState.WAITING: "begin when the mail has gone", RunState.RUNNING: "go on if no answer comes",
    RunState.PAUSED: "are paused",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue as the panel shows it."""

    jobs: Jobs

    def section(self, asked: Asked) -> Sequence[Section]:
        """What waits for this thread and its people, and whether follow-ups run."""
        if asked.conversation is None:
            return []
        id_, widgets = asked.conversation.id, list[Widget]()
        mails, follow_ups = asked.db().execute(_ANYTHING, {"id": id_, "states": WAITING, "live": [*LIVE]}).one()
        for email in _waiting(asked, id_) if mails else ():
            widgets += _mail(asked, email)
        runs = sequence_sent.of_conversation(asked.db(), asked.viewer, id_) if follow_ups else ()
        widgets += [_follow_ups(asked, run) for run in runs if run.state in LIVE]
        return [Section(TITLE, widgets)] if widgets else []

    def cancel(self, asked: Asked) -> Outcome:
        """Take a mail of one's own back. Raises `Refused`."""
        email = _mine(asked)
        if email.state == State.CANCELLED:  # pressed twice
            return self._taken_back(asked, email)
        try:
            outbox.cancel(asked.db(), asked.viewer, email, now=asked.now)
        except (OutboxError, PermissionError) as error:
            raise Refused(str(error)) from None
        self._wake(asked, email.mailbox_id)
        return self._taken_back(asked, email)

    def _taken_back(self, asked: Asked, email: ScheduledEmail) -> Outcome:
        in_gmail = email.origin == "gmail"
        says = "Taken back; your draft stays in Gmail" if in_gmail else "Cancelled; it is in Tracker’s outbox"
        if asked.params.get("back") != "compose":
            return Done(says)
        told = f"{says}. You may go on writing, or send it now."
        return Shown(Card("Not queued", [Section("", [Paragraph(told)])], name="not-queued"), says)

    def nine(self, asked: Asked) -> Outcome:
        """Let a mail of one's own go at its recipients' next nine instead. Raises `Refused`."""
        email = _mine(asked)
        people = [words.address(one) for one in email.recipients]
        where = timing.places(asked.db(), asked.user, people, asked.now) or [timing.at_home(asked.user)]
        try:
            when = timing.plan(Timing(), where, words.clock(asked), asked.now).when
            outbox.reschedule(asked.db(), asked.viewer, email, when, now=asked.now)
        except (OutboxError, PermissionError, TimingError) as error:
            raise Refused(str(error)) from None
        return Done(f"It goes {telling.when(email, words.clock(asked), asked.now)}")

    def _wake(self, asked: Asked, mailbox_id: int) -> None:
        """Have Gmail's drafts follow once it is committed; a tick does it otherwise."""
        asked.after_commit(lambda: preparing.wake(self.jobs, mailbox_id))


#: Whether anything may wait for a conversation and its people, whoever may see it: for most nothing does.
_ANYTHING = text(
    """
    SELECT EXISTS (
      SELECT FROM conversations c JOIN scheduled_emails e ON e.team_id = c.team_id AND e.state = ANY (:states)
      WHERE c.id = :id AND (e.conversation_id = c.id OR e.recipients && ARRAY (
        SELECT m.sender_normalized FROM messages m WHERE m.conversation_id = :id
        UNION
        SELECT r.normalized FROM messages m JOIN recipients r ON r.message_id = m.id WHERE m.conversation_id = :id
      ))
    ), EXISTS (
      SELECT FROM threads t JOIN sequence_runs r USING (mailbox_id, gmail_thread_id)
      WHERE t.conversation_id = :id AND r.state = ANY (:live)
    )
    """
)


def _waiting(asked: Asked, conversation_id: int) -> Sequence[ScheduledEmail]:
    """What waits, or needs a decision, that the viewer may see: of this conversation first. One query."""
    here = ScheduledEmail.conversation_id == conversation_id
    query = (
        select(ScheduledEmail)
        .where(
            outbox.visible(asked.viewer),
            here | ScheduledEmail.recipients.overlap(_people(asked, conversation_id)),
            ScheduledEmail.state.in_(WAITING),
        )
        .order_by(here.desc(), ScheduledEmail.due_at, ScheduledEmail.id)
    )
    return asked.db().scalars(query.limit(MOST)).all()


def _people(asked: Asked, conversation_id: int) -> ScalarSelect[Any]:
    """SQL: the addresses of those who take part from outside, as far as the viewer may read it; an array."""
    read = select(Message.id).where(Message.conversation_id == conversation_id, may_read(asked.viewer)).cte()
    senders = select(Message.sender_normalized.label("one")).where(Message.id.in_(select(read.c.id)))
    named = select(Recipient.normalized).where(
        Recipient.message_id.in_(select(read.c.id)), Recipient.kind.in_(("to", "cc"))
    )
    everybody = senders.union(named).subquery()
    ours = exists().where(OwnAddress.team_id == asked.viewer.team_id, OwnAddress.normalized == everybody.c.one)
    outside = select(everybody.c.one).where(everybody.c.one != "", ~ours).limit(PEOPLE).subquery()
    return select(func.array_agg(outside.c.one)).scalar_subquery()


def _mail(asked: Asked, email: ScheduledEmail) -> list[Widget]:
    state, mine = State(email.state), email.user_id == asked.user.id
    goes = telling.when(email, words.clock(asked), asked.now)
    whose = "your" if mine else _whose(asked.db(), email)
    why = email.reason or telling.why(email, whose)
    line = Line(
        f"{STATES[state]} {goes}", label=f"“{email.subject or words.NO_SUBJECT}” to {_to(email)}",
        below=words.sentence(why), icon="schedule_send",
        url=f"{asked.url}{url_for('outbox.show', key=email.key)}",
    )  # fmt: skip
    if not mine or state not in EDITABLE:
        return [line]
    params = {"email": email.key}
    buttons = [Button("Cancel it", Action(CANCEL, params))]
    if state != State.HELD:
        buttons.insert(0, Button("At their next 9 AM", Action(NINE, params)))
    return [line, Buttons(buttons)]


def _whose(session: Session, email: ScheduledEmail) -> str:
    owner = session.get(User, email.user_id) if email.user_id else None
    return f"{owner.name}’s" if owner else "its sender’s"


def _to(email: ScheduledEmail) -> str:
    told = ", ".join(email.to[:3]) or "somebody who is not in To"
    return told + (f" and {len(email.to) - 3} more" if len(email.to) > 3 else "")


def _follow_ups(asked: Asked, run: SequenceRun) -> Widget:
    assert asked.conversation is not None
    sent = sum(step.state == StepState.SENT for step in run.steps)
    where = url_for("conversation.show", key=asked.conversation.key)
    return Line(
        f"{sent} of {len(run.steps)} sent; they {RUNS[RunState(run.state)]}", label="Follow-ups", icon="repeat",
        url=f"{asked.url}{where}",
    )  # fmt: skip


def _mine(asked: Asked) -> ScheduledEmail:
    """A mail of one's own by the key that the button carried. Raises `Refused`."""
    email = outbox.by_key(asked.db(), asked.viewer, asked.params.get("email", "")[:KEY])
    if email is None or email.user_id != asked.user.id:
        raise Refused("There is no such mail in your outbox; look again")
    return email


def register(panel: Panel, jobs: Jobs, order: int) -> None:
    """Add all of this to a panel."""
    queue = Queue(jobs)
    panel.register_section(Place.THREAD, queue.section, order=order)
    panel.register_action(CANCEL, queue.cancel)
    panel.register_action(NINE, queue.nine)
