"""Locks of whole mailboxes, which PostgreSQL lets go of when the process that holds them dies.

Session-level advisory locks on one idle connection: no transaction is open across the network, and whoever gets
a lock knows that nobody else is at work there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger(__name__)

SENDING, DRAFTS = 1003, 1004  #: the first number of the locks; syncing has 1002

_TAKE = text(
    # Row by row, so that no lock is taken beyond the limit.
    "SELECT id FROM unnest(CAST(:ids AS integer[])) AS one(id) WHERE pg_try_advisory_lock(:space, id) LIMIT :most"
)
_GIVE = text("SELECT count(pg_advisory_unlock(:space, id)) FROM unnest(CAST(:ids AS integer[])) AS one(id)")


class Busy(Exception):
    """Somebody else is at work on this mailbox."""


class Locks:
    """The mailboxes that this process is at work on. May be used by several threads."""

    def __init__(self, engine: Engine, space: int) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._space = space
        self._connection: Connection | None = None
        self._mutex = threading.Lock()
        self.held: set[int] = set()

    def take(self, ids: Iterable[int], most: int = 1) -> set[int]:
        """Those of the mailboxes, at most so many, that are ours from now on and were nobody's.

        Raises what the database raises.
        """
        with self._mutex:
            wanted = [id_ for id_ in ids if id_ not in self.held]  # our own connection would get them twice
            if not wanted:
                return set()
            try:
                if self._connection is None:
                    self._connection = self._engine.connect()
                found = self._connection.scalars(_TAKE, {"ids": wanted, "space": self._space, "most": most}).all()
            except SQLAlchemyError:
                self._lose()
                raise
            self.held.update(found)
            return set(found)

    def give(self, ids: Iterable[int]) -> None:
        """Let go of mailboxes."""
        with self._mutex:
            ours = [id_ for id_ in ids if id_ in self.held]
            self.held.difference_update(ours)
            if ours and self._connection is not None:
                try:
                    self._connection.execute(_GIVE, {"ids": ours, "space": self._space})
                except SQLAlchemyError:
                    self._lose()

    def still(self) -> None:
        """Make sure that the connection, and with it every lock, is still ours."""
        with self._mutex:
            if self._connection is not None and self.held:
                try:
                    self._connection.execute(text("SELECT 1"))
                except SQLAlchemyError:
                    self._lose()

    def close(self) -> None:
        """Let go of everything."""
        with self._mutex:
            if self._connection is not None:
                with suppress(SQLAlchemyError):
                    if self.held:  # back in the pool it would keep them
                        self._connection.invalidate()
                    self._connection.close()
            self._connection = None
            self.held.clear()

    def _lose(self) -> None:
        log.warning("The connection that holds the locks is gone; what is under way will be asked about")
        if self._connection is not None:
            with suppress(SQLAlchemyError):
                self._connection.invalidate()
                self._connection.close()
        self._connection = None
        self.held.clear()


@contextmanager
def alone(engine: Engine, space: int, mailbox_id: int) -> Iterator[None]:
    """Within the block, nobody else is at work on the mailbox. Raises `Busy`."""
    locks = Locks(engine, space)
    try:
        if not locks.take([mailbox_id]):
            raise Busy(f"Somebody else is at work on mailbox {mailbox_id}")
        yield
    finally:
        locks.give([mailbox_id])
        locks.close()
