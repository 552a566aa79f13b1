"""Mailboxes: a connected Gmail account, how far it is synced, and whether that is well.

Health is told from evidence (when did a sync last finish, what did the last check find), never from the
absence of complaints: a mailbox that nobody syncs is not healthy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    CursorResult,
    ForeignKey,
    Index,
    LargeBinary,
    Numeric,
    func,
    select,
    text,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import events, people, row_security
from tracker.addresses import normalize
from tracker.db import Base, Keyed, OfTeam
from tracker.row_security import Why


class State(StrEnum):
    """Whether Gmail lets us in."""

    CONNECTED = "connected"
    ATTENTION = "attention"  # its owner has to do something: the token was revoked, the domain's policy forbids …
    DISCONNECTED = "disconnected"


class Backfill(StrEnum):
    """How far the first reading is."""

    WANTED = "wanted"
    LISTING = "listing"
    FETCHING = "fetching"
    DONE = "done"


#: The explicit table of arrows; a change is one conditional UPDATE that must touch exactly one row.
ARROWS: dict[State, frozenset[State]] = {
    State.CONNECTED: frozenset({State.ATTENTION, State.DISCONNECTED}),
    State.ATTENTION: frozenset({State.CONNECTED, State.DISCONNECTED}),
    State.DISCONNECTED: frozenset({State.CONNECTED}),
}


class Mailbox(OfTeam, Keyed, Base):
    """One connected Gmail account, owned by a user."""

    __tablename__ = "mailboxes"
    __table_args__ = (
        # One that its owner left behind holds what they had shared; the account may be connected anew.
        Index("uq_mailboxes_normalized", "normalized", unique=True, postgresql_where=text("left_at IS NULL")),
        Index("ix_mailboxes_wanted_at", "wanted_at", postgresql_where=text("wanted_at IS NOT NULL")),
        CheckConstraint("state in ('connected', 'attention', 'disconnected')", name="state"),
        CheckConstraint("backfill in ('wanted', 'listing', 'fetching', 'done')", name="backfill"),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    address: Mapped[str]
    normalized: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=State.CONNECTED.value)
    attention: Mapped[str | None]  #: what is wrong, in words
    attention_at: Mapped[datetime | None]
    credentials: Mapped[bytes | None] = mapped_column(LargeBinary)  #: encrypted, see gmail_sync.oauth
    history_id: Mapped[Decimal | None] = mapped_column(Numeric(20, 0))  #: the cursor; unsigned 64 bits
    wanted_at: Mapped[datetime | None]  #: somebody wishes a sync: a push, a tick, a person
    wanted_by: Mapped[str | None]
    synced_at: Mapped[datetime | None]  #: when all that Gmail told had last been taken in
    pushed_at: Mapped[datetime | None]
    watch_expires_at: Mapped[datetime | None]
    watch_renew_at: Mapped[datetime | None]  #: when to ask Gmail for pushes again
    push_trouble: Mapped[str | None]  #: why there are none, in words
    fetch_trouble: Mapped[str | None]  #: what Gmail refuses to hand out, in words
    retry_at: Mapped[datetime | None]  #: Gmail refused the mailbox as a whole: not before then
    backfill: Mapped[str] = mapped_column(server_default=Backfill.WANTED.value)
    backfill_after: Mapped[datetime | None]  #: mail older than this is not read
    backfill_page: Mapped[str | None]  #: where the listing goes on after a crash
    backfill_total: Mapped[int] = mapped_column(server_default="0")  #: messages that the listing found wanting
    backfill_started_at: Mapped[datetime | None]
    backfill_finished_at: Mapped[datetime | None]
    checked_at: Mapped[datetime | None]  #: when the store was last compared with Gmail
    check_result: Mapped[dict[str, Any] | None]
    gap_at: Mapped[datetime | None]  #: when a check found mail that was missed, until a later one finds none
    left_at: Mapped[datetime | None]  #: its owner was removed: it is never read again
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    @property
    def trouble(self) -> str:
        """What does not work though mail is read, in words; empty if all does."""
        return " ".join(words for words in (self.fetch_trouble, self.push_trouble) if words)


#: Called with (session, mailbox) when an account is connected that its user has not connected before.
on_connect: list[Callable[[Session, Mailbox], None]] = []


@dataclass(frozen=True, slots=True)
class Health:
    """A mailbox's condition, what it means, and what to do."""

    level: str  #: ok, busy, late or bad
    text: str
    remedy: str = ""


