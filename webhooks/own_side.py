"""Who of ours was where, and who had which thread open: so that our own looks at a mail are no reads.

Noted are the addresses of signed-in browsers, an hour at a time, and the threads that the side panel in Gmail
shows. Our own pages load no pixels, so looking at a mail in Tracker leaves nothing to be told apart.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import DateTime, ForeignKey, Index, UniqueConstraint, bindparam, delete, select, text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker.db import Base, Identified, OfTeam
from tracker.people import User
from webhooks.hits import CHANNEL
from webhooks.tracks import TrackedEmail
from webhooks.verdicts.facts import Known, Seen
from webhooks.verdicts.rules import VIEW_AFTER, VIEW_BEFORE

EVERY = timedelta(hours=1)  #: an address of a person is noted so often
#: Whoever used an address on a day may look at their mail on the day before and after without coming to Tracker.
AROUND = timedelta(days=1)
STAY = timedelta(days=7)  #: unseen for so long, an address begins anew: it was a café's, a client's, a provider's
VIEW_EVERY = timedelta(seconds=30)  #: a thread that stays open is noted so often
#: Rows deleted in one transaction.
AT_ONCE = 5_000
V6_PREFIX = 64  # bits; below it a machine changes its address by itself (RFC 8981)


class KnownAddress(OfTeam, Identified, Base):
    """A person of ours used this internet address with a signed-in browser, from the one instant to the other."""

    __tablename__ = "known_addresses"
    __table_args__ = (
        UniqueConstraint("user_id", "address"),
        Index("ix_known_addresses_team_id", "team_id", "address"),
        Index("ix_known_addresses_last_seen", "last_seen"),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    address: Mapped[str] = mapped_column(INET)  #: of IPv6 the network of 64 bits
    first_seen: Mapped[datetime]
    last_seen: Mapped[datetime]


class OwnView(OfTeam, Identified, Base):
    """A person of ours had a thread open."""

    __tablename__ = "own_views"
    __table_args__ = (
        Index("ix_own_views_conversation_id", "conversation_id", "at"),
        Index("ix_own_views_at", "at"),
        Index("ix_own_views_user_id", "user_id"),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    at: Mapped[datetime]


def place(address: str | None) -> str | None:
    """An address as it is kept, or None for one that tells nothing.

    Only addresses of the public internet tell: a loopback or private one is that of a proxy that nobody listed, of
    a container's bridge or of the demo. Each hit would come from it as well, and every read would be swallowed.
    """
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    if not found.is_global or found.is_multicast:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, V6_PREFIX), strict=False))
    return str(found)


@dataclass(slots=True)
class Lately:
    """What this process has noted within the hour, so that most requests ask the database nothing. Bounded."""

    most: int = 10_000
    noted: OrderedDict[tuple[int, str], datetime] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_news(self, user_id: int, address: str, now: datetime) -> bool:
        """Whether it is to be noted; asked again within the hour it is not."""
        key = (user_id, address)
        with self.lock:
            before = self.noted.get(key)
            if before is not None and now - before < EVERY:
                return False
            self.noted[key] = now
            self.noted.move_to_end(key)
            while len(self.noted) > self.most:
                self.noted.popitem(last=False)
            return True

    def forget(self, user_id: int, address: str) -> None:
        """It could not be noted after all."""
        with self.lock:
            self.noted.pop((user_id, address), None)


_NOTE = text(
    """
    INSERT INTO known_addresses AS known (team_id, user_id, address, first_seen, last_seen)
    VALUES (:team_id, :user_id, CAST(:address AS inet), :now, :now)
    ON CONFLICT (user_id, address) DO UPDATE SET
      first_seen = CASE WHEN excluded.last_seen - known.last_seen > :stay THEN excluded.first_seen
                        ELSE least(known.first_seen, excluded.first_seen) END,
      last_seen = greatest(known.last_seen, excluded.last_seen)
    """
)


def note(session: Session, team_id: int, user_id: int, address: str, now: datetime) -> None:
    """A signed-in browser of this person came from `address`, as `place` gives it."""
    row = {"team_id": team_id, "user_id": user_id, "address": address, "now": now, "stay": STAY}
    session.execute(_NOTE, row)


# A picture of it that was fetched a moment before: the judge is to look at that again at once.
_SEEN = text(
    """
    WITH seen AS (
      INSERT INTO own_views (team_id, user_id, conversation_id, at)
      SELECT u.team_id, u.id, c.id, :at FROM users u JOIN conversations c ON c.team_id = u.team_id
      WHERE u.id = :user_id AND c.id = :conversation_id AND NOT EXISTS (
        SELECT FROM own_views v WHERE v.conversation_id = c.id AND v.user_id = u.id
        AND v.at BETWEEN CAST(:at AS timestamptz) - :every AND CAST(:at AS timestamptz) + :every)
    ), again AS (
      UPDATE tracked_emails t SET rules = 0 FROM users u
      WHERE u.id = :user_id AND t.team_id = u.team_id AND t.conversation_id = :conversation_id AND t.rules > 0
      AND EXISTS (SELECT FROM hits h WHERE h.tracked_email_id = t.id AND h.kind = 'open'
        AND h.verdict <> 'own' AND h.at BETWEEN :since AND :until)
      RETURNING t.id
    )
    SELECT pg_notify(:channel, '') FROM again
    """
).bindparams(*(bindparam(name, type_=DateTime(timezone=True)) for name in ("at", "since", "until")))


def seen(session: Session, user_id: int, conversation_id: int, at: datetime) -> None:
    """This person has the thread open, as the side panel in Gmail reports. Another team's is passed over."""
    row = {"user_id": user_id, "conversation_id": conversation_id, "at": at, "every": VIEW_EVERY}
    session.execute(_SEEN, {**row, "since": at - VIEW_BEFORE, "until": at + VIEW_AFTER, "channel": CHANNEL})


