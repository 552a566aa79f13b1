"""Scheduled emails: the table, and the words of the outbox.

Stored is what a person meant: a wall time, and whose zone it is in. The instant (`due_at`) is a cache that
`scheduler.due` works out again when a zone, its rules or the recipient's place change. What Gmail has to be told
(a draft made, changed or deleted) is a wish in the row (`behind`), which `scheduler.preparing` carries out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    func,
    text,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from scheduler import local_time
from scheduler.local_time import LateRule
from scheduler.states import State
from tracker.boxes import Box
from tracker.contacts import Contact
from tracker.conversations import Conversation
from tracker.db import Base, Keyed, OfTeam
from tracker.messages import Copy

DELETED_IN_GMAIL = "its draft was deleted in Gmail"
MISSED = "Gmail does not find its draft; Tracker looks once more"  #: the reason while that is believed only once
BOTH = "both"  #: holds what was changed here and in Gmail (`held_by`)
CHANGED_IN_BOTH = "the draft was changed in Gmail meanwhile, and here too"
_OPEN = "state in ('preparing', 'queued', 'sending', 'held')"
_WAITING = "state in ('queued', 'sending')"
_WENT = "state in ('sending', 'sent')"


class OutboxError(ValueError):
    """A scheduled email can't be changed as asked; the text says why and what to do."""


class OutboxConflict(OutboxError):
    """It was changed, or went out, meanwhile."""


class Zone(StrEnum):
    """Whose wall time is meant."""

    RECIPIENT = "recipient"
    SENDER = "sender"
    FIXED = "fixed"  #: a zone that was chosen by name
    NOW = "now"  #: nobody's: as soon as possible


class Guard(StrEnum):
    """What is looked at just before sending; each can be switched off."""

    ANSWERED = "answered"
    BOX_CLOSED = "box_closed"
    DAILY_LIMIT = "daily_limit"
    SAME_TEXT = "same_text"


@dataclass(frozen=True, slots=True)
class When:
    """When a mail is meant to go."""

    wall: datetime  #: naive
    zone: str  #: IANA name, as it is known today
    rule: Zone = Zone.RECIPIENT
    working_days: bool = True  #: a day that turns out to be free there moves it to the next that is not
    late: LateRule = LateRule.MORNING
    country: str | None = None  #: ISO 3166, whose holidays count

    @property
    def instant(self) -> datetime:
        """The instant, as far as it is known today (UTC)."""
        return local_time.resolve(self.wall, ZoneInfo(self.zone))


@dataclass(frozen=True, slots=True)
class Found:
    """A draft that lies in Gmail, as far as its headers say."""

    draft_id: str
    message_id: str  #: Gmail's id of the message inside; a new one after every change
    thread_id: str
    subject: str = ""
    to: tuple[str, ...] = ()  #: as written
    recipients: tuple[str, ...] = ()  #: To, Cc and Bcc in their normal form
    snippet: str = ""
    is_reply: bool = False


