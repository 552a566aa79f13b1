"""Hits: each request for a pixel or a rewritten link of ours, as it came.

`webhooks.hit_writer` writes them down as they arrive, and `webhooks.hit_intake` makes them rows of `hits`.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from tracker.db import Base, Identified, OfTeam

CHANNEL = "tracker_hits"  #: NOTIFY says that there is something to judge


class Kind(StrEnum):
    """Which door."""

    OPEN = "open"
    CLICK = "click"


class Hit(OfTeam, Identified, Base):
    """One request. Who asked (address, agent, headers) is forgotten after a while; the verdict stays."""

    __tablename__ = "hits"
    __table_args__ = (
        Index("ix_hits_tracked_email_id", "tracked_email_id", "at"),
        # What the judge has yet to look at, and what is to be forgotten.
        Index("ix_hits_unjudged", "tracked_email_id", postgresql_where=text("rules = 0")),
        Index("ix_hits_raw", "at", postgresql_where=text("NOT forgotten")),
        CheckConstraint("kind in ('open', 'click')", name="kind"),
    )

    #: Made when the request came (UUIDv7, so that an index of them grows at its end): a hit that is taken in twice
    #: is kept once.
    key: Mapped[UUID] = mapped_column(Uuid, unique=True)
    tracked_email_id: Mapped[int] = mapped_column(ForeignKey("tracked_emails.id", ondelete="CASCADE"))
    link_id: Mapped[int | None]  #: a `TrackedLink`, by number: hits go with their mail
    kind: Mapped[str]
    at: Mapped[datetime]  #: when it came
    address: Mapped[str | None] = mapped_column(INET)
    agent: Mapped[str | None]  #: User-Agent, cut
    headers: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))  #: others that tell
    user_key: Mapped[str | None]  #: the person of ours whose signed-in browser it came from
    repeats: Mapped[int] = mapped_column(Integer, server_default="0")  #: more of the same, counted and not kept
    forgotten: Mapped[bool] = mapped_column(Boolean, server_default="false")

    # What `webhooks.reads` made of it.
    verdict: Mapped[str | None]
    why: Mapped[str | None]
    rules: Mapped[int] = mapped_column(SmallInteger, server_default="0")  #: 0: not judged yet


#: Hits as they arrived, durable and not yet rows of `Hit`. Without a key, an index or a foreign key: with those of
#: `hits` a row takes three times as long, and ever longer with millions of them. One that arrives twice, or whose
#: count grows, is here twice.
ARRIVALS = Table(
    "hit_arrivals",
    Base.metadata,
    Column("team_id", BigInteger, nullable=False),
    Column("key", Uuid, nullable=False),
    Column("tracked_email_id", BigInteger, nullable=False),
    Column("link_id", BigInteger),
    Column("kind", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("address", INET),
    Column("agent", Text),
    Column("headers", JSONB, nullable=False),
    Column("user_key", Text),
    Column("repeats", Integer, nullable=False),
)
