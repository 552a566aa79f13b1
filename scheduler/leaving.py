"""What becomes of the mail that somebody had queued, and of their follow-ups, when they are removed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Select, delete, or_, select
from sqlalchemy.orm import Session, undefer

from gmail_sync import farewell
from gmail_sync.session import Services
from scheduler import letters, outbox, preparing, sequences
from scheduler.calendar import CalendarFeed
from scheduler.emails import About, OutboxError, ScheduledEmail, When
from scheduler.letters import Letter, LetterError
from scheduler.outbox_lists import when_of
from scheduler.post import Post
from scheduler.sequences import LIVE, SequenceRun
from scheduler.states import EDITABLE, State
from tracker import events, leaving, mailboxes, people
from tracker.addresses import Address
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.db import transaction
from tracker.jobs import Again
from tracker.leaving import Choice
from tracker.mailboxes import Mailbox
from tracker.mailboxes import State as Connection
from tracker.people import User, Viewer

T = TypeVar("T")
log = logging.getLogger(__name__)

WHY = "{name} was removed from the team"
REMEDY = "Read it through, then release it or cancel it"
LATER = timedelta(days=1)  #: when a mail whose time has passed would go, once its heir releases it
SETTLES_WITHIN = timedelta(minutes=5)
LOST = "its sender was removed while it was going out, so nobody can tell whether it went"
LOOK = "Ask whoever it was for whether it came"


def tells(session: Session, user: User) -> Sequence[str]:
    """How much of theirs waits, in words."""
    mails, runs = queued(session, user), len(session.scalars(_running(_own(user))).all())
    return [
        *([f"{_mails(mails)}, to be handed over or cancelled"] if mails else []),
        *([f"{runs} running follow-up{'s' * (runs != 1)}, which will end"] if runs else []),
    ]


def queued(session: Session, user: User) -> int:
    """How many mails wait."""
    return len(session.scalars(_waiting(user)).all())


def _mails(number: int) -> str:
    return f"{number} queued mail{'s' * (number != 1)}"


def leave(session: Session, viewer: Viewer, user: User, choice: Choice, now: datetime) -> Sequence[str]:
    """End the follow-ups; queued mail is handed over, or cancelled. What is going out at this moment goes."""
    why = WHY.format(name=user.name)
    mailbox = _mailbox_of(session, choice.mail_to) if choice.mail_to is not None else None
    # Runs before their mails, as the tick does. Both are ours from here on: no mail is claimed meanwhile, and one
    # that just was is no longer among those that wait.
    runs, waiting = _locked(session, _running(_own(user))), _locked(session, _waiting(user))
    _end(session, user.team_id, runs, why, now)
    handed = 0
    for email in waiting:
        if email.state not in EDITABLE:  # a step of a run that has just ended
            continue
        letter = _letter(email) if mailbox is not None else None
        when, about = when_of(email), _about(session, email)
        outbox.cancel(session, viewer, email, why, now=now)
        if letter is not None and mailbox is not None and choice.mail_to is not None:
            handed += _hand_over(session, choice.mail_to, mailbox, letter, when, about, why, now)
    session.execute(delete(CalendarFeed).where(CalendarFeed.user_id == user.id))
    return _told(session, viewer, user, choice.mail_to, handed, len(waiting) - handed)


def _told(
    session: Session, viewer: Viewer, user: User, heir: User | None, handed: int, cancelled: int
) -> Sequence[str]:
    if not handed and not cancelled:
        return ()
    data = {"user": user.key, "heir": heir.key if heir else None, "handed": handed, "cancelled": cancelled}
    events.record(session, user.team_id, "outbox.left", actor=viewer.actor, user_id=viewer.user_id, data=data)
    return [
        *([f"{_mails(handed)} held for {heir.name}"] if handed and heir else []),
        *([f"{_mails(cancelled)} cancelled"] if cancelled else []),
    ]


def _own(user: User) -> Select[int]:
    return select(Mailbox.id).where(Mailbox.user_id == user.id)


def _waiting(user: User) -> Select[ScheduledEmail]:
    theirs = or_(ScheduledEmail.user_id == user.id, ScheduledEmail.mailbox_id.in_(_own(user)))
    query = select(ScheduledEmail).where(theirs, ScheduledEmail.state.in_(EDITABLE))
    return query.order_by(ScheduledEmail.id).options(undefer(ScheduledEmail.raw))


def _running(mailbox_ids: Select[int]) -> Select[SequenceRun]:
    live = SequenceRun.state.in_([one.value for one in LIVE])
    return select(SequenceRun).where(SequenceRun.mailbox_id.in_(mailbox_ids), live).order_by(SequenceRun.id)


def _locked(session: Session, query: Select[T]) -> Sequence[T]:
    """Rows as they are now, ours to the commit; whoever is on one is waited for."""
    session.flush()
    ours = query.with_for_update(of=query.column_descriptions[0]["entity"])
    return session.scalars(ours.execution_options(populate_existing=True)).all()


def _end(session: Session, team_id: int, runs: Sequence[SequenceRun], why: str, now: datetime) -> None:
    system = people.system_viewer(team_id, "leaving")
    for run in runs:
        sequences.stop(session, system, run, why=why, now=now)


def _mailbox_of(session: Session, heir: User) -> Mailbox | None:
    own = mailboxes.of_user(session, heir.id)
    return next((one for one in own if one.state == Connection.CONNECTED), None)


def _letter(email: ScheduledEmail) -> Letter | None:
    """What it says, unless that is Gmail's alone: then it stays a draft there, and is cancelled."""
    try:
        return letters.read(email.raw) if email.raw is not None and not email.only_in_gmail else None
    except LetterError:
        return None


