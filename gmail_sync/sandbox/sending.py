"""What Gmail does to a message that is sent, and to one that comes in.

The Message-ID is **replaced**, Date and From are made right, Bcc is kept in the sender's copy only.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime, formataddr

from gmail_sync.sandbox.errors import invalid
from gmail_sync.sandbox.headers import Header, addresses, every, first, message_ids, prepend, read_headers, without

#: Recipients that one message may have.
MAX_RECIPIENTS = 500


@dataclass(frozen=True)
class Outgoing:
    """A message ready to go: the sender's copy and the addresses it goes to."""

    raw: bytes
    recipients: list[str]

    @property
    def delivered(self) -> bytes:
        """What recipients get: without Bcc."""
        return without(self.raw, "Bcc")


def prepare(raw: bytes, address: str, name: str, now: datetime) -> Outgoing:
    """A message as Gmail sends it. Raises ApiError 400 for recipients missing, bad or too many."""
    headers = read_headers(raw)
    recipients = _recipients(headers)
    fresh: list[Header] = [("Message-ID", f"<CA{secrets.token_urlsafe(24)}@mail.gmail.com>")]
    unwanted = ["Message-ID"]
    if not first(headers, "Date"):
        fresh.insert(0, ("Date", format_datetime(now)))
    sender = first(headers, "From")
    if addresses(sender) != [address.lower()]:
        unwanted.append("From")
        fresh.append(("From", formataddr((name, address))))
        if sender:
            fresh.append(("X-Google-Original-From", " ".join(sender.encode("ascii", "replace").decode().split())))
    return Outgoing(prepend(without(raw, *unwanted), fresh), recipients)


def _recipients(headers: list[Header]) -> list[str]:
    found: list[str] = []
    for name in ("To", "Cc", "Bcc"):
        value = every(headers, name)
        here = addresses(value)
        if value.strip(" ,") and not here and not value.rstrip().endswith(";"):
            raise invalid(f"Invalid {name} header")
        if any(not _is_address(address) for address in here):
            raise invalid(f"Invalid {name} header")
        found += here
    recipients = list(dict.fromkeys(found))
    if not recipients:
        raise invalid("Recipient address required")
    if len(recipients) > MAX_RECIPIENTS:
        raise invalid("Too many recipients")
    return recipients


def _is_address(address: str) -> bool:
    local, _, domain = address.rpartition("@")
    return bool(local and domain and " " not in address and not domain.startswith((".", "-")))


def received(raw: bytes, address: str) -> bytes:
    """A message as it lies in the mailbox it was delivered to.

    `Delivered-To` comes first; a missing Message-ID is made up, as Gmail's servers do.
    """
    added: list[Header] = [("Delivered-To", address)]
    if not message_ids(first(read_headers(raw), "Message-ID")):
        added.append(("Message-ID", f"<{secrets.token_hex(12)}SMTPIN_ADDED_MISSING@mx.google.com>"))
    return prepend(raw, added)


def normal(recipients: Iterable[str]) -> list[str]:
    """Envelope addresses in a form that compares: lower case, each once."""
    return list(dict.fromkeys(address.strip().lower() for address in recipients))
