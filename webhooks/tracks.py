"""Tracked mail: the table of what was sent with a pixel or rewritten links, and what we make of its opens.

A token is 192 random bits and says nothing by itself. One row per mail as it is sent: where a mail goes to several
people at once, who of them opened it can't be known, and is never said.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, Integer, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from tracker.db import Base, Identified, Keyed, OfTeam

TOKEN_BYTES = 24


class Confidence(StrEnum):
    """How sure we are that a person read it, the least first."""

    NONE = "none"  #: nothing was heard
    MACHINE = "machine"  #: only machines, or its own side
    POSSIBLE = "possible"
    LIKELY = "likely"
    CERTAIN = "certain"  #: a link was clicked by a person, or an answer came

    @property
    def rank(self) -> int:
        """Its place in the order."""
        return list(Confidence).index(self)


def new_token() -> str:
    """A token for a pixel or a link: random, safe in an address."""
    return secrets.token_urlsafe(TOKEN_BYTES)


class TrackedEmail(OfTeam, Keyed, Base):
    """One mail that carries a pixel, rewritten links, or both."""

    __tablename__ = "tracked_emails"
    __table_args__ = (
        Index("ix_tracked_emails_message_id", "message_id"),
        Index("ix_tracked_emails_conversation_id", "conversation_id"),
        Index("ix_tracked_emails_box_id", "box_id", "last_view_at"),
        Index("ix_tracked_emails_user_id", "user_id", "id"),
        Index("ix_tracked_emails_recipients", "recipients", postgresql_using="gin"),  # what is kept of a person
        # Judged before it was known that they went out, or by older rules: to be judged again.
        Index("ix_tracked_emails_rules", "rules", "id", postgresql_where=text("hits > 0")),
        # Put into a mail in Gmail by hand, and not seen to go yet.
        Index(
            "ix_tracked_emails_written", "team_id", "mailbox_id",
            postgresql_where=text("by_hand AND sent_at IS NULL"),
        ),
        Index("ix_tracked_emails_tell_at", "tell_at", postgresql_where=text("tell_at IS NOT NULL")),
        CheckConstraint(f"confidence in ({', '.join(repr(one.value) for one in Confidence)})", name="confidence"),
    )  # fmt: skip

    token: Mapped[str] = mapped_column(unique=True, default=new_token)  #: the pixel's
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))  #: its sender
    mailbox_id: Mapped[int | None] = mapped_column(ForeignKey("mailboxes.id", ondelete="SET NULL"), index=True)
    #: The outbox's row, by number: that table stands on a higher floor.
    scheduled_email_id: Mapped[int | None] = mapped_column(unique=True)
    message_id: Mapped[int | None] = mapped_column(ForeignKey("messages.id", ondelete="SET NULL"))  #: once synced
    conversation_id: Mapped[int | None] = mapped_column(ForeignKey("conversations.id", ondelete="SET NULL"))
    box_id: Mapped[int | None] = mapped_column(ForeignKey("boxes.id", ondelete="SET NULL"))
    recipients: Mapped[list[str]] = mapped_column(server_default="{}")  #: normalized; one: an open has a name
    opens: Mapped[bool] = mapped_column(Boolean, server_default="true")  #: it carries the pixel
    clicks: Mapped[bool] = mapped_column(Boolean, server_default="true")  #: its links are rewritten
    #: Its pixel was put in by its writer, in Gmail: which mail it is shows once that is sent (`webhooks.written`).
    by_hand: Mapped[bool] = mapped_column(Boolean, server_default="false", default=False)
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    sent_at: Mapped[datetime | None]  #: hits before it are its own side's

    # What `webhooks.reads` makes of the hits: a cache that can be worked out again from them.
    confidence: Mapped[str] = mapped_column(server_default=Confidence.NONE.value)
    why: Mapped[str] = mapped_column(server_default="")  #: in words
    via: Mapped[str] = mapped_column(server_default="")  #: "Gmail's proxy"
    views: Mapped[int] = mapped_column(Integer, server_default="0")  #: joined hits that count as a read
    clicked: Mapped[int] = mapped_column(Integer, server_default="0")  #: clicks by a person
    hits: Mapped[int] = mapped_column(Integer, server_default="0")  #: all of them, machines' too
    first_view_at: Mapped[datetime | None]
    last_view_at: Mapped[datetime | None]
    answered_at: Mapped[datetime | None]
    answered_by: Mapped[str] = mapped_column(server_default="")  #: "recipient", or "colleague" of their domain
    rules: Mapped[int] = mapped_column(SmallInteger, server_default="0")  #: their version; 0: judge again
    told_at: Mapped[datetime | None]  #: of what was last told as an event: when that happened
    told: Mapped[str] = mapped_column(server_default="")  #: the highest confidence that was told and stands
    told_clicks: Mapped[int] = mapped_column(Integer, server_default="0")  #: sittings that were told and stand
    told_clicked_at: Mapped[datetime | None]  #: as `told_at`, of clicks alone
    tell_at: Mapped[datetime | None]  #: a click is held until then: it may be the first of a scanner's
    #: Nothing that happened until then is told or shown any more, though the log has it (append-only, by key).
    erased_at: Mapped[datetime | None]

    def still_stands(self, *, clicked: bool) -> bool:
        """Whether what was told of it (a read, or that it was `clicked`) was not taken back since."""
        return self.told_at is None or (self.clicked if clicked else self.views) > 0


class TrackedLink(OfTeam, Identified, Base):
    """A link of a tracked mail that leads through us."""

    __tablename__ = "tracked_links"
    __table_args__ = (UniqueConstraint("tracked_email_id", "position"),)

    tracked_email_id: Mapped[int] = mapped_column(ForeignKey("tracked_emails.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(SmallInteger)  #: in the mail, from 0
    token: Mapped[str] = mapped_column(unique=True, default=new_token)
    url: Mapped[str]  #: where it leads: only http and https
