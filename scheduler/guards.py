"""Guards: what is looked at just before a mail goes. Each can be switched off, on each mail.

All questions are asked for many mails at once, in the transaction that claims them, so that nothing comes between
the answer and the claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import any_, func, literal, select, text
from sqlalchemy.orm import Session

from scheduler import due, local_time
from scheduler.due import Places, Timing
from scheduler.outbox import Guard, ScheduledEmail
from scheduler.states import State

CONSUMER_LIMIT, WORKSPACE_LIMIT = 500, 2000  # mails a day (https://support.google.com/a/answer/166852)
CONSUMER_DOMAINS = frozenset({"gmail.com", "googlemail.com"})
OWN_SHARE = 0.9  # of the limit; the rest is for what its owner sends by hand
DAY = timedelta(hours=24)
SAME_FOR = timedelta(days=90)
SPREAD = 500  # mails of a mailbox that are moved at a time
BEYOND = "Gmail lets this mailbox send only so many mails a day; it goes on a following morning"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a mail is kept back, and what to do about it."""

    guard: Guard
    reason: str
    remedy: str


_ANSWERED = text(
    """
    SELECT DISTINCT ON (s.id) s.id, coalesce(nullif(m.sender_name, ''), m.sender_address) AS who
    FROM scheduled_emails s
    JOIN messages m ON m.team_id = s.team_id AND m.sender_normalized = ANY (s.recipients)
    JOIN copies c ON c.message_id = m.id
    WHERE s.id = ANY (CAST(:ids AS bigint[]))
      AND m.automatic IS NULL AND NOT m.auto_reply
      AND NOT c.hidden AND c.internal_date > s.decided_at
      AND (c.mailbox_id = s.mailbox_id OR m.conversation_id = s.conversation_id)
      AND NOT EXISTS (SELECT 1 FROM own_addresses o
                      WHERE o.team_id = s.team_id AND o.normalized = m.sender_normalized)
    ORDER BY s.id, c.internal_date DESC
    """
)
_CLOSED = text(
    """
    SELECT s.id, b.name,
           CASE WHEN b.deleted_at IS NOT NULL THEN 'deleted'
                WHEN b.archived_at IS NOT NULL THEN 'archived'
                ELSE 'closed as ' || g.name END AS how
    FROM scheduled_emails s
    JOIN boxes b ON b.id = s.box_id
    JOIN stages g ON g.id = b.stage_id
    WHERE s.id = ANY (CAST(:ids AS bigint[]))
      AND (b.deleted_at > s.decided_at OR b.archived_at > s.decided_at
           OR (g.kind <> 'open' AND b.stage_entered_at > s.decided_at))
      AND b.merged_into_id IS NULL
    """
)
_SAME = text(
    """
    SELECT DISTINCT ON (s.id) s.id, t.sent_at
    FROM scheduled_emails s
    JOIN scheduled_emails t ON t.team_id = s.team_id AND t.text_hash = s.text_hash AND t.id <> s.id
      AND t.recipients[1] = s.recipients[1]
      AND t.state IN ('sending', 'sent') AND coalesce(t.sent_at, t.claimed_at) > :since
    WHERE s.id = ANY (CAST(:ids AS bigint[])) AND s.text_hash IS NOT NULL
    ORDER BY s.id, t.sent_at DESC NULLS LAST
    """
)


def check(session: Session, emails: Sequence[ScheduledEmail], now: datetime) -> dict[int, Verdict]:
    """Which of the mails, about to go, are kept back, by id."""
    found: dict[int, Verdict] = {}
    for guard, ask in _GUARDS:
        asked = [email.id for email in emails if guard.value not in email.guards_off and email.id not in found]
        if asked:
            found.update(ask(session, asked, now))
    found.update(_twice([email for email in emails if email.id not in found]))
    return found


