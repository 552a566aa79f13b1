"""Privacy: raw hits are forgotten after a while, people may say that they are not to be tracked, and what is kept
of somebody can be handed out and erased.

A mail to one person is that person's. Of a mail to several nobody knows whose a hit is: what is handed out of it
is when it was opened and what that was, never an address, which may be somebody else's; what is erased of it is
the address and the program of every hit, while the verdict stays, as "one of them".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, delete, func, literal, or_, select, true, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from tracker import events
from tracker.addresses import parse_addresses
from tracker.db import among
from tracker.messages import Message
from tracker.people import Viewer
from tracker.sharing import may_read
from webhooks import hit_intake, tracking_settings
from webhooks.bells.notices import Notification
from webhooks.hits import Hit
from webhooks.tracking_settings import NeverTracked, Source
from webhooks.tracks import Confidence, TrackedEmail

AT_ONCE = 2_000  #: hits forgotten in one transaction
#: However short the retention: hits that came together (a scanner's) are judged together.
JUDGING = timedelta(minutes=10)
#: What nobody judged by then (no worker ran) is forgotten all the same.
UNJUDGED = timedelta(days=7)
ERASED = "privacy.erased"  #: the event
ASKED = "asked on the page that the mail links to"
TOKEN_LIMIT = 200  # characters
TAKEN_BACK_WITHIN = timedelta(hours=1)

_RAW: dict[str, Any] = {"address": None, "agent": None, "headers": {}, "user_key": None, "forgotten": True}


# -- after a while


def keeps_since(days: int, now: datetime) -> datetime:
    """Since when raw hits are kept, with a retention of so many days."""
    return now - max(timedelta(days=days), JUDGING)


def forget(session: Session, days: int, now: datetime) -> int:
    """Forget the address, program, headers and person of ours of hits older than the retention; verdicts stay.

    At most `AT_ONCE` of them, the oldest first; returns how many. Come again while it is `AT_ONCE`.
    """
    before = keeps_since(days, now)
    old = (
        select(Hit.id)
        .where(~Hit.forgotten, Hit.at < before, or_(Hit.rules > 0, Hit.at < before - UNJUDGED))
        .order_by(Hit.at)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    return len(_make_forgotten(session, Hit.id.in_(old)))


def _make_forgotten(session: Session, which: ColumnElement[bool]) -> Sequence[int]:
    return session.scalars(update(Hit).where(which).values(_RAW).returning(Hit.id)).all()


# -- people who don't want to be tracked


def mail_of(session: Session, token: str) -> TrackedEmail | None:
    """The mail that carries this token."""
    if len(token) > TOKEN_LIMIT or "\x00" in token:
        return None
    return session.scalar(select(TrackedEmail).where(TrackedEmail.token == token))


@dataclass(frozen=True, slots=True)
class Asked:
    """What one asking noted: with it, and for a while, whoever asked takes that back; nobody else does."""

    id: int = 0  #: of the row; 0: nothing new was noted
    at: datetime | None = None


def opt_out(session: Session, mail: TrackedEmail | None, typed: str, now: datetime) -> Asked:
    """A recipient of this mail doesn't want to be tracked; what was noted (which is not to be told).

    Of a mail to several it is the one who is typed. Asking twice changes nothing, except that whoever asked first
    (the sender, say, to take it back later) can't take it back any more.
    """
    address = _asker(mail, typed)
    if mail is None or address is None:
        return Asked()
    noted = tracking_settings.never_track_any(session, mail.team_id, [address], now, ASKED, source=Source.SELF)
    silence(session, mail.team_id, [address])
    row = session.scalar(_asked(mail.team_id, address).with_for_update())
    if row is None:  # taken back this moment
        return Asked()
    if noted:
        return Asked(row.id, row.at)
    if row.at > now - TAKEN_BACK_WITHIN:
        row.at = max(now, row.at + timedelta(microseconds=1))
    return Asked()


def opt_in(session: Session, mail: TrackedEmail | None, asked: Asked, now: datetime) -> bool:
    """Who asked changed their mind at once; whether anything was taken back. Mail sent before stays untracked."""
    if mail is None or asked.at is None or asked.at <= now - TAKEN_BACK_WITHIN:
        return False
    query = select(NeverTracked).where(NeverTracked.id == asked.id, NeverTracked.source == Source.SELF.value)
    row = session.scalar(query.with_for_update())
    if row is None or row.at != asked.at or row.team_id != mail.team_id or row.value not in mail.recipients:
        return False
    return tracking_settings.withdraw(session, row.team_id, row.value)


def _asker(mail: TrackedEmail | None, typed: str) -> str | None:
    """Who of the mail's recipients asks."""
    if mail is None or not mail.recipients:
        return None
    if len(mail.recipients) == 1:
        return mail.recipients[0]
    named = [one.normalized for one in parse_addresses([typed[:1000]])]
    return named[0] if len(named) == 1 and named[0] in mail.recipients else None


