"""A syncing session: one mailbox, its door to Gmail, the database, a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, text, update
from sqlalchemy.orm import Session

from gmail_sync import oauth
from gmail_sync.budget import READING_SHARE, Budget, NoBudget
from gmail_sync.client import Gmail
from gmail_sync.errors import AuthRevoked, KeyMissing
from gmail_sync.vault import Vault, VaultError
from tracker.db import Sessions, transaction, utc_now
from tracker.mailboxes import Mailbox, State


class Busy(Exception):
    """Another worker is on this mailbox."""


class Superseded(Exception):
    """The mailbox was disconnected, or connected anew, while it was being synced."""


class CursorMoved(Exception):
    """Another worker moved this mailbox's cursor meanwhile; what was about to be written is not."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the slice's jobs are handed."""

    sessions: Sessions
    vault: Vault
    google: oauth.Google
    units_per_minute: int
    backfill_days: int
    silence: timedelta
    pubsub_topic: str = ""
    now: Callable[[], datetime] = utc_now
    patience: float = 20.0  #: seconds of waiting for quota that a job sleeps through

    def budget(self, mailbox: Mailbox, *, share: float = READING_SHARE) -> Budget:
        """A mailbox's budget, for reading unless said otherwise."""
        return Budget(
            self.sessions, mailbox.team_id, mailbox.id, self.units_per_minute, share, patience=self.patience
        )

    @contextmanager
    def open(self, mailbox_id: int) -> Iterator[Sync]:
        """Open a syncing session, the only one for this mailbox on all machines.

        Raises `Busy` while there is another, `AuthRevoked` if there is nothing to open the door with.
        """
        with self._alone(mailbox_id), self._unlocked(mailbox_id) as sync:
            yield sync

    def door(self, mailbox: Mailbox, budget: Budget | NoBudget) -> Gmail:
        """A mailbox's door to Gmail, to be closed by whoever opens it. Raises `AuthRevoked`, `KeyMissing`."""
        if mailbox.credentials is None:
            raise AuthRevoked("There are no credentials for this mailbox")
        try:
            credentials = oauth.credentials(self.vault.open(mailbox.credentials))
        except VaultError as error:
            # Not the owner's to mend: between two steps of a new key, a worker may still know the former only.
            raise KeyMissing from error
        return Gmail(credentials, self.google.api_url, budget)

    @contextmanager
    def _alone(self, mailbox_id: int) -> Iterator[None]:
        # Held by an idle connection, not by a transaction: PostgreSQL lets go of it when the worker dies.
        engine = self.sessions.kw["bind"].execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            if not connection.scalar(text("SELECT pg_try_advisory_lock(1002, :id)"), {"id": mailbox_id}):
                raise Busy(f"Mailbox {mailbox_id} is being synced")
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(1002, :id)"), {"id": mailbox_id})

    @contextmanager
    def _unlocked(self, mailbox_id: int) -> Iterator[Sync]:
        with transaction(self.sessions) as session:
            mailbox = session.get_one(Mailbox, mailbox_id)
        gmail = self.door(mailbox, self.budget(mailbox))
        try:
            yield Sync(self, mailbox, gmail)
        finally:
            gmail.close()


@dataclass(slots=True)
class Sync:
    """One mailbox being synced by this worker."""

    services: Services
    mailbox: Mailbox  #: as it was read last; never written through
    gmail: Gmail

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction between two calls to Gmail; afterwards `mailbox` is as it was committed."""
        with transaction(self.services.sessions) as session:
            yield session
            session.flush()
            fresh = session.get_one(Mailbox, self.mailbox.id, populate_existing=True)
            if fresh.state != State.CONNECTED or fresh.credentials != self.mailbox.credentials:
                raise Superseded(self.mailbox.address)  # and nothing of this transaction is kept
            self.mailbox = fresh

    def change(self, session: Session, **columns: Any) -> None:
        """Change columns of the mailbox's row."""
        session.execute(update(Mailbox).where(Mailbox.id == self.mailbox.id).values(**columns))

    def move_cursor(self, session: Session, history_id: int, **columns: Any) -> None:
        """Move the cursor, in the transaction that applies what it stands for.

        Raises `CursorMoved` if it is no longer where it was when this worker read it.
        """
        moved = session.execute(
            update(Mailbox)
            .where(Mailbox.id == self.mailbox.id, Mailbox.history_id.is_not_distinct_from(self.mailbox.history_id))
            .values(history_id=history_id, **columns)
        )
        if not isinstance(moved, CursorResult) or moved.rowcount != 1:
            raise CursorMoved(self.mailbox.address)

    @property
    def now(self) -> datetime:
        """The time by the services' clock."""
        return self.services.now()


def profile_address(kept: Mapping[str, Any], api_url: str) -> str:
    """Whose credentials these are, asked of Gmail once, outside any mailbox's budget. Raises `GmailError`."""
    gmail = Gmail(oauth.credentials(kept), api_url, NoBudget())
    try:
        return gmail.profile()[0]
    finally:
        gmail.close()