class ScheduledEmail(OfTeam, Keyed, Base):
    """One mail that waits, goes or went."""

    __tablename__ = "scheduled_emails"
    __table_args__ = (
        # The tick's question, in an index that holds only what waits.
        Index("ix_scheduled_emails_next_at", "next_at", "mailbox_id", postgresql_where=text(_WAITING)),
        Index("ix_scheduled_emails_mailbox_due", "mailbox_id", "next_at", "id", postgresql_where=text(_WAITING)),
        Index("ix_scheduled_emails_behind", "mailbox_id", "try_at", postgresql_where=text("behind")),
        Index("ix_scheduled_emails_rules", "rules", postgresql_where=text("state = 'queued'")),
        Index(
            "uq_scheduled_emails_draft", "mailbox_id", "draft_id", unique=True,
            postgresql_where=text(f"draft_id IS NOT NULL AND {_OPEN}"),
        ),
        # Sent, and not yet found among what the mailbox's syncing brought.
        Index(
            "ix_scheduled_emails_to_arrive", "mailbox_id", "sent_gmail_id",
            postgresql_where=text("state = 'sent' AND message_id IS NULL"),
        ),
        Index("ix_scheduled_emails_text_hash", "team_id", "text_hash", postgresql_where=text(_WENT)),
        Index("ix_scheduled_emails_sent_at", "mailbox_id", "sent_at", postgresql_where=text("state = 'sent'")),
        Index("ix_scheduled_emails_user_id_state_due_at", "user_id", "state", "due_at", "id"),
        Index("ix_scheduled_emails_team_id_state_due_at", "team_id", "state", "due_at", "id"),
        CheckConstraint(f"state in ({', '.join(repr(state.value) for state in State)})", name="state"),
        CheckConstraint("zone_rule in ('recipient', 'sender', 'fixed', 'now')", name="zone_rule"),
        CheckConstraint("origin in ('tracker', 'gmail')", name="origin"),
        CheckConstraint("state <> 'preparing' OR behind", name="preparing"),
        CheckConstraint(f"NOT ({_WAITING}) OR (draft_id IS NOT NULL AND NOT behind)", name="prepared"),
        CheckConstraint("state <> 'sending' OR claim_token IS NOT NULL", name="claimed"),
        CheckConstraint("state <> 'sent' OR sent_at IS NOT NULL", name="sent"),
    )  # fmt: skip

    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    box_id: Mapped[int | None] = mapped_column(ForeignKey("boxes.id", ondelete="SET NULL"), index=True)
    conversation_id: Mapped[int | None] = mapped_column(
        ForeignKey("conversations.id", ondelete="SET NULL"), index=True
    )
    contact_id: Mapped[int | None] = mapped_column(ForeignKey("contacts.id", ondelete="SET NULL"), index=True)

    subject: Mapped[str] = mapped_column(server_default="")
    to: Mapped[list[str]] = mapped_column(server_default="{}")  #: To, as written
    recipients: Mapped[list[str]] = mapped_column(server_default="{}")  #: To, Cc, Bcc in normal form, main first
    snippet: Mapped[str] = mapped_column(server_default="")
    #: The whole mail (RFC 5322), at most 25 MB; none for a draft that was written in Gmail.
    raw: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    text_hash: Mapped[bytes | None] = mapped_column(LargeBinary)  #: SHA-256 of what it says
    is_reply: Mapped[bool] = mapped_column(Boolean, server_default="false")
    reply_thread_id: Mapped[str | None]  #: the Gmail thread in this mailbox that a reply belongs to
    origin: Mapped[str] = mapped_column(server_default="tracker")
    track_opens: Mapped[bool | None]  #: whether to tell when it is read; none: as its mailbox has it
    track_clicks: Mapped[bool | None]  #: and when a link is clicked

    wall_time: Mapped[datetime] = mapped_column(DateTime(timezone=False))
    zone_rule: Mapped[str] = mapped_column(server_default=Zone.RECIPIENT.value)
    zone: Mapped[str]  #: IANA name that `due_at` was worked out with
    country: Mapped[str | None]
    working_days: Mapped[bool] = mapped_column(Boolean, server_default="true")
    late_rule: Mapped[str] = mapped_column(server_default=LateRule.MORNING.value)
    due_at: Mapped[datetime]  #: a cache of the above
    moved_why: Mapped[str | None]  #: why it does not go when it was asked to, in words
    resolved_at: Mapped[datetime] = mapped_column(server_default=func.now())
    rules: Mapped[str] = mapped_column(server_default="")  #: the release of the zone database it was resolved with

    state: Mapped[str] = mapped_column(server_default=State.PREPARING.value)
    version: Mapped[int] = mapped_column(server_default="1")
    reason: Mapped[str | None]  #: why it is held, failed, uncertain or cancelled, in words for its sender
    remedy: Mapped[str | None]  #: what to do about it
    held_by: Mapped[str | None]  #: a guard's name, or "person"
    guards_off: Mapped[list[str]] = mapped_column(server_default="{}")
    next_at: Mapped[datetime]  #: queued: not before then; sending: when Gmail is asked what became of it

    behind: Mapped[bool] = mapped_column(Boolean, server_default="true")  #: Gmail's draft is not as it should be
    #: Behind only in what is tracked: what was changed in Gmail meanwhile is taken over, and holds nothing up.
    only_tracking: Mapped[bool] = mapped_column(Boolean, server_default="false")
    try_at: Mapped[datetime] = mapped_column(server_default=func.now())
    draft_id: Mapped[str | None]
    draft_message_id: Mapped[str | None]
    draft_thread_id: Mapped[str | None]
    draft_tried_at: Mapped[datetime | None]  #: when Gmail was first asked to make it
    prepared_at: Mapped[datetime | None]
    edited_in_gmail_at: Mapped[datetime | None]
    missed_at: Mapped[datetime | None]  #: when Gmail said there is none; believed when it says so again

    claim_token: Mapped[str | None]
    claimed_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")

    sent_at: Mapped[datetime | None]
    sent_gmail_id: Mapped[str | None]
    sent_thread_id: Mapped[str | None]
    rfc822_message_id: Mapped[str | None]  #: as Gmail made it, without <>
    message_id: Mapped[int | None] = mapped_column(ForeignKey("messages.id", ondelete="SET NULL"), index=True)

    sequence_run_id: Mapped[int | None] = mapped_column(index=True)
    sequence_step: Mapped[int | None] = mapped_column(SmallInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    #: When a person last said what is to become of it; guards look at what happened since.
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())

    @property
    def only_in_gmail(self) -> bool:
        """Whether what it says is known to Gmail alone: it was written or edited there."""
        return self.text_hash is None

    @property
    def at_once(self) -> bool:
        """Whether somebody said *now*."""
        return self.zone_rule == Zone.NOW


