"""Wanted messages: every mail that we know to exist in Gmail and don't hold yet is a row here.

Listing, history and checks only ever write wishes; the row is committed together with the cursor that told of
it, so that a crash between knowing and fetching loses nothing. Whoever fetches deletes the row in the same
transaction that stores the message.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, ForeignKey, Index, SmallInteger, delete, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker.db import Base, OfTeam, among
from tracker.messages import Copy

NEW_MAIL, OLD_MAIL = 0, 1  # priorities: what history tells goes before what the first reading lists
THREAD_COST, MESSAGE_COST = 40, 20  # quota units
#: Seconds before a message that answered 404 is asked for again; after the last it is believed gone.
PATIENCE = (2, 4, 8, 16)
LONGEST_REFUSAL = timedelta(hours=1)


class Wanted(OfTeam, Base):
    """A message to fetch."""

    __tablename__ = "wanted_messages"
    __table_args__ = (
        Index("ix_wanted_messages_order", "mailbox_id", "priority", "rank", "gmail_thread_id"),
        Index("ix_wanted_messages_not_before", "mailbox_id", "not_before"),
    )

    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"), primary_key=True)
    gmail_id: Mapped[str] = mapped_column(primary_key=True)
    gmail_thread_id: Mapped[str]
    priority: Mapped[int] = mapped_column(SmallInteger)
    rank: Mapped[int] = mapped_column(BigInteger)  #: lower goes first; a thread's messages share one
    tries: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    not_before: Mapped[datetime | None]  #: answered 404 just now: may appear yet; or was refused
    refusal: Mapped[str | None]  #: why Gmail does not hand it out, in its words


class Listed(OfTeam, Base):
    """What Gmail said it holds, while a listing goes on."""

    __tablename__ = "gmail_listings"

    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"), primary_key=True)
    label_id: Mapped[str] = mapped_column(primary_key=True)  #: "" for the whole mailbox
    gmail_id: Mapped[str] = mapped_column(primary_key=True)
    gmail_thread_id: Mapped[str]
    position: Mapped[int] = mapped_column(BigInteger)  #: newest first


@dataclass(frozen=True, slots=True)
class Fetch:
    """One thread's wanted messages, and the cheapest way to bring them."""

    gmail_thread_id: str
    gmail_ids: tuple[str, ...]
    tried: bool  #: some answered 404 before: ask for each message by itself

    @property
    def whole_thread(self) -> bool:
        """Whether `threads.get` costs no more than the messages one by one."""
        return not self.tried and len(self.gmail_ids) * MESSAGE_COST >= THREAD_COST

    @property
    def units(self) -> int:
        """What the fetch costs."""
        return (
            min(THREAD_COST, MESSAGE_COST * len(self.gmail_ids))
            if not self.tried
            else (MESSAGE_COST * len(self.gmail_ids))
        )


def want(
    session: Session, team_id: int, mailbox_id: int, ids: Iterable[tuple[str, str]], *, priority: int = NEW_MAIL
) -> None:
    """Wish for messages, as pairs of message and thread id; those we hold or wish for already are passed over."""
    pairs = dict(ids)
    if not pairs:
        return
    held = set(
        session.scalars(select(Copy.gmail_id).where(Copy.mailbox_id == mailbox_id, among(Copy.gmail_id, pairs)))
    )
    rank = session.scalar(select(func.max(Wanted.rank)).where(Wanted.mailbox_id == mailbox_id)) or 0
    ranks: dict[str, int] = {}
    rows = []
    for gmail_id, thread_id in pairs.items():
        if gmail_id in held:
            continue
        rows.append(
            {
                "team_id": team_id,
                "mailbox_id": mailbox_id,
                "gmail_id": gmail_id,
                "gmail_thread_id": thread_id,
                "priority": priority,
                "rank": ranks.setdefault(thread_id, rank + 1 + len(ranks)),
            }
        )
    if rows:
        session.execute(insert(Wanted).on_conflict_do_nothing(), rows)


# Grouped, not joined with itself: a table just written has no statistics to plan a join by.
_WANT_LISTED = text(
    """
    INSERT INTO wanted_messages (team_id, mailbox_id, gmail_id, gmail_thread_id, priority, rank)
    SELECT l.team_id, :mailbox, l.gmail_id, l.gmail_thread_id, :priority,
           min(l.position) OVER (PARTITION BY l.gmail_thread_id)
    FROM (SELECT gmail_id, min(team_id) AS team_id, min(gmail_thread_id) AS gmail_thread_id,
                 min(position) FILTER (WHERE label_id = '') AS position
          FROM gmail_listings WHERE mailbox_id = :mailbox GROUP BY gmail_id
          HAVING bool_or(label_id = '') AND NOT bool_or(label_id IN ('TRASH', 'SPAM', 'DRAFT'))) l
    WHERE NOT EXISTS (SELECT 1 FROM copies c WHERE c.mailbox_id = :mailbox AND c.gmail_id = l.gmail_id)
    ON CONFLICT DO NOTHING
    """
)


def want_listed(session: Session, mailbox_id: int, priority: int) -> int:
    """Wish for all that was listed and isn't held, trash, spam and drafts aside; returns how many were new."""
    done = session.execute(_WANT_LISTED, {"mailbox": mailbox_id, "priority": priority})
    return int(done.rowcount)  # type: ignore[attr-defined]


