"""Deliveries: pushes that wait for their browser, as rows. A crash may repeat one; its tag makes it one.

A worker claims (committed), asks the push service outside of any transaction, and settles. What came in quiet
hours, and what is more than a person can take in, goes together as one summary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    CursorResult,
    ForeignKey,
    Index,
    SmallInteger,
    UniqueConstraint,
    func,
    insert,
    select,
    text,
    update,
)  # fmt: skip
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker.db import Base, Identified, OfTeam, among, new_key
from tracker.people import User
from webhooks.bells import wishes
from webhooks.bells.flights import origin_of
from webhooks.bells.notices import Notification
from webhooks.bells.subscriptions import PushSubscription


class State(StrEnum):
    """Where a delivery is."""

    WAITING = "waiting"
    SENDING = "sending"  #: claimed until `next_at`; then its worker is taken for dead
    SENT = "sent"  #: the push service has it
    SEEN = "seen"  #: its reader saw it elsewhere before it rang
    EXPIRED = "expired"  #: it is no news any more
    DROPPED = "dropped"  #: the push service refuses it, or its reader may not read it


#: A change is one conditional UPDATE; no other arrow goes. A browser that is gone takes its deliveries along.
ARROWS: dict[State, frozenset[State]] = {
    State.WAITING: frozenset({State.SENDING, State.SEEN, State.EXPIRED, State.DROPPED}),
    # To itself: whoever claimed it died. Back to waiting: the push service asks to be asked later.
    State.SENDING: frozenset({State.SENDING, State.SENT, State.WAITING, State.SEEN, State.EXPIRED, State.DROPPED}),
    State.SENT: frozenset(),
    State.SEEN: frozenset(),
    State.EXPIRED: frozenset(),
    State.DROPPED: frozenset(),
}
OPEN = (State.WAITING, State.SENDING)

LEASE = timedelta(seconds=60)  # longer than a push service is given
LIFE = timedelta(hours=24)  # from when it may ring
BURST = 10  # pushes to a browser within `BURST_SPAN`; what is more goes together
BURST_SPAN = timedelta(minutes=1)
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (5, 20, 60, 300, 900, 3600))
ATTEMPTS = 12
KEPT = timedelta(days=30)  # how long it is known what became of one


class PushDelivery(OfTeam, Identified, Base):
    """One notification for one browser; without a notification it is a test."""

    __tablename__ = "push_deliveries"
    __table_args__ = (
        UniqueConstraint("subscription_id", "notification_id"),
        Index("ix_push_deliveries_open", "next_at", postgresql_where=text("state in ('waiting', 'sending')")),
        Index("ix_push_deliveries_sent", "subscription_id", "sent_at", postgresql_where=text("state = 'sent'")),
        Index("ix_push_deliveries_notification_id", "notification_id"),
        CheckConstraint("state in ('waiting', 'sending', 'sent', 'seen', 'expired', 'dropped')", name="state"),
    )

    subscription_id: Mapped[int] = mapped_column(ForeignKey("push_subscriptions.id", ondelete="CASCADE"))
    notification_id: Mapped[int | None] = mapped_column(ForeignKey("notifications.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(server_default=State.WAITING.value)
    created_at: Mapped[datetime]
    next_at: Mapped[datetime]  #: when to try, or until when it is claimed
    expires_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    together: Mapped[bool] = mapped_column(Boolean, server_default="false")  #: as part of a summary
    push: Mapped[str | None]  #: the claim's token; those of one push share it
    sent_at: Mapped[datetime | None]
    reason: Mapped[str | None]  #: why it is where it is


@dataclass(frozen=True, slots=True)
class Claim:
    """One push to be made: what it holds, and for which browser."""

    token: str
    subscription: PushSubscription
    user: User
    until: datetime  #: whoever has it may send it; then it is another's
    expires_at: datetime
    notifications: Sequence[Notification]  #: several: a summary; none: a test


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a push. `GONE` browsers are forgotten; `retry` is when a waiting one is tried again."""

    state: State
    reason: str | None = None
    retry_after: timedelta | None = None
    gone: bool = False
    status: int | None = field(default=None, compare=False)


QuietUntil = Callable[[int, datetime], datetime | None]