def chosen(email: ScheduledEmail, now: datetime, *, gmails: bool = False) -> dict[str, Any]:
    """The columns of a mail that was changed here and in Gmail once its sender said which one goes; else none."""
    if email.held_by != BOTH:
        return {}
    if gmails:  # what it says is read at the next look, as the draft is none that we know
        return {"raw": None, "text_hash": None, "draft_message_id": None, "behind": False}
    return {"behind": True, "only_tracking": False, "try_at": now, "edited_in_gmail_at": None}


def same(session: Session, email: ScheduledEmail, **columns: Any) -> bool:
    """Change the row if it is as it was read: one conditional UPDATE that touches one row."""
    changed = session.execute(
        update(ScheduledEmail)
        .where(
            ScheduledEmail.id == email.id,
            ScheduledEmail.version == email.version,
            ScheduledEmail.state == email.state,
        )
        .values(version=ScheduledEmail.version + 1, **columns)
        .returning(ScheduledEmail.id)
        .execution_options(synchronize_session=False)
    )
    return changed.scalar_one_or_none() is not None


class Sender(OfTeam, Base):
    """What a mailbox may send, and when its drafts were last looked at."""

    __tablename__ = "outbox_mailboxes"

    mailbox_id: Mapped[int] = mapped_column(ForeignKey("mailboxes.id", ondelete="CASCADE"), primary_key=True)
    daily_limit: Mapped[int | None]  #: mails a day; none: as its domain suggests
    looked_at: Mapped[datetime | None]


@dataclass(frozen=True, slots=True)
class About:
    """What a mail belongs to, and what its sender wants of the guards."""

    box: Box | None = None
    conversation: Conversation | None = None
    contact: Contact | None = None  #: the main recipient; found by the address when not given
    reply_thread_id: str | None = None  #: Gmail's thread in the sending mailbox
    guards_off: frozenset[Guard] = field(default_factory=frozenset)
    sequence_run_id: int | None = None
    sequence_step: int | None = None
    track_opens: bool | None = None  #: none: as the mailbox has it
    track_clicks: bool | None = None


# How many mails a mailbox sent today, by whatever door.
Index("ix_copies_sent", Copy.mailbox_id, Copy.internal_date, postgresql_where=text("'SENT' = ANY (label_ids)"))