def known(session: Session, tracked: Sequence[TrackedEmail]) -> dict[int, Known]:
    """What is known of the own side, for each of these mails by its id; two queries for all of them.

    Only addresses that a hit of the mail came from are in it, so that it is small however large the team.
    """
    ids = [one.id for one in tracked]
    addresses, views = _addresses(session, ids), _views(session, ids)
    return {id_: Known(team_addresses=addresses[id_], own_views=tuple(views[id_])) for id_ in ids}


_ADDRESSES = text(
    """
    SELECT DISTINCT h.tracked_email_id, host(h.address), u.key, u.name, k.first_seen, k.last_seen
    FROM hits h
    JOIN known_addresses k ON k.team_id = h.team_id AND k.address =
      CASE WHEN family(h.address) = 6 THEN CAST(network(set_masklen(h.address, 64)) AS inet) ELSE h.address END
    JOIN users u ON u.id = k.user_id
    WHERE h.tracked_email_id = ANY(:ids) AND h.address IS NOT NULL
    ORDER BY 1, 2, k.first_seen, u.key
    """
)


def _addresses(session: Session, ids: Sequence[int]) -> dict[int, dict[str, tuple[Seen, ...]]]:
    found: dict[int, dict[str, tuple[Seen, ...]]] = defaultdict(dict)
    for id_, address, key, name, first, last in session.execute(_ADDRESSES, {"ids": list(ids)}):
        there = found[id_].get(address, ())
        found[id_][address] = (*there, Seen(key, name, first - AROUND, last + AROUND))
    return found


def _views(session: Session, ids: Sequence[int]) -> dict[int, list[tuple[str, datetime]]]:
    query = (
        select(TrackedEmail.id, User.key, OwnView.at)
        .join(OwnView, OwnView.conversation_id == TrackedEmail.conversation_id)
        .join(User, User.id == OwnView.user_id)
        .where(TrackedEmail.id.in_(ids))
        .order_by(TrackedEmail.id, OwnView.at, User.key)
    )
    found: dict[int, list[tuple[str, datetime]]] = defaultdict(list)
    for id_, key, at in session.execute(query):
        found[id_].append((key, at))
    return found


def forget(session: Session, days: int, now: datetime) -> int:
    """Delete what is older than so many days (two at least, as long as it may tell something of a new hit).

    At most `AT_ONCE` rows of each table; returns the larger number. Come again while it is `AT_ONCE`.
    """
    before = now - max(timedelta(days=days), 2 * AROUND)
    addresses = select(KnownAddress.id).where(KnownAddress.last_seen < before).limit(AT_ONCE)
    views = select(OwnView.id).where(OwnView.at < before).limit(AT_ONCE)
    gone = session.scalars(delete(KnownAddress).where(KnownAddress.id.in_(addresses)).returning(KnownAddress.id))
    closed = session.scalars(delete(OwnView).where(OwnView.id.in_(views)).returning(OwnView.id))
    return max(len(gone.all()), len(closed.all()))