def list_page(
    session: Session,
    team_id: int,
    mailbox_id: int,
    label_id: str,
    ids: Sequence[tuple[str, str]],
    start: int,
) -> None:
    """Write down a page of a listing, whose first entry has the position `start`."""
    rows = [
        {
            "team_id": team_id,
            "mailbox_id": mailbox_id,
            "label_id": label_id,
            "gmail_id": gmail_id,
            "gmail_thread_id": thread_id,
            "position": start + number,
        }
        for number, (gmail_id, thread_id) in enumerate(ids)
    ]
    if rows:
        session.execute(insert(Listed).on_conflict_do_nothing(), rows)


def listed_count(session: Session, mailbox_id: int, label_id: str = "") -> int:
    """How many messages a listing holds so far."""
    query = select(func.count()).select_from(Listed)
    return session.scalar(query.where(Listed.mailbox_id == mailbox_id, Listed.label_id == label_id)) or 0


def forget_listing(session: Session, mailbox_id: int) -> None:
    """Throw a listing away."""
    session.execute(delete(Listed).where(Listed.mailbox_id == mailbox_id))


def plan(
    session: Session, mailbox_id: int, now: datetime, *, besides: Collection[str] = (), limit: int = 400
) -> list[Fetch]:
    """What to fetch next, by thread: new mail first, then the newest; about `limit` messages.

    `besides` are the ids of threads that are being fetched already.
    """
    ready = Wanted.not_before.is_(None) | (Wanted.not_before <= now)
    query = (
        select(Wanted.gmail_thread_id, Wanted.gmail_id, Wanted.tries)
        .where(Wanted.mailbox_id == mailbox_id, ready, ~among(Wanted.gmail_thread_id, besides))
        .order_by(Wanted.priority, Wanted.rank, Wanted.gmail_thread_id)
        .limit(limit)
    )
    threads: dict[str, list[tuple[str, int]]] = {}
    for thread_id, gmail_id, tries in session.execute(query):
        threads.setdefault(thread_id, []).append((gmail_id, tries))
    if sum(map(len, threads.values())) == limit and len(threads) > 1:
        threads.popitem()  # perhaps cut in the middle: the next plan has it whole
    return [
        Fetch(thread_id, tuple(gmail_id for gmail_id, _ in found), any(tries for _, tries in found))
        for thread_id, found in threads.items()
    ]


def settle(session: Session, mailbox_id: int, gmail_ids: Collection[str]) -> None:
    """These were fetched (or are not wanted any more)."""
    if gmail_ids:
        session.execute(
            delete(Wanted).where(Wanted.mailbox_id == mailbox_id, among(Wanted.gmail_id, gmail_ids)),
            execution_options={"synchronize_session": False},
        )


def missed(session: Session, mailbox_id: int, gmail_ids: Collection[str], now: datetime) -> int:
    """These answered 404: wait some seconds before believing it. Returns how many are now believed gone."""
    rows = session.execute(
        select(Wanted.gmail_id, Wanted.tries).where(
            Wanted.mailbox_id == mailbox_id, among(Wanted.gmail_id, gmail_ids)
        )
    ).all()
    gone = [gmail_id for gmail_id, tries in rows if tries >= len(PATIENCE)]
    settle(session, mailbox_id, gone)
    for gmail_id, tries in rows:
        if tries < len(PATIENCE):
            session.execute(
                update(Wanted)
                .where(tuple_(Wanted.mailbox_id, Wanted.gmail_id) == (mailbox_id, gmail_id))
                .values(tries=tries + 1, not_before=now + timedelta(seconds=PATIENCE[tries]))
            )
    return len(gone)


def refused(session: Session, mailbox_id: int, gmail_ids: Collection[str], words: str, now: datetime) -> None:
    """Gmail does not hand these out, though they are there: keep the wish, and ask less and less often."""
    query = select(Wanted).where(Wanted.mailbox_id == mailbox_id, among(Wanted.gmail_id, gmail_ids))
    for row in session.scalars(query):
        row.not_before = now + min(timedelta(minutes=2**row.tries), LONGEST_REFUSAL)
        row.tries, row.refusal = min(row.tries + 1, 30), words


def refusals(session: Session, mailbox_id: int) -> tuple[int, str | None]:
    """How many messages Gmail does not hand out, and what it says of one."""
    query = select(func.count(), func.min(Wanted.refusal))
    count, words = session.execute(query.where(Wanted.mailbox_id == mailbox_id, Wanted.refusal.is_not(None))).one()
    return count, words


def waiting(session: Session, mailbox_id: int) -> tuple[int, datetime | None]:
    """How many are wanted, and when the next of those that answered 404 is to be asked for again."""
    query = select(func.count(), func.min(Wanted.not_before).filter(Wanted.refusal.is_(None)))
    query = query.where(Wanted.mailbox_id == mailbox_id)
    count, next_at = session.execute(query).one()
    return count, next_at


def remaining(session: Session, mailbox_id: int) -> int:
    """Quota units that all wishes of a mailbox cost."""
    query = select(func.count()).where(Wanted.mailbox_id == mailbox_id).group_by(Wanted.gmail_thread_id)
    return sum(min(THREAD_COST, MESSAGE_COST * count) for count in session.scalars(query))


def old_mail_left(session: Session, mailbox_id: int) -> int:
    """How many messages that the first reading listed are still to fetch."""
    query = select(func.count()).where(Wanted.mailbox_id == mailbox_id, Wanted.priority == OLD_MAIL)
    return session.scalar(query) or 0
