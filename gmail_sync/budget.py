"""The budget: quota units that a mailbox may spend, shared by all callers in all workers.

Gmail counts units per user and minute. We keep the exact sum of the last sixty seconds, so that a rested
mailbox may spend a full minute's worth at once and no sixty seconds, wherever they begin, hold more than the
limit. It lives in a row, locked for the length of one short transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from gmail_sync.errors import QuotaWait
from tracker.db import Base, OfTeam, Sessions, transaction
from tracker.mailboxes import Mailbox

#: Reading leaves a tenth of each minute's units for sending and for what a person waits for.
READING_SHARE = 0.9
WINDOW = 61  # seconds: Gmail's minute, and one for our counting in whole seconds

#: Quota units a call, by method (Gmail API, "Usage limits"); the cost does not depend on format or fields.
UNITS: dict[str, int] = {
    "getProfile": 1,
    "labels.list": 1,
    "labels.get": 1,
    "history.list": 2,
    "messages.list": 5,
    "drafts.list": 5,
    "labels.create": 5,
    "labels.patch": 5,
    "labels.delete": 5,
    "messages.modify": 5,
    "threads.list": 10,
    "threads.modify": 10,
    "drafts.create": 10,
    "drafts.delete": 10,
    "drafts.update": 15,
    "messages.get": 20,
    "messages.attachments.get": 20,
    "drafts.get": 20,
    "threads.trash": 20,
    "messages.insert": 25,
    "messages.import": 25,
    "threads.get": 40,
    "messages.batchModify": 50,
    "stop": 50,
    "messages.send": 100,
    "drafts.send": 100,
    "watch": 100,
}


class Spent(OfTeam, Base):
    """The last minute's spending of a mailbox."""

    __tablename__ = "gmail_budgets"

    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"), primary_key=True)
    seconds: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")  #: [[epoch second, units], …]
    blocked_until: Mapped[datetime | None]  #: Gmail told us to wait


class Units(OfTeam, Base):
    """All that a mailbox ever spent, by method."""

    __tablename__ = "gmail_units"

    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"), primary_key=True)
    method: Mapped[str] = mapped_column(primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger)
    units: Mapped[int] = mapped_column(BigInteger)


@dataclass(frozen=True, slots=True)
class Budget:
    """One mailbox's budget, for one kind of caller."""

    sessions: Sessions
    team_id: int
    mailbox_id: int
    per_minute: int
    #: The part of a minute's units that this caller may use: reading old mail leaves some for new mail.
    share: float = 1.0
    #: The longest wait, in seconds, that is slept through; a longer one is raised as `QuotaWait`.
    patience: float = 5.0
    sleep: Callable[[float], None] = time.sleep

    def acquire(self, calls: Mapping[str, int]) -> None:
        """Spend for these calls (method → how many), waiting if need be. Raises `QuotaWait`."""
        while (wait := self._try(calls)) > 0:
            if wait > self.patience:
                raise QuotaWait("The mailbox's quota of this minute is spent", wait)
            self.sleep(wait)

    def block(self, seconds: float) -> None:
        """Gmail told one of us to wait: all of us do."""
        with transaction(self.sessions) as session:
            row, now = self._locked(session)
            until = now + timedelta(seconds=seconds)
            row.blocked_until = max(until, row.blocked_until or until)

    def _try(self, calls: Mapping[str, int]) -> float:
        cost = sum(UNITS[method] * count for method, count in calls.items())
        with transaction(self.sessions) as session:
            row, now = self._locked(session)
            wait = _wait(row, now, cost, self.per_minute * self.share)
            if wait > 0:
                return wait
            second = int(now.timestamp())
            recent = [entry for entry in row.seconds if entry[0] > second - WINDOW]
            if recent and recent[-1][0] == second:
                recent[-1] = [second, recent[-1][1] + cost]
            else:
                recent.append([second, cost])
            row.seconds = recent
            self._count(session, calls)
        return 0.0

    def _locked(self, session: Session) -> tuple[Spent, datetime]:
        query = select(Spent, func.clock_timestamp()).where(Spent.mailbox_id == self.mailbox_id).with_for_update()
        found = session.execute(query).one_or_none()
        if found is None:
            made = insert(Spent).values(team_id=self.team_id, mailbox_id=self.mailbox_id)
            session.execute(made.on_conflict_do_nothing())
            found = session.execute(query).one()
        return found[0], found[1]

    def _count(self, session: Session, calls: Mapping[str, int]) -> None:
        rows = [
            {
                "team_id": self.team_id,
                "mailbox_id": self.mailbox_id,
                "method": method,
                "calls": count,
                "units": UNITS[method] * count,
            }
            for method, count in sorted(calls.items())
            if count
        ]
        statement = insert(Units)
        summed = {
            "calls": Units.calls + statement.excluded.calls,
            "units": Units.units + statement.excluded.units,
        }
        if rows:
            statement = statement.on_conflict_do_update(index_elements=["mailbox_id", "method"], set_=summed)
            session.execute(statement, rows)


class NoBudget:
    """For the one question that comes before there is a mailbox."""

    def acquire(self, calls: Mapping[str, int]) -> None:
        """Nothing is counted."""

    def block(self, seconds: float) -> None:
        """Nothing is remembered."""
        time.sleep(min(seconds, 5.0))


def _wait(row: Spent, now: datetime, cost: int, limit: float) -> float:
    """Seconds until `cost` fits into the window; 0 if it does now."""
    if row.blocked_until is not None and row.blocked_until > now:
        return (row.blocked_until - now).total_seconds()
    moment = now.timestamp()
    recent = [(second, units) for second, units in row.seconds if second > moment - WINDOW]
    spent = sum(units for _, units in recent)
    wait = 0.0
    for second, units in recent:  # the oldest first: how many have to leave the window?
        if spent + cost <= limit:
            break
        spent -= units
        wait = max(0.0, second + WINDOW - moment)
    return wait


def forecast(units: int, per_minute: int, share: float) -> timedelta:
    """How long spending so many units takes."""
    return timedelta(minutes=units / (per_minute * share))


def spent_by(session: Session, mailbox: Mailbox) -> dict[str, int]:
    """Units that a mailbox ever spent, by method."""
    query = select(Units.method, Units.units).where(Units.mailbox_id == mailbox.id).order_by(Units.method)
    return dict(session.execute(query).all())