def _answered(session: Session, ids: list[int], _now: datetime) -> dict[int, Verdict]:
    remedy = "Read the answer; then send your mail all the same, change it, or cancel it"
    return {
        id_: Verdict(Guard.ANSWERED, f"{who} has written meanwhile", remedy)
        for id_, who in session.execute(_ANSWERED, {"ids": ids})
    }


def _box_closed(session: Session, ids: list[int], _now: datetime) -> dict[int, Verdict]:
    remedy = "Send it all the same, or cancel it"
    return {
        id_: Verdict(Guard.BOX_CLOSED, f"“{name}” was {how} meanwhile", remedy)
        for id_, name, how in session.execute(_CLOSED, {"ids": ids})
    }


def _same_text(session: Session, ids: list[int], now: datetime) -> dict[int, Verdict]:
    remedy = "Change the text, send it all the same, or cancel it"
    return {
        id_: Verdict(
            Guard.SAME_TEXT,
            f"the same text went to the same person on {at:%d %b %Y}" if at else _SAME_NOW,
            remedy,
        )
        for id_, at in session.execute(_SAME, {"ids": ids, "since": now - SAME_FOR})
    }


_SAME_NOW = "the same text is going to the same person right now"
_GUARDS: tuple[tuple[Guard, Callable[[Session, list[int], datetime], dict[int, Verdict]]], ...] = (
    (Guard.ANSWERED, _answered),
    (Guard.BOX_CLOSED, _box_closed),
    (Guard.SAME_TEXT, _same_text),
)


def _twice(emails: Sequence[ScheduledEmail]) -> dict[int, Verdict]:
    """Of mails that say the same to the same person and are due together, the first goes."""
    seen: set[tuple[int, bytes, str]] = set()
    found: dict[int, Verdict] = {}
    for email in emails:
        if email.text_hash is None or not email.recipients:
            continue
        what = (email.team_id, bytes(email.text_hash), email.recipients[0])
        if what in seen and Guard.SAME_TEXT.value not in email.guards_off:
            found[email.id] = Verdict(Guard.SAME_TEXT, _SAME_NOW, "Change the text, or cancel one of them")
        seen.add(what)
    return found


# -- the mailbox's daily limit


_ROOM = text(
    """
    SELECT m.id,
           coalesce(o.daily_limit,
                    CASE WHEN split_part(m.normalized, '@', 2) = ANY (CAST(:consumers AS text[]))
                         THEN :consumer ELSE :workspace END) AS daily,
           (SELECT count(*) FROM copies c
            WHERE c.mailbox_id = m.id AND 'SENT' = ANY (c.label_ids) AND c.internal_date > :since)
           + (SELECT count(*) FROM scheduled_emails s  -- not among the copies yet
              WHERE s.mailbox_id = m.id AND s.state = 'sent' AND s.sent_at > :since AND s.message_id IS NULL
                AND NOT EXISTS (SELECT 1 FROM copies c
                                WHERE c.mailbox_id = m.id AND c.gmail_id = s.sent_gmail_id))
           + (SELECT count(*) FROM scheduled_emails s WHERE s.mailbox_id = m.id AND s.state = 'sending') AS sent,
           (SELECT count(*) FROM scheduled_emails s
            WHERE s.mailbox_id = m.id AND s.state = 'queued' AND s.next_at <= :now
              AND NOT 'daily_limit' = ANY (s.guards_off)) AS due
    FROM mailboxes m LEFT JOIN outbox_mailboxes o ON o.mailbox_id = m.id
    WHERE m.id = ANY (CAST(:ids AS bigint[]))
    """
)


@dataclass(frozen=True, slots=True)
class Room:
    """What a mailbox may send, sent within a day by whatever door, and has due."""

    daily: int  #: as Gmail has it, or its owner set it
    sent: int
    due: int

    @property
    def usable(self) -> int:
        """Mails a day that are ours to send."""
        return int(self.daily * OWN_SHARE)

    @property
    def left(self) -> int:
        """How many more may go now."""
        return max(0, self.usable - self.sent)