def _asked(team_id: int, address: str) -> Select[NeverTracked]:
    return select(NeverTracked).where(
        NeverTracked.team_id == team_id,
        NeverTracked.user_id.is_(None),
        NeverTracked.value == address,
        NeverTracked.source == Source.SELF.value,
    )


def silence(session: Session, team_id: int, addresses: Collection[str]) -> None:
    """Keep no more hits on mail that went to one of these alone; its links go on leading where they led."""
    loud = sent_to(team_id, addresses) & _alone() & (TrackedEmail.opens | TrackedEmail.clicks)
    session.execute(update(TrackedEmail).where(loud).values(opens=False, clicks=False))


# -- what is kept of somebody


def sent_to(team_id: int, addresses: Collection[str]) -> ColumnElement[bool]:
    """SQL: one of these addresses is among the recipients of the `TrackedEmail`."""
    wanted = literal(sorted(addresses), ARRAY(Text()))
    return (TrackedEmail.team_id == team_id) & TrackedEmail.recipients.bool_op("&&")(wanted)


def _alone() -> ColumnElement[bool]:
    return func.cardinality(TrackedEmail.recipients) == 1


def seen_by(viewer: Viewer) -> ColumnElement[bool]:
    """SQL: the viewer may know what became of the `TrackedEmail` of the enclosing query: they may read it."""
    if viewer.is_system:
        return true()
    readable = select(Message.id).where(Message.id == TrackedEmail.message_id, may_read(viewer))
    return or_(TrackedEmail.user_id == viewer.user_id, readable.correlate(TrackedEmail).exists())


@dataclass(frozen=True, slots=True)
class Kept:
    """How much is kept of somebody, as far as the viewer may know."""

    mails: int  #: that were sent to them with tracking
    hits: int
    raw: int  #: hits whose address and program are not forgotten yet


def kept(session: Session, viewer: Viewer, addresses: Collection[str]) -> Kept:
    """How much is kept of the person with these (normalized) addresses; one query."""
    mails = select(TrackedEmail.id).where(sent_to(viewer.team_id, addresses), seen_by(viewer)).subquery()
    counts = select(
        func.count(mails.c.id.distinct()), func.count(Hit.id), func.count(Hit.id).filter(~Hit.forgotten)
    ).select_from(mails.outerjoin(Hit, Hit.tracked_email_id == mails.c.id))
    sent, hits, raw = session.execute(counts).one()
    return Kept(sent, hits, raw)


def never_rows(team_id: int, addresses: Collection[str]) -> Select[NeverTracked]:
    """SQL: what the team's list says of these addresses themselves."""
    query = select(NeverTracked).where(NeverTracked.team_id == team_id, NeverTracked.user_id.is_(None))
    return query.where(among(NeverTracked.value, addresses)).order_by(NeverTracked.value)


# -- erasing


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased."""

    mails: int  #: that went to them alone: nothing is known of their reading any more
    shared: int  #: to several people: addresses and programs are gone, "one of them" stays


_NOTHING: dict[str, Any] = {
    "confidence": Confidence.NONE.value, "why": "", "via": "", "views": 0, "clicked": 0, "hits": 0,
    "first_view_at": None, "last_view_at": None, "told_at": None, "told": "", "told_clicks": 0,
    "told_clicked_at": None, "tell_at": None,
}  # fmt: skip


def erase(
    session: Session, viewer: Viewer, addresses: Collection[str], now: datetime, *, never: bool, why: str = ""
) -> Erased:
    """Erase what was heard of the person with these (normalized) addresses, whoever of the team wrote to them.

    The log can't be changed: what it has of mails to them alone (by the mail's key, and the host of a link) is not
    told, shown or handed out any more.

    With `never`, mail to them is not tracked from now on, nor are hits kept on mail that they have. Who asks is a
    member, an admin or the operator; the event names nobody but them.
    """
    if never:  # first, as it locks mail of the outbox, whose drafts are made anew; and then what was sent
        tracking_settings.never_track_any(session, viewer.team_id, addresses, now, why, viewer=viewer)
        silence(session, viewer.team_id, addresses)
    query = select(TrackedEmail.id, _alone()).where(sent_to(viewer.team_id, addresses))
    found = session.execute(query.order_by(TrackedEmail.id).with_for_update(key_share=True)).all()
    alone, shared = ([id_ for id_, own in found if own == one] for one in (True, False))
    hit_intake.take_in(session, [*alone, *shared])
    session.execute(delete(Hit).where(among(Hit.tracked_email_id, alone)))
    nothing = update(TrackedEmail).where(among(TrackedEmail.id, alone)).values(_NOTHING | {"erased_at": now})
    session.execute(nothing)
    session.execute(delete(Notification).where(among(Notification.tracked_email_id, alone)))
    _make_forgotten(session, among(Hit.tracked_email_id, shared) & ~Hit.forgotten)
    session.expire_all()
    data = {"mails": len(alone), "shared": len(shared), "never": never}
    events.record(session, viewer.team_id, ERASED, actor=viewer.actor, user_id=viewer.user_id, data=data)
    return Erased(len(alone), len(shared))