def add(session: Session, quiet_until: QuietUntil, notifications: Sequence[Notification], now: datetime) -> None:
    """Have these ring in their readers' browsers: now, or together when their quiet hours end."""
    user_ids = {one.user_id for one in notifications}
    if not user_ids:
        return
    query = select(PushSubscription.id, PushSubscription.user_id).where(among(PushSubscription.user_id, user_ids))
    browsers: dict[int, list[int]] = defaultdict(list)
    for id_, user_id in session.execute(query):
        browsers[user_id].append(id_)
    rows = []
    for one in notifications:
        later = quiet_until(one.user_id, now) if browsers[one.user_id] else None
        rows += [_new(one.team_id, id_, one.id, now, later) for id_ in browsers[one.user_id]]
    if rows:
        session.execute(insert(PushDelivery), rows)


def add_test(session: Session, subscription: PushSubscription, now: datetime) -> None:
    """Have a browser ring to show that it does; whoever asks for it is awake, quiet hours or not."""
    waiting = select(PushDelivery.id).where(
        PushDelivery.subscription_id == subscription.id,
        PushDelivery.notification_id.is_(None),
        PushDelivery.state.in_(OPEN),
    )
    if session.scalar(waiting.limit(1)) is None:  # one at a time is enough
        session.execute(insert(PushDelivery), [_new(subscription.team_id, subscription.id, None, now, None)])


def _new(
    team_id: int, subscription_id: int, about: int | None, now: datetime, later: datetime | None
) -> dict[str, Any]:
    return {
        "team_id": team_id, "subscription_id": subscription_id, "notification_id": about,
        "state": State.WAITING.value, "created_at": now, "next_at": later or now,
        "expires_at": (later or now) + LIFE, "together": later is not None,
    }  # fmt: skip


# -- claiming


@dataclass
class Room:
    """How many pushes there may be: in all, and to each push service, by its origin."""

    free: int
    of_origin: dict[str, int] = field(default_factory=dict)
    most: int = 1_000_000  #: to any that `of_origin` doesn't name

    def for_(self, origin: str) -> int:
        """How many more to this one."""
        return max(0, min(self.free, self.of_origin.get(origin, self.most)))

    def take(self, origin: str, number: int) -> None:
        """So many go to it."""
        self.free -= number
        self.of_origin[origin] = self.of_origin.get(origin, self.most) - number


def claim(session: Session, now: datetime, room: Room | int) -> list[Claim]:
    """Claim what is due, at most so many pushes, each browser's one worker's at a time. Commit, then send."""
    room = Room(room) if isinstance(room, int) else room
    browsers = _lock_browsers(session, now, room)
    if not browsers:
        return []
    rows = _due(session, browsers, now)
    sent = _sent_lately(session, browsers, now)
    users = {user.id: user for user in session.scalars(select(User).where(
        among(User.id, {one.user_id for one in browsers.values()})))}  # fmt: skip
    wished = wishes.of_users(session, users.values())
    claims: list[Claim] = []
    for id_, browser in browsers.items():
        user, origin = users[browser.user_id], origin_of(browser.endpoint)
        quiet = wishes.quiet_until(wished[user.id], wishes.zone_of(user), now)
        pushes = _pushes(rows.get(id_, []), quiet, sent.get(id_, []), now)
        taken = pushes[: room.for_(origin)]  # the others stay due
        room.take(origin, len(taken))
        claims += [_claim(browser, user, one, now) for one in taken]
    return claims


Due = tuple[PushDelivery, Notification | None]


def _lock_browsers(session: Session, now: datetime, room: Room) -> dict[int, PushSubscription]:
    full = [origin for origin in room.of_origin if not room.for_(origin)]
    elsewhere = [~PushSubscription.endpoint.startswith(origin, autoescape=True) for origin in full]
    due = select(PushDelivery.id).where(
        PushDelivery.subscription_id == PushSubscription.id,
        PushDelivery.state.in_(OPEN),
        PushDelivery.next_at <= now,
    )
    first = select(PushDelivery.subscription_id).where(PushDelivery.state.in_(OPEN), PushDelivery.next_at <= now)
    if elsewhere:
        first = first.join(PushSubscription, PushSubscription.id == PushDelivery.subscription_id).where(*elsewhere)
    # The inner limit is on rows: a person's burst must not make the question long.
    some = first.order_by(PushDelivery.next_at).limit(room.free * 20)
    query = (
        select(PushSubscription)
        .where(PushSubscription.id.in_(some), due.exists())
        .limit(room.free)
        .with_for_update(skip_locked=True, key_share=True, of=PushSubscription)
        .execution_options(populate_existing=True)
    )
    return {one.id: one for one in session.scalars(query)}