def rooms(session: Session, mailbox_ids: Sequence[int], now: datetime) -> dict[int, Room]:
    """How much room several mailboxes have, in one question."""
    values = {
        "ids": list(mailbox_ids), "now": now, "since": now - DAY, "consumers": sorted(CONSUMER_DOMAINS),
        "consumer": CONSUMER_LIMIT, "workspace": WORKSPACE_LIMIT,
    }  # fmt: skip
    return {id_: Room(*map(int, counted)) for id_, *counted in session.execute(_ROOM, values)}


def spread_out(session: Session, places: Places, mailbox_ids: Sequence[int], now: datetime) -> dict[int, int]:
    """Have what is due beyond its mailbox's room go on the next mornings, at most `SPREAD` mails a mailbox.

    Returns how many mails may go now, by mailbox: what is beyond that, and could not be moved yet, waits.
    """
    found = rooms(session, mailbox_ids, now)
    for mailbox_id, room in found.items():
        if room.due > room.left:
            _spread(session, places, mailbox_id, room, now)
    return {mailbox_id: room.left for mailbox_id, room in found.items()}


def _spread(session: Session, places: Places, mailbox_id: int, room: Room, now: datetime) -> None:
    """In fair order: answers to somebody first, then whatever has waited longest."""
    off = literal(Guard.DAILY_LIMIT.value) == any_(ScheduledEmail.guards_off)
    query = (
        select(ScheduledEmail)
        .where(
            ScheduledEmail.mailbox_id == mailbox_id,
            ScheduledEmail.state == State.QUEUED.value,
            ScheduledEmail.next_at <= now,
            ~off,
        )
        .order_by(ScheduledEmail.is_reply.desc(), ScheduledEmail.created_at, ScheduledEmail.id)
        .offset(room.left)
        .limit(SPREAD)
        .with_for_update(skip_locked=True)
    )
    over = session.scalars(query).all()
    before = _moved_already(session, mailbox_id, now)
    days = {email.id: (before + place) // max(1, room.usable) for place, email in enumerate(over)}
    mornings = _Mornings(session, places, now)
    due.one_by_one(
        session, over, lambda email: due.put_off(session, email, mornings.of(email, days[email.id]), now)
    )


def _moved_already(session: Session, mailbox_id: int, now: datetime) -> int:
    """How many mails wait for a following morning since earlier: they keep their places."""
    query = select(func.count()).where(
        ScheduledEmail.mailbox_id == mailbox_id,
        ScheduledEmail.state == State.QUEUED.value,
        ScheduledEmail.next_at > now,
        ScheduledEmail.moved_why == BEYOND,
    )
    return session.scalar(query) or 0


class _Mornings:
    """The working mornings to come, worked out once for all who are in a place."""

    def __init__(self, session: Session, places: Places, now: datetime) -> None:
        self._session, self._places, self._now = session, places, now
        self._known: dict[tuple[str, str | None, bool], tuple[list[datetime], Iterator[datetime]]] = {}

    def of(self, email: ScheduledEmail, days: int) -> Timing:
        """The next morning at a mail's recipient, or one so many working days later. Raises `NoWorkingDay`."""
        place = (email.zone, email.country, email.working_days)
        if place not in self._known:
            free = self._places.free(self._session, email)
            self._known[place] = ([], _nines(ZoneInfo(email.zone), self._now + timedelta(hours=1), free))
        walls, more = self._known[place]
        while len(walls) <= days:
            wall = next(more, None)
            if wall is None:
                raise local_time.NoWorkingDay(due.NO_DAY)
            walls.append(wall)
        return Timing(walls[days], email.zone, email.country, BEYOND)


def _nines(zone: ZoneInfo, after: datetime, free: local_time.Free) -> Iterator[datetime]:
    while True:
        try:
            wall = local_time.next_at(local_time.NINE, zone, after, free)
        except local_time.NoWorkingDay:
            return
        yield wall
        after = local_time.resolve(wall, zone)
