"""Messages and their copies.

A *message* is one e-mail across the team; each mailbox that holds it has a *copy*. A message is known by its
Message-ID **and** its content (`identity`): whoever learns the Message-ID of a private mail could otherwise
send a teammate a mail under the same name and make them a holder of it. A mail that was changed on its way (a
list's footer) is another message of the same conversation; it is known by the Message-ID and how the text
begins (`kin`), which nobody can make up who has not seen it. All that a message row says follows
from its identity, so it does not depend on which mailbox was synced first; what differs between mailboxes
(labels, Bcc, the headers of the way) is the copy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Computed,
    ForeignKey,
    Index,
    LargeBinary,
    Numeric,
    SmallInteger,
    UniqueConstraint,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from tracker.db import Base, Identified, Keyed, OfTeam

#: Labels that take a copy out of every list: Gmail's own trash and spam, and unsent drafts.
HIDING_LABELS = ("TRASH", "SPAM", "DRAFT")

_HIDDEN = "label_ids && ARRAY['TRASH', 'SPAM', 'DRAFT']::text[]"
# PostgreSQL refuses a tsvector past 1 MiB with an error, which would stop a sync: hence `left`.
_SEARCH = (
    "setweight(to_tsvector('simple'::regconfig, left(subject, 2000)), 'A') || "
    "setweight(to_tsvector('simple'::regconfig, left(sender_name || ' ' || sender_address, 2000)), 'B') || "
    "to_tsvector('simple'::regconfig, left(text, 150000))"
)


class Message(OfTeam, Keyed, Base):
    """One e-mail, whoever holds it."""

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("team_id", "identity"),
        Index("ix_messages_team_id_kin", "team_id", "kin"),
        Index("ix_messages_conversation_id_sent_at", "conversation_id", "sent_at"),
        Index(
            "ix_messages_sender_normalized_sent_at",
            "sender_normalized",
            "sent_at",
            postgresql_include=["id", "team_id"],
        ),
        Index("ix_messages_search", "search", postgresql_using="gin"),
    )

    identity: Mapped[bytes] = mapped_column(LargeBinary)  #: SHA-256 of Message-ID and content
    kin: Mapped[bytes | None] = mapped_column(LargeBinary)  #: SHA-256 of Message-ID and the text's beginning
    is_reply: Mapped[bool] = mapped_column(Boolean, server_default="false")  #: has References or In-Reply-To
    rfc822_message_id: Mapped[str | None]  #: Message-ID without <> (RFC 5322 §3.6.4)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"))
    sent_at: Mapped[datetime]
    utc_offset: Mapped[int | None] = mapped_column(SmallInteger)  #: minutes east, as the sender's Date wrote it
    date_header: Mapped[str | None]
    sender_name: Mapped[str] = mapped_column(server_default="")
    sender_address: Mapped[str] = mapped_column(server_default="")  #: as written
    sender_normalized: Mapped[str] = mapped_column(server_default="")
    subject: Mapped[str] = mapped_column(server_default="")
    snippet: Mapped[str] = mapped_column(server_default="")
    text: Mapped[str] = mapped_column(server_default="")
    html: Mapped[str | None]
    automatic: Mapped[str | None]  #: why this was not written by a person; None if it was
    auto_reply: Mapped[bool] = mapped_column(Boolean, server_default="false")
    #: Somebody outside the team wrote or got it (see `tracker.ours`); if forgotten it is internal, and so closed.
    outside: Mapped[bool] = mapped_column(Boolean, server_default="false")
    attachment_count: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    defects: Mapped[list[str]] = mapped_column(server_default="{}")  #: what could not be read, in words
    unreadable: Mapped[bool] = mapped_column(Boolean, server_default="false")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    search: Mapped[Any] = mapped_column(TSVECTOR, Computed(_SEARCH, persisted=True), deferred=True)

    recipients: Mapped[list[Recipient]] = relationship(order_by="Recipient.id", viewonly=True)


class Recipient(OfTeam, Identified, Base):
    """An address in To, Cc or Reply-To. Bcc is the sender's copy's alone."""

    __tablename__ = "recipients"
    __table_args__ = (Index("ix_recipients_team_id_normalized", "team_id", "normalized"),)

    message_id: Mapped[int] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]  #: to, cc or reply-to
    name: Mapped[str]
    address: Mapped[str]
    normalized: Mapped[str]


class Copy(OfTeam, Identified, Base):
    """A message as one mailbox holds it."""

    __tablename__ = "copies"
    __table_args__ = (
        UniqueConstraint("mailbox_id", "gmail_id"),
        Index("ix_copies_mailbox_id_gmail_thread_id", "mailbox_id", "gmail_thread_id"),
        Index("ix_copies_message_id_shown", "message_id", "mailbox_id", postgresql_where=text("NOT hidden")),
    )

    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"))
    message_id: Mapped[int] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    gmail_id: Mapped[str]
    gmail_thread_id: Mapped[str]
    label_ids: Mapped[list[str]]
    hidden: Mapped[bool] = mapped_column(Boolean, Computed(_HIDDEN, persisted=True))
    history_id: Mapped[Decimal] = mapped_column(Numeric(20, 0))
    internal_date: Mapped[datetime]
    size_estimate: Mapped[int]
    headers: Mapped[list[Any]] = mapped_column(JSONB)  #: [[name, value], …] as written
    bcc: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")
    attachments: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")
    calendars: Mapped[list[str]] = mapped_column(server_default="{}")  #: text/calendar parts

    message: Mapped[Message] = relationship(viewonly=True)


class Kept(OfTeam, Identified, Base):
    """How much of a message its owner had shared when they left: the team keeps the text that it was given.

    With whoever may see a box of `pipeline_id` where the conversation is filed, with one person (`user_id`), or
    with one person there. `tracker.sharing` writes and asks for it; no mailbox need hold the message any more.
    """

    __tablename__ = "kept_shares"
    __table_args__ = (
        CheckConstraint("num_nonnulls(pipeline_id, user_id) > 0", name="somebody"),
        CheckConstraint("level BETWEEN 1 AND 3", name="level"),
    )

    message_id: Mapped[int] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    pipeline_id: Mapped[int | None] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    level: Mapped[int] = mapped_column(SmallInteger)
    kept_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


def recipients_of(session: Session, message_ids: Sequence[int]) -> dict[int, list[Recipient]]:
    """The recipients of several messages in one query."""
    found: dict[int, list[Recipient]] = {id_: [] for id_ in message_ids}
    query = select(Recipient).where(Recipient.message_id.in_(message_ids)).order_by(Recipient.id)
    for recipient in session.scalars(query):
        found[recipient.message_id].append(recipient)
    return found


def count_in(session: Session, mailbox_id: int) -> int:
    """How many messages a mailbox holds (without trash, spam and drafts)."""
    query = select(func.count()).select_from(Copy).where(Copy.mailbox_id == mailbox_id, ~Copy.hidden)
    return session.scalar(query) or 0
