"""The reading log: who was handed the text of mail that none of their own mailboxes holds.

Kept for ninety days, once for a person, a message and an hour. For the mail's owners, and for admins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ForeignKey, Index, UniqueConstraint, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import sharing
from tracker.db import Base, Identified, OfTeam, among
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message
from tracker.people import User, Viewer
from tracker.sharing import parts

KEPT = timedelta(days=90)
AT_ONCE = 2000  # rows that are forgotten in one transaction


class MailReading(OfTeam, Identified, Base):
    """Somebody was handed a mail of others, in this hour."""

    __tablename__ = "mail_readings"
    __table_args__ = (
        UniqueConstraint("user_id", "message_id", "hour"),
        Index("ix_mail_readings_team_id_at", "team_id", "at", "id"),
        Index("ix_mail_readings_at", "at"),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    #: None once the mail was deleted: that somebody read it stays.
    message_id: Mapped[int | None] = mapped_column(ForeignKey("messages.id", ondelete="SET NULL"), index=True)
    hour: Mapped[datetime]  #: the instant it began
    at: Mapped[datetime]  #: the first time within it
    door: Mapped[str]  #: by which: web, file, api …


@dataclass(frozen=True, slots=True)
class Reading:
    """A line of the log, for people."""

    id: int
    at: datetime
    reader: str
    owners: tuple[str, ...]  #: in whose mailboxes the mail is
    message_key: str | None  #: None if whoever looks may not read it, or it is deleted
    subject: str | None  #: likewise
    deleted: bool
    door: str


def opened(session: Session, viewer: Viewer, message_ids: Sequence[int], now: datetime, *, door: str = "") -> None:
    """Note that the viewer was handed these messages; what their own mailboxes hold is no news."""
    if viewer.is_system or not message_ids:
        return
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    noted = select(MailReading.id).where(
        MailReading.user_id == viewer.user_id, MailReading.message_id == Message.id, MailReading.hour == hour
    )
    found = session.scalars(
        select(Message.id).where(
            Message.team_id == viewer.team_id, among(Message.id, message_ids),
            ~sharing.holds(viewer), ~noted.correlate(Message).exists(),
        )
    ).all()  # fmt: skip
    if not found:  # most pages: whoever only reads writes nothing
        return
    row = {"team_id": viewer.team_id, "user_id": viewer.user_id, "hour": hour, "at": now}
    rows = [{**row, "message_id": id_, "door": door or viewer.door} for id_ in found]
    # Two pages of one person at once: whichever comes second leaves it at that.
    session.execute(insert(MailReading).values(rows).on_conflict_do_nothing())


def of_message(session: Session, message_id: int, *, limit: int = 50) -> list[tuple[str, datetime]]:
    """Who opened a mail that was not theirs, and when last; the latest first. For its owner."""
    query = (
        select(User.name, MailReading.at, MailReading.user_id)
        .join(User, User.id == MailReading.user_id)
        .where(MailReading.message_id == message_id)
        .order_by(MailReading.at.desc(), MailReading.id.desc())
    )
    last: dict[int, tuple[str, datetime]] = {}
    for name, at, user_id in session.execute(query.limit(limit * 10)):
        last.setdefault(user_id, (name, at))
    return list(last.values())[:limit]


def of_team(
    session: Session, viewer: Viewer, *, before: tuple[datetime, int] | None = None, limit: int = 50
) -> list[Reading]:
    """The team's log, the newest first, from below (`at`, `id`): for admins. What the mail is, only if they may
    read it themselves."""
    query = (
        select(MailReading, User.name)
        .join(User, User.id == MailReading.user_id)
        .where(MailReading.team_id == viewer.team_id)
        .order_by(MailReading.at.desc(), MailReading.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(tuple_(MailReading.at, MailReading.id) < tuple_(*before))
    rows = session.execute(query).all()
    ids = {reading.message_id for reading, _ in rows if reading.message_id is not None}
    owners, shown = _owners(session, ids), _shown(session, viewer, ids)
    nothing = (None, None)
    made = []
    for one, name in rows:
        key, subject = shown.get(one.message_id or 0, nothing)
        whose = tuple(owners.get(one.message_id or 0, ()))
        made.append(Reading(one.id, one.at, name, whose, key, subject, one.message_id is None, one.door))
    return made


def _owners(session: Session, ids: set[int]) -> dict[int, list[str]]:
    query = (
        select(Copy.message_id, User.name)
        .join(Mailbox, Mailbox.id == Copy.mailbox_id)
        .join(User, User.id == Mailbox.user_id)
        .join(Message, Message.id == Copy.message_id)
        # Whoever got a blind copy is not named, to an admin either.
        .where(among(Copy.message_id, ids), ~Copy.hidden, parts.is_seen_taking_part(Mailbox.user_id))
        .distinct()
        .order_by(User.name)
    )
    found: dict[int, list[str]] = defaultdict(list)
    for id_, name in session.execute(query) if ids else ():
        found[id_].append(name)
    return found


def _shown(session: Session, viewer: Viewer, ids: set[int]) -> dict[int, tuple[str, str]]:
    query = select(Message.id, Message.key, Message.subject).where(
        among(Message.id, ids), sharing.may_read(viewer)
    )
    return {id_: (key, subject) for id_, key, subject in session.execute(query)} if ids else {}


def forget(session: Session, now: datetime) -> int:
    """Delete what is older than it is kept, some at a time; returns how many."""
    gone = text(
        "DELETE FROM mail_readings WHERE id IN"
        " (SELECT id FROM mail_readings WHERE at < :until ORDER BY at LIMIT :limit) RETURNING id"
    )
    return len(session.scalars(gone, {"until": now - KEPT, "limit": AT_ONCE}).all())