def _about(session: Session, email: ScheduledEmail) -> About:
    return About(
        box=session.get(Box, email.box_id) if email.box_id else None,
        conversation=session.get(Conversation, email.conversation_id) if email.conversation_id else None,
    )


def _hand_over(
    session: Session,
    heir: User,
    mailbox: Mailbox,
    letter: Letter,
    when: When,
    about: About,
    why: str,
    now: datetime,
) -> bool:
    """The same mail from the heir's own mailbox, held until they have read it; whether that could be."""
    sender = Address(heir.name, mailbox.address, mailbox.normalized)
    if when.instant <= now:
        when = replace(when, wall=when.wall + LATER * (1 + (now - when.instant) // LATER))
    viewer = people.viewer_of(heir, "leaving")
    try:
        made = outbox.queue(session, viewer, mailbox, replace(letter, from_=sender), when, about, now=now)
    except (OutboxError, LetterError) as error:  # it stays cancelled then, as the rest
        log.warning(
            "A mail to %s could not be handed over: %s", ", ".join(one.address for one in letter.to), error
        )
        return False
    outbox.hold(session, viewer, made, why, remedy=REMEDY)
    return True


def settle(post: Post, services: Services, mailbox: Mailbox) -> None:
    """Have nothing wait for ever in the mailbox of somebody who left. Raises `Again` while a mail goes out.

    What was going out when they were removed and was given back since is cancelled; what nobody has heard of for
    minutes, because the worker that sent it died, is in doubt.
    """
    now = services.now()
    with transaction(post.sessions) as session:
        owner = session.get_one(User, mailbox.user_id)
        why = WHY.format(name=owner.name)
        runs = _locked(session, _running(select(Mailbox.id).where(Mailbox.id == mailbox.id)))
        waiting = _locked(session, _in(mailbox, [one.value for one in EDITABLE]))
        sending = _locked(session, _in(mailbox, [State.SENDING.value]))
        _end(session, mailbox.team_id, runs, why, now)
        system = people.system_viewer(mailbox.team_id, "leaving")
        for email in waiting:
            if email.state in EDITABLE:
                outbox.cancel(session, system, email, why, now=now)
        going = [one for one in sending if now < (one.claimed_at or now) + SETTLES_WITHIN]
        for email in sending:
            if email not in going and outbox.move(session, email, State.UNCERTAIN, reason=LOST, remedy=LOOK):
                outbox.record(session, email, "email.uncertain", why=LOST)
    if going:
        raise Again(5, "a mail is just going out")


def _in(mailbox: Mailbox, states: Sequence[str]) -> Select[ScheduledEmail]:
    query = select(ScheduledEmail).where(ScheduledEmail.mailbox_id == mailbox.id, ScheduledEmail.state.in_(states))
    return query.order_by(ScheduledEmail.id)


def init(post: Post) -> None:
    """Have our part done by the farewell, in the worker."""
    farewell.settling.append(lambda services, mailbox: settle(post, services, mailbox))
    farewell.before_credentials_go.append(lambda _, mailbox: preparing.clear(post, mailbox))


leaving.register(leaving.Room(tells, leave, queued))
