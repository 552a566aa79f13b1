"""What this room's jobs are handed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Engine

from gmail_sync.budget import Budget, NoBudget
from gmail_sync.client import Gmail
from gmail_sync.session import Services
from scheduler.due import Places
from tracker import mailboxes
from tracker.db import Sessions, transaction
from tracker.mailboxes import Mailbox, State


@dataclass(frozen=True, slots=True)
class Post:
    """The database, the doors to Gmail, who knows where people are, and how patient to be."""

    gmail: Services
    places: Places = field(default_factory=Places)
    #: Our address for pixels and links; empty if the recipients of mail don't reach us, and nothing is tracked.
    tracks_at: str = ""
    #: What was being sent when its worker died, or got no answer, is asked about after this time: Gmail may still
    #: be at it.
    ask_after: timedelta = timedelta(seconds=5)
    #: A draft that is gone without a trace is looked for so long before it is called uncertain.
    doubt: timedelta = timedelta(minutes=2)

    @property
    def sessions(self) -> Sessions:
        """Sessions on the database."""
        return self.gmail.sessions

    @property
    def engine(self) -> Engine:
        """The database."""
        engine = self.sessions.kw["bind"]
        assert isinstance(engine, Engine)
        return engine

    @property
    def now(self) -> Callable[[], datetime]:
        """The clock."""
        return self.gmail.now

    def budget(self, mailbox: Mailbox, *, patience: float | None = None) -> Budget:
        """All of a minute's units: sending comes before reading. `patience` is in seconds."""
        budget = self.gmail.budget(mailbox, share=1.0)
        return budget if patience is None else replace(budget, patience=patience)

    def door(self, mailbox: Mailbox, budget: Budget | NoBudget | None = None) -> Gmail:
        """A mailbox's door to Gmail, to be closed. Raises `AuthRevoked`."""
        return self.gmail.door(mailbox, budget or self.budget(mailbox))

    def connected(self, mailbox_id: int) -> Mailbox | None:
        """The mailbox, if Gmail lets us in."""
        with transaction(self.sessions) as session:
            mailbox = session.get(Mailbox, mailbox_id)
        return mailbox if mailbox is not None and mailbox.state == State.CONNECTED else None

    def ask_for_attention(self, mailbox: Mailbox, words: str) -> None:
        """Tell the mailbox's owner that Gmail does not let us in; what waits stays where it is."""
        with transaction(self.sessions) as session:
            there = session.get(Mailbox, mailbox.id, with_for_update=True)
            # Connected anew meanwhile: the old credentials say nothing about the new ones.
            if there is not None and there.credentials == mailbox.credentials:
                mailboxes.move(session, mailbox.id, State.ATTENTION, reason=words, now=self.now())