def _due(session: Session, browsers: Iterable[int], now: datetime) -> dict[int, list[Due]]:
    query = (
        select(PushDelivery, Notification)
        .outerjoin(Notification, Notification.id == PushDelivery.notification_id)
        .where(
            among(PushDelivery.subscription_id, browsers),
            PushDelivery.state.in_(OPEN),
            PushDelivery.next_at <= now,
        )
        .order_by(PushDelivery.id)
        .execution_options(populate_existing=True)
    )
    found: dict[int, list[Due]] = defaultdict(list)
    for row, notification in session.execute(query):
        found[row.subscription_id].append((row, notification))
    return found


def _sent_lately(session: Session, browsers: Iterable[int], now: datetime) -> dict[int, list[datetime]]:
    """When each of the last minute's pushes went, or was claimed, by browser; the oldest first."""
    at = func.min(func.coalesce(PushDelivery.sent_at, PushDelivery.next_at - LEASE))
    lately = (PushDelivery.state == State.SENT) & (PushDelivery.sent_at > now - BURST_SPAN)
    claimed = (PushDelivery.state == State.SENDING) & (PushDelivery.next_at > now)
    query = (
        select(PushDelivery.subscription_id, at)
        .where(among(PushDelivery.subscription_id, browsers), PushDelivery.push.is_not(None), lately | claimed)
        .group_by(PushDelivery.subscription_id, PushDelivery.push)
        .order_by(at)
    )
    found: dict[int, list[datetime]] = defaultdict(list)
    for id_, when in session.execute(query):
        found[id_].append(when)
    return found


def _pushes(
    rows: Sequence[Due], quiet: datetime | None, sent: Sequence[datetime], now: datetime
) -> list[Sequence[Due]]:
    """What may go to one browser now, by pushes; the rest is put off or ends."""
    alive = [row for row in rows if not _ended(row, now)]
    tests = [row for row in alive if row[1] is None]
    news = [row for row in alive if row[1] is not None]
    made: list[Sequence[Due]] = [[row] for row in tests]
    if quiet is not None:
        _put_off([row for row, _ in news], quiet)
        return made
    room = BURST - len(sent)
    if not news:
        return made
    if room <= 0 or (len(news) > room and not any(row.together for row, _ in news)):
        alone, rest = news[: max(room, 0)], news[max(room, 0) :]
        _put_off([row for row, _ in rest], (sent[0] if sent else now) + BURST_SPAN)
        return made + [[row] for row in alone]
    if any(row.together for row, _ in news):
        return [*made, news]
    return made + [[row] for row in news]


def _ended(due: Due, now: datetime) -> bool:
    row, notification = due
    if row.expires_at <= now:
        row.state, row.reason = State.EXPIRED.value, "it was no news any more"
    elif row.attempts >= ATTEMPTS:
        row.state, row.reason = State.DROPPED.value, row.reason or "it was tried too often"
    elif notification is not None and notification.seen_at is not None:
        row.state, row.reason = State.SEEN.value, "it was seen before it rang"
    else:
        return False
    return True


def _put_off(rows: Iterable[PushDelivery], until: datetime) -> None:
    for row in rows:
        row.state, row.next_at, row.together = State.WAITING.value, until, True
        row.expires_at = max(row.expires_at, until + LIFE)


def _claim(browser: PushSubscription, user: User, rows: Sequence[Due], now: datetime) -> Claim:
    token = new_key()
    for row, _ in rows:
        assert State.SENDING in ARROWS[State(row.state)]
        row.state, row.push, row.next_at = State.SENDING.value, token, now + LEASE
        row.attempts = row.attempts + 1
    told = [notification for _, notification in rows if notification is not None]
    return Claim(token, browser, user, now + LEASE, max(row.expires_at for row, _ in rows), told)


