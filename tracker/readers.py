"""Readers of the event log: how far each has come, by its name. Not of a team: a reader reads the whole log."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import Numeric, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import events
from tracker.db import Base
from tracker.events import Cursor


class EventReader(Base):
    """A reader's cursor; it moves in the transaction in which what was read is dealt with."""

    __tablename__ = "event_readers"

    name: Mapped[str] = mapped_column(primary_key=True)
    transaction: Mapped[Decimal] = mapped_column(Numeric(20, 0))  #: xid8 is unsigned
    event_id: Mapped[int]

    @property
    def cursor(self) -> Cursor:
        """Where it is."""
        return Cursor(int(self.transaction), self.event_id)

    def move(self, cursor: Cursor) -> None:
        """It has come so far."""
        self.transaction, self.event_id = Decimal(cursor.transaction), cursor.id


def taken(session: Session, name: str) -> EventReader | None:
    """A reader, for this transaction alone; None while another worker has it.

    A new one begins with what happens from now on.
    """
    query = select(EventReader).where(EventReader.name == name).with_for_update(skip_locked=True)
    found = session.scalar(query)
    if found is not None:
        return found
    begin(session, name)
    return session.scalar(query)


def begin(session: Session, name: str) -> None:
    """Have a reader begin here, if there is none of this name."""
    newest = events.newest(session)
    values = {"name": name, "transaction": newest.transaction, "event_id": newest.id}
    session.execute(insert(EventReader).values(**values).on_conflict_do_nothing())
