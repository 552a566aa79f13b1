"""Events: one thing that happened, never edited. The spine that everything else reads.

`record` goes into the transaction of the change itself. Readers keep a `Cursor` of their own and read with
`after`, which never passes an event whose transaction may still be open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import DDL, ColumnElement, Index, event, func, literal_column, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column
from sqlalchemy.types import UserDefinedType

from tracker import topics
from tracker.db import Base, Identified, OfTeam, insert_many

PERSON, RULE, SYNC, SYSTEM = "person", "rule", "sync", "system"


class TransactionId(UserDefinedType[str]):
    """PostgreSQL's `xid8`: a transaction's number, never reused."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


_OF_PEOPLE = "kind IN ('contacts.distinct', 'organizations.distinct', 'contact.merged', 'organization.merged')"

_OF_MAIL = "kind LIKE 'email.%'"

ANSWER_ASKED = "answer.asked"  #: a teammate asks the owner of a mail to answer it
_OF_ANSWERS = f"kind = '{ANSWER_ASKED}'"


class Event(OfTeam, Identified, Base):
    """Who, when, what, on which box. Rows of other tables are named by number only: events outlive them."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_box_id_id", "box_id", "id"),
        Index("ix_events_team_id_id", "team_id", "id"),
        Index("ix_events_transaction_id", "transaction", "id"),
        # What was said of duplicates is read back from the log.
        Index("ix_events_of_people", "team_id", "kind", postgresql_where=text(_OF_PEOPLE)),
        # What happened to a queued mail is read back from the log, by the mail's key.
        Index("ix_events_of_mail", "team_id", text("(data ->> 'email')"), postgresql_where=text(_OF_MAIL)),
        # Which mails somebody was asked to answer is read back from the log, on each page that shows them.
        Index("ix_events_of_answers", "team_id", "message_id", postgresql_where=text(_OF_ANSWERS)),
    )

    transaction: Mapped[str] = mapped_column(TransactionId(), server_default=text("pg_current_xact_id()"))
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    kind: Mapped[str]  #: noun and verb, e.g. ``box.moved``
    actor: Mapped[str]  #: person, rule, sync or system
    user_id: Mapped[int | None]
    box_id: Mapped[int | None]
    conversation_id: Mapped[int | None]
    message_id: Mapped[int | None]
    mailbox_id: Mapped[int | None]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))


APPEND_ONLY = """
CREATE OR REPLACE FUNCTION events_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- A team that is deleted takes its events along: that cascade comes from a trigger of its own.
  IF TG_OP = 'DELETE' AND pg_trigger_depth() > 1 THEN RETURN OLD; END IF;
  RAISE EXCEPTION 'events are append-only';
END $$;
CREATE OR REPLACE TRIGGER events_append_only BEFORE UPDATE OR DELETE ON events
  FOR EACH ROW EXECUTE FUNCTION events_are_append_only();
"""
event.listen(Event.__table__, "after_create", DDL(APPEND_ONLY.replace("%", "%%")))


def record(session: Session, team_id: int, kind: str, *, actor: str = SYSTEM, **columns: Any) -> None:
    """Record that something happened, in the caller's transaction.

    `columns` are those of `Event`: `user_id`, `box_id`, `conversation_id`, `message_id`, `mailbox_id`, `data`,
    and `at` for what happened earlier than it was learnt.
    """
    record_many(session, [{"team_id": team_id, "kind": kind, "actor": actor, **columns}])


def record_many(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Record many at once; each row holds at least `team_id`, `kind` and `actor`.

    Rows may name different columns; the missing ones take their defaults. Open pages hear of it when the
    transaction commits.
    """
    topics.note(session, rows)
    by_columns: dict[frozenset[str], list[dict[str, Any]]] = {}
    for row in rows:
        by_columns.setdefault(frozenset(row), []).append(row)
    for group in by_columns.values():
        insert_many(session, Event, group)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a reader is: behind this event of this transaction."""

    transaction: int = 0
    id: int = 0


def after(session: Session, cursor: Cursor, *, limit: int = 500) -> list[tuple[Cursor, Event]]:
    """The next events that no open transaction can still get in front of, each with the cursor behind it.

    In the order of transactions, not of ids: an older transaction may hold a higher id than a younger one that
    is still open, so a cursor of ids alone would step over what the younger one commits.
    """
    settled: ColumnElement[bool] = text(
        "(events.transaction, events.id) > (CAST(CAST(:transaction AS text) AS xid8), :id)"
        " AND events.transaction < pg_snapshot_xmin(pg_current_snapshot())"
    ).bindparams(transaction=str(cursor.transaction), id=cursor.id)  # type: ignore[assignment]
    number: ColumnElement[Any] = literal_column("CAST(CAST(events.transaction AS text) AS numeric)")
    query = select(number, Event).where(settled).order_by(text("events.transaction"), Event.id).limit(limit)
    return [(Cursor(int(found), event.id), event) for found, event in session.execute(query)]


def newest(session: Session) -> Cursor:
    """Where a reader is who wants only what comes from now on."""
    query = text("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS numeric)")
    return Cursor(int(session.scalar(query) or 0), 0)


def of_box(session: Session, box_id: int, *, before: int | None = None, limit: int = 100) -> Sequence[Event]:
    """A box's events, newest first, from below the event id `before`."""
    query = select(Event).where(Event.box_id == box_id).order_by(Event.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Event.id < before)
    return session.scalars(query).all()