def connect(session: Session, user: people.User, address: str, credentials: bytes, now: datetime) -> Mailbox:
    """Connect an account, or connect it again with new credentials; a sync is wished for.

    Raises `PermissionError` if the account belongs to somebody else, `PeopleError` if its owner was removed
    meanwhile or is a guest.
    """
    people.hold_member(session, user)
    with row_security.as_system(session, Why.ONE_ACCOUNT_ONE_TEAM):
        mailbox = by_address(session, address)
    if mailbox is None:
        mailbox = Mailbox(team_id=user.team_id, user_id=user.id, address=address, normalized=normalize(address))
        session.add(mailbox)
        session.flush()
        people.own_address(session, user.team_id, address, user.id)
        for follow in on_connect:
            follow(session, mailbox)
    elif mailbox.user_id != user.id:
        raise PermissionError(f"{address} is connected by somebody else")
    mailbox.credentials = credentials
    mailbox.state, mailbox.attention, mailbox.attention_at = State.CONNECTED.value, None, None
    mailbox.retry_at, mailbox.watch_renew_at = None, None
    session.flush()
    want(session, mailbox.id, "connected", now)
    events.record(session, user.team_id, "mailbox.connected", mailbox_id=mailbox.id, user_id=user.id)
    return mailbox


def move(session: Session, mailbox_id: int, to: State, *, reason: str | None, now: datetime) -> bool:
    """Change a mailbox's state along an arrow; whether it was this call that changed it."""
    sources = [state.value for state, targets in ARROWS.items() if to in targets]
    changed = session.execute(
        update(Mailbox)
        .where(Mailbox.id == mailbox_id, Mailbox.state.in_(sources))
        .values(state=to.value, attention=reason, attention_at=now if reason else None)
        .returning(Mailbox.team_id)
    ).scalar_one_or_none()
    if changed is None:
        return False
    events.record(session, changed, f"mailbox.{to.value}", mailbox_id=mailbox_id, data={"reason": reason})
    return True


def want(session: Session, mailbox_id: int, why: str, now: datetime) -> None:
    """Wish that a mailbox be synced. The row is the wish; a job is only the wake-up."""
    session.execute(update(Mailbox).where(Mailbox.id == mailbox_id).values(wanted_at=now, wanted_by=why))


def pushed(session: Session, mailbox_id: int, now: datetime) -> None:
    """Gmail says that something changed."""
    session.execute(update(Mailbox).where(Mailbox.id == mailbox_id).values(pushed_at=now))
    want(session, mailbox_id, "pushed", now)


def fulfil(session: Session, mailbox_id: int, wish: datetime | None, now: datetime) -> bool:
    """Note that a sync finished; the wish is gone unless a newer one came in meanwhile."""
    session.execute(update(Mailbox).where(Mailbox.id == mailbox_id).values(synced_at=now, retry_at=None))
    done = session.execute(
        update(Mailbox)
        .where(Mailbox.id == mailbox_id, Mailbox.wanted_at.is_not_distinct_from(wish))
        .values(wanted_at=None, wanted_by=None)
    )
    return isinstance(done, CursorResult) and done.rowcount == 1


def put_aside(session: Session, mailbox_id: int, words: str, until: datetime) -> None:
    """Gmail refuses: leave the mailbox alone until then, and say why."""
    session.execute(
        update(Mailbox).where(Mailbox.id == mailbox_id).values(fetch_trouble=f"{words}.", retry_at=until)
    )


