"""What ends follow-ups: an answer, a bounce, somebody who wants no more, a box that was closed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.orm import Session

from scheduler.sequences import SequenceRun, StoppedBy, Unsubscribed, box_of
from tracker.conversations import Thread
from tracker.messages import Copy, Message
from tracker.people import OwnAddress
from tracker.pipelines import Kind, Stage

REPORT = "delivery report"  #: `Message.automatic` of a delivery status notification (RFC 3464)
_DELAYED = re.compile(r"\(delay\)|\bdelayed\b|^action:\s*delayed|will (?:be )?retr", re.IGNORECASE | re.MULTILINE)
_NO_MORE = re.compile(
    r"\W*(?:please\s+)?(?:unsubscribe(?: me)?|remove me|take me off|opt(?: me)?[- ]out"
    r"|stop(?:\s+(?:e-?mailing|writing(?: to)?|contacting)\s+me)?"
    r"|abmelden|austragen|d\u00e9sabonner|desuscribir|cancellami)"
    r"(?:\s+from\s+(?:your|this|the)(?:\s+mailing)?\s+(?:list|e-?mails?))?\W*(?:please|thanks|thank you)?\W*",
    re.IGNORECASE,
)
READ = 20  # mails that are looked at


@dataclass(frozen=True, slots=True)
class Stop:
    """What ends a run, in words."""

    by: StoppedBy
    why: str
    address: str = ""  #: whoever wants no more


def reason(session: Session, run: SequenceRun) -> Stop | None:
    """Why a run is to end, or None; in a fixed number of queries."""
    return (
        _closed(session, run) or _unsubscribed(session, run) or _answered(session, run) or _bounced(session, run)
    )


def _closed(session: Session, run: SequenceRun) -> Stop | None:
    box = box_of(session, run)
    if box is None:
        return None
    stage = session.get(Stage, box.stage_id)
    if box.deleted_at is not None or box.archived_at is not None:
        told = "deleted" if box.deleted_at is not None else "archived"
        return Stop(StoppedBy.CLOSED, f"{box.name} was {told}")
    if stage is not None and stage.kind != Kind.OPEN:
        return Stop(StoppedBy.CLOSED, f"{box.name} is in {stage.name}")
    return None


def _unsubscribed(session: Session, run: SequenceRun) -> Stop | None:
    query = select(Unsubscribed.normalized).where(
        Unsubscribed.team_id == run.team_id, Unsubscribed.normalized.in_(run.recipients)
    )
    found = session.scalars(query.limit(1)).first()
    return Stop(StoppedBy.UNSUBSCRIBED, f"{found} wants no follow-ups") if found else None


def _since(run: SequenceRun) -> Select[Message]:
    """Mail that came into the run's mailbox since its first mail went; in the same second counts as well.

    By Gmail's clock, not by the sender's.
    """
    own = select(OwnAddress.id).where(
        OwnAddress.team_id == Message.team_id, OwnAddress.normalized == Message.sender_normalized
    )
    assert run.began_at is not None
    return (
        select(Message)
        .join(Copy, Copy.message_id == Message.id)
        .where(Message.team_id == run.team_id, Copy.mailbox_id == run.mailbox_id, ~Copy.hidden)
        .where(func.date_trunc("second", Copy.internal_date) >= func.date_trunc("second", run.began_at))
        .where(~own.correlate(Message).exists())
        .order_by(Message.id.desc())
        .limit(READ)
    )


def _in_thread(run: SequenceRun) -> Select[int]:
    return select(Thread.conversation_id).where(
        Thread.mailbox_id == run.mailbox_id, Thread.gmail_thread_id == (run.gmail_thread_id or "")
    )


def _answered(session: Session, run: SequenceRun) -> Stop | None:
    """A person's mail in the thread, or from one of the recipients in another."""
    if run.began_at is None:
        return None
    theirs = or_(Message.conversation_id.in_(_in_thread(run)), Message.sender_normalized.in_(run.recipients))
    query = _since(run).where(theirs, Message.automatic.is_(None), ~Message.auto_reply)
    found: Sequence[Message] = session.scalars(query).all()
    for message in found:
        if _NO_MORE.fullmatch(_written(message.text)):
            why = f"{message.sender_address} asked for no more"
            return Stop(StoppedBy.UNSUBSCRIBED, why, message.sender_normalized)
    if not found:
        return None
    who = found[-1].sender_name or found[-1].sender_address
    return Stop(StoppedBy.ANSWER, f"{who} answered")


def _written(text: str) -> str:
    """The first line that somebody wrote themselves."""
    return next((line for line in text[:5_000].splitlines() if line.strip() and not line.startswith(">")), "")[
        :200
    ]


def _bounced(session: Session, run: SequenceRun) -> Stop | None:
    """A delivery report in the thread, or about one of the recipients; not one that only tells of a delay."""
    if run.began_at is None:
        return None
    about = [Message.search.op("@@")(func.phraseto_tsquery("simple", address)) for address in run.recipients[:5]]
    query = _since(run).where(
        and_(Message.auto_reply, Message.automatic == REPORT),
        or_(Message.conversation_id.in_(_in_thread(run)), *about),
    )
    for message in session.scalars(query):
        if not _DELAYED.search(f"{message.subject}\n{message.text[:5_000]}"):
            return Stop(StoppedBy.BOUNCE, f"the mail to {', '.join(run.recipients)[:200]} came back")
    return None