# -- settling


_LOCK = text(
    "SELECT id FROM push_subscriptions WHERE id = ANY (CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE"
)
_REACHED = text(
    "UPDATE push_subscriptions SET last_ok_at = :now, failures = 0 WHERE id = ANY (CAST(:ids AS bigint[]))"
)
_SENT = text(
    "UPDATE push_deliveries SET state = 'sent', sent_at = :now, reason = NULL"
    " WHERE subscription_id = ANY (CAST(:ids AS bigint[])) AND push = ANY (CAST(:tokens AS text[]))"
    " AND state = 'sending'"
)


def settle_all(session: Session, outcomes: Sequence[tuple[Claim, Settled]], now: datetime) -> None:
    """Write down what became of several pushes; those that got through in a few statements."""
    ids = sorted({claim.subscription.id for claim, _ in outcomes})
    session.execute(_LOCK, {"ids": ids})  # in one order, so that two workers don't wait for each other
    sent = [claim for claim, outcome in outcomes if outcome.state == State.SENT]
    if sent:
        ids = [claim.subscription.id for claim in sent]
        session.execute(_REACHED, {"ids": ids, "now": now})
        session.execute(_SENT, {"ids": ids, "tokens": [claim.token for claim in sent], "now": now})
    for claim, outcome in outcomes:
        if outcome.state != State.SENT:
            settle(session, claim, outcome, now)


def settle(session: Session, claim: Claim, outcome: Settled, now: datetime) -> bool:
    """Write down what became of a push; False if another worker had taken it over, or its browser is gone."""
    assert outcome.state in ARROWS[State.SENDING]
    if outcome.gone:
        gone = text("DELETE FROM push_subscriptions WHERE id = :id")
        session.execute(gone, {"id": claim.subscription.id})
        return True
    _note(session, claim, outcome, now)
    ours = update(PushDelivery).where(PushDelivery.push == claim.token, PushDelivery.state == State.SENDING)
    ours = ours.where(PushDelivery.subscription_id == claim.subscription.id)
    values: dict[str, Any] = {"state": outcome.state.value, "reason": outcome.reason}
    if outcome.state == State.SENT:
        values["sent_at"] = now
    elif outcome.state == State.WAITING:
        values |= _again(session, claim, outcome, now)
    changed = session.execute(ours.values(**values).execution_options(synchronize_session=False))
    return isinstance(changed, CursorResult) and changed.rowcount > 0


def _again(session: Session, claim: Claim, outcome: Settled, now: datetime) -> dict[str, Any]:
    query = select(func.max(PushDelivery.attempts)).where(
        PushDelivery.push == claim.token, PushDelivery.subscription_id == claim.subscription.id
    )
    attempts = session.scalar(query) or 1
    at = now + max(outcome.retry_after or timedelta(0), PAUSES[min(attempts, len(PAUSES)) - 1])
    if attempts >= ATTEMPTS:
        return {"state": State.DROPPED.value}
    if at >= claim.expires_at:
        return {"state": State.EXPIRED.value}
    return {"next_at": at}


def _note(session: Session, claim: Claim, outcome: Settled, now: datetime) -> None:
    """What is known of the browser: when something got through last, or how often nothing did."""
    known = update(PushSubscription).where(PushSubscription.id == claim.subscription.id)
    if outcome.state == State.SENT:
        known = known.values(last_ok_at=now, failures=0)
    elif outcome.status is not None or outcome.state == State.WAITING:
        known = known.values(failures=PushSubscription.failures + 1)
    else:
        return
    session.execute(known.execution_options(synchronize_session=False))


def tidy(session: Session, now: datetime) -> int:
    """Forget what became of deliveries long ago."""
    gone = text(
        "DELETE FROM push_deliveries WHERE id IN (SELECT id FROM push_deliveries"
        " WHERE state NOT IN ('waiting', 'sending') AND created_at < :before ORDER BY id LIMIT 1000) RETURNING id"
    )
    return len(session.scalars(gone, {"before": now - KEPT}).all())