def due(session: Session, now: datetime, silence: timedelta) -> Sequence[int]:
    """Mailboxes with a wish, an unfinished backfill, or not asked for as long as `silence`."""
    unasked = Mailbox.synced_at.is_(None) | (Mailbox.synced_at < now - silence)
    unfinished = Mailbox.wanted_at.is_not(None) | (Mailbox.backfill != Backfill.DONE.value)
    patient = Mailbox.retry_at.is_(None) | (Mailbox.retry_at <= now)
    query = select(Mailbox.id).where(Mailbox.state == State.CONNECTED.value, patient, unfinished | unasked)
    return session.scalars(query.order_by(Mailbox.id)).all()


def unchecked(session: Session, now: datetime, interval: timedelta, recheck: timedelta) -> Sequence[int]:
    """Mailboxes whose daily comparison with Gmail is due; one with a gap is looked at again sooner."""
    old = Mailbox.checked_at.is_(None) | (Mailbox.checked_at < now - interval)
    gap = Mailbox.gap_at.is_not(None) & (Mailbox.checked_at < now - recheck)
    query = select(Mailbox.id).where(
        Mailbox.state == State.CONNECTED.value, Mailbox.backfill == Backfill.DONE.value, old | gap
    )
    return session.scalars(query.order_by(Mailbox.id)).all()


def by_address(session: Session, address: str) -> Mailbox | None:
    """The mailbox of this address; none that its owner left behind."""
    return session.scalar(
        select(Mailbox).where(Mailbox.normalized == normalize(address), Mailbox.left_at.is_(None))
    )


def by_key(session: Session, key: str) -> Mailbox | None:
    """The mailbox with this key; none that its owner left behind."""
    return session.scalar(select(Mailbox).where(Mailbox.key == key, Mailbox.left_at.is_(None)))


def of_user(session: Session, user_id: int) -> Sequence[Mailbox]:
    """A user's mailboxes."""
    return session.scalars(select(Mailbox).where(Mailbox.user_id == user_id).order_by(Mailbox.address)).all()


def of_team(session: Session, team_id: int) -> Sequence[Mailbox]:
    """The team's mailboxes."""
    query = select(Mailbox).where(Mailbox.team_id == team_id, Mailbox.left_at.is_(None))
    return session.scalars(query.order_by(Mailbox.address)).all()


def everywhere(session: Session) -> Sequence[Mailbox]:
    """All mailboxes, for the operator."""
    return session.scalars(select(Mailbox).where(Mailbox.left_at.is_(None)).order_by(Mailbox.address)).all()


def health(mailbox: Mailbox, now: datetime, silence: timedelta) -> Health:
    """A mailbox's condition, from evidence.

    `silence` is how long a mailbox goes unasked when all is well; three times that, and five minutes more, is
    late.
    """
    if mailbox.state == State.ATTENTION:
        return Health("bad", mailbox.attention or "Gmail does not let us in", "Connect the mailbox again")
    if mailbox.state == State.DISCONNECTED:
        return Health("bad", "Disconnected; no mail is read", "Connect the mailbox again")
    if mailbox.gap_at is not None:
        found = (mailbox.check_result or {}).get("missing", 0)
        return Health("bad", f"A check found {found} missed messages", "They are being fetched; check again")
    if mailbox.fetch_trouble:
        return Health("late", mailbox.fetch_trouble, "It is tried again; nothing else waits for it")
    if mailbox.backfill != Backfill.DONE:
        return Health("busy", "Reading the mailbox for the first time")
    patience = silence * 3 + timedelta(minutes=5)
    if mailbox.synced_at is None or now - mailbox.synced_at > patience:
        return Health("late", "Not synced for too long", "Is a worker running? `tracker status` tells")
    return Health("ok", "Up to date")
