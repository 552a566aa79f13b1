"""Apply: what Gmail said goes into the tracker, in one transaction with the wish or cursor that asked for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from gmail_sync.parse import ParsedMessage, parse
from tracker import autobox, conversations, moving, people
from tracker.addresses import Address
from tracker.conversations import Incoming
from tracker.mailboxes import Mailbox
from tracker.messages import HIDING_LABELS

#: Characters of a text that nobody guesses.
TELLING_LENGTH = 120


def parse_visible(resources: Iterable[Mapping[str, Any]]) -> list[ParsedMessage]:
    """Parse messages, without drafts, spam and trash (which are not the tracker's business)."""
    hiding = set(HIDING_LABELS)
    return [parse(resource) for resource in resources if not hiding & set(resource.get("labelIds") or ())]


def store(session: Session, mailbox: Mailbox, mails: Sequence[ParsedMessage], now: datetime) -> int:
    """Store messages of a mailbox and let the rules look at them; how many are new to the team."""
    taken = conversations.take_in(session, mailbox.team_id, mailbox.id, [incoming(mail) for mail in mails])
    if taken.new_message_ids:
        own = people.own_addresses(session, mailbox.team_id)
        conversations.record_arrivals(session, mailbox.team_id, mailbox.id, taken.new_message_ids, own)
        autobox.consider(
            session, mailbox.team_id, own, taken.conversation_ids, connected_at=mailbox.created_at, now=now
        )
        moving.move_by_mail(session, mailbox.team_id, own, taken.new_message_ids, now)
    return len(taken.new_message_ids)


def incoming(mail: ParsedMessage) -> Incoming:
    """A parsed message as the tracker's tables have it."""
    sender = mail.sender or Address("", "", "")
    message = {
        "identity": _identity(mail),
        "kin": _kin(mail),
        "is_reply": bool(mail.references or mail.in_reply_to),
        "rfc822_message_id": mail.message_id,
        "sent_at": mail.sent_at,
        "utc_offset": mail.utc_offset,
        "date_header": mail.date_header,
        "sender_name": sender.name,
        "sender_address": sender.address,
        "sender_normalized": sender.normalized,
        "subject": mail.subject,
        "snippet": mail.snippet,
        "text": mail.text,
        "html": mail.html,
        "automatic": mail.automatic,
        "auto_reply": mail.auto_reply,
        "attachment_count": min(len(mail.attachments), 32_000),
        "defects": list(mail.defects),
        "unreadable": mail.unreadable,
    }
    recipients = [
        {"kind": kind, "name": one.name, "address": one.address, "normalized": one.normalized}
        for kind, addresses in (("to", mail.to), ("cc", mail.cc), ("reply-to", mail.reply_to))
        for one in addresses
    ]
    return Incoming(message, recipients, _copy(mail))


def _identity(mail: ParsedMessage) -> bytes:
    """What the message is known by; of what could not be read at all, each is a message of its own."""
    if not mail.unreadable:
        return mail.identity
    return hashlib.sha256(mail.identity + mail.gmail_thread_id.encode() + mail.gmail_id.encode()).digest()


def _kin(mail: ParsedMessage) -> bytes | None:
    """What a mail has in common with itself changed on its way; None where too little of it can tell."""
    beginning = " ".join(mail.text.split())[:TELLING_LENGTH]
    if mail.message_id is None or len(beginning) < TELLING_LENGTH:
        return None
    return hashlib.sha256(f"{mail.message_id}\n{beginning}".encode()).digest()


def _copy(mail: ParsedMessage) -> dict[str, Any]:
    return {
        "gmail_id": mail.gmail_id,
        "gmail_thread_id": mail.gmail_thread_id,
        "label_ids": sorted(mail.label_ids),
        "history_id": mail.history_id,
        "internal_date": mail.internal_date,
        "size_estimate": mail.size_estimate,
        "headers": [list(header) for header in mail.headers],
        "bcc": [{"name": one.name, "address": one.address, "normalized": one.normalized} for one in mail.bcc],
        "attachments": [
            {
                "part_id": one.part_id,
                "attachment_id": one.attachment_id,
                "filename": one.filename,
                "mime_type": one.mime_type,
                "size": one.size,
                "content_id": one.content_id,
                "inline": one.inline,
            }
            for one in mail.attachments
        ],
        "calendars": list(mail.calendars),
    }
