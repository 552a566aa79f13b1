"""What becomes of the mail that somebody had queued, and of their follow-ups, when they are removed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session, undefer

from gmail_sync import farewell
from gmail_sync.session import Services
from scheduler import letters, outbox, preparing, sequences
from scheduler.calendar import CalendarFeed
from scheduler.emails import About, OutboxError, ScheduledEmail
from scheduler.letters import LetterError
from scheduler.outbox_lists import when_of
from scheduler.post import Post
from scheduler.sequences import LIVE, SequenceError, SequenceRun
from scheduler.states import EDITABLE, State
from tracker import leaving, mailboxes, people
from tracker.addresses import Address
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.jobs import Again
from tracker.leaving import Choice
from tracker.mailboxes import Mailbox
from tracker.mailboxes import State as Connection
from tracker.people import User, Viewer

log = logging.getLogger(__name__)

WHY = "{name} was removed from the team"
REMEDY = "Read it through, then release it or cancel it"
LATER = timedelta(days=1)  #: when a mail whose time has passed would go, once its heir releases it
SETTLES_WITHIN = timedelta(minutes=5)


def tells(session: Session, user: User) -> Sequence[str]:
    """How much of theirs waits, in words."""
    mails = len(_waiting(session, user))
    runs = len(_running(session, user))
    return [
        *([f"{mails} queued mail{'s' * (mails != 1)}"] if mails else []),
        *([f"{runs} running follow-up{'s' * (runs != 1)}, which will end"] if runs else []),
    ]


def leave(session: Session, viewer: Viewer, user: User, choice: Choice, now: datetime) -> None:
    """End the follow-ups; queued mail is handed over, or cancelled. What is going out at this moment goes."""
    why = WHY.format(name=user.name)
    system = people.system_viewer(user.team_id, "leaving")
    for run in _running(session, user):
        with suppress(SequenceError, OutboxError):
            sequences.stop(session, system, run, why=why, now=now)
    heirs = _mailbox_of(session, choice.mail_to) if choice.mail_to else None
    for email in _waiting(session, user):
        if heirs is not None and choice.mail_to is not None and email.raw is not None:
            _hand_over(session, choice.mail_to, heirs, email, why, now)
        with suppress(OutboxError):
            outbox.cancel(session, viewer, email, why, now=now)
    session.execute(delete(CalendarFeed).where(CalendarFeed.user_id == user.id))


def _waiting(session: Session, user: User) -> Sequence[ScheduledEmail]:
    own = select(Mailbox.id).where(Mailbox.user_id == user.id)
    theirs = or_(ScheduledEmail.user_id == user.id, ScheduledEmail.mailbox_id.in_(own))
    query = select(ScheduledEmail).where(theirs, ScheduledEmail.state.in_(EDITABLE))
    return session.scalars(query.order_by(ScheduledEmail.id).options(undefer(ScheduledEmail.raw))).all()


def _running(session: Session, user: User) -> Sequence[SequenceRun]:
    own = select(Mailbox.id).where(Mailbox.user_id == user.id)
    query = select(SequenceRun).where(
        SequenceRun.mailbox_id.in_(own), SequenceRun.state.in_([one.value for one in LIVE])
    )
    return session.scalars(query.order_by(SequenceRun.id)).all()


def _mailbox_of(session: Session, heir: User) -> Mailbox | None:
    own = mailboxes.of_user(session, heir.id)
    return next((one for one in own if one.state == Connection.CONNECTED), None)


def _hand_over(
    session: Session, heir: User, mailbox: Mailbox, email: ScheduledEmail, why: str, now: datetime
) -> None:
    """The same mail from the heir's own mailbox, held until they have read it."""
    assert email.raw is not None
    sender = Address(heir.name, mailbox.address, mailbox.normalized)
    when = when_of(email)
    if when.instant <= now:
        when = replace(when, wall=when.wall + LATER * (1 + (now - when.instant) // LATER))
    about = About(
        box=session.get(Box, email.box_id) if email.box_id else None,
        conversation=session.get(Conversation, email.conversation_id) if email.conversation_id else None,
    )
    viewer = people.viewer_of(heir, "leaving")
    try:
        letter = replace(letters.read(email.raw), from_=sender)
        made = outbox.queue(session, viewer, mailbox, letter, when, about, now=now)
        outbox.hold(session, viewer, made, why, remedy=REMEDY)
    except (OutboxError, LetterError) as error:  # it is cancelled then, as the rest
        log.warning("The mail %s could not be handed over: %s", email.id, error)


def clear_drafts(post: Post, services: Services, mailbox: Mailbox) -> None:
    """Delete the drafts that we made in the mailbox of somebody who left. Raises `GmailError`, `Again`."""
    with post.sessions() as session:
        going = select(func.max(ScheduledEmail.claimed_at)).where(
            ScheduledEmail.mailbox_id == mailbox.id, ScheduledEmail.state == State.SENDING.value
        )
        claimed = session.scalar(going)
    if claimed is not None and services.now() < claimed + SETTLES_WITHIN:
        raise Again(5, "a mail is just going out")
    preparing.clear(post, mailbox)


def init(post: Post) -> None:
    """Have our part done with the credentials, in the worker."""
    farewell.before_credentials_go.append(lambda services, mailbox: clear_drafts(post, services, mailbox))


leaving.register(leaving.Room(tells, leave))
