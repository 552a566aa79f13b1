"""users.messages.* and users.messages.attachments.get"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gmail_sync.sandbox.errors import invalid, not_found
from gmail_sync.sandbox.headers import date_of, first, read_headers
from gmail_sync.sandbox.ids import to_hex
from gmail_sync.sandbox.messages import Message
from gmail_sync.sandbox.payload import encode, part_id_of
from gmail_sync.sandbox.routes.call import Call

#: Labels and ids that one request may name.
MAX_LABELS = 100
MAX_IDS = 1000


def listed(call: Call) -> dict[str, Any]:
    """messages.list"""
    return call.mailbox.listing.messages(call.wanted())


def get(call: Call) -> dict[str, Any]:
    """messages.get, in any of the four formats."""
    message = call.mailbox.messages.get(call.id)
    return call.mailbox.messages.as_json(message, call.format(), call.request.query.get("metadataHeaders", []))


def send(call: Call) -> dict[str, Any]:
    """messages.send: the answer has id, threadId and labelIds only, as Gmail's does."""
    sent = call.sandbox.send(call.mailbox, call.raw(), thread_id=call.body.get("threadId") or None)
    return _brief(sent)


def insert(call: Call) -> dict[str, Any]:
    """messages.insert: put in as by IMAP APPEND, dated now unless told otherwise."""
    return _put(call, "receivedTime")


def import_(call: Call) -> dict[str, Any]:
    """messages.import: put in as if received, dated by its header unless told otherwise."""
    return _put(call, "dateHeader")


def _put(call: Call, default: str) -> dict[str, Any]:
    raw = call.raw()
    labels = call.strings("labelIds", MAX_LABELS)
    call.mailbox.labels.check(labels, fixed=True)
    message = call.mailbox.messages.add(
        raw,
        labels,
        internal_date=_internal_date(raw, call.request.one("internalDateSource", default)),
        thread_id=call.body.get("threadId") or None,
    )
    return _brief(message)


def _internal_date(raw: bytes, source: str) -> datetime | None:
    if source not in ("receivedTime", "dateHeader"):
        raise invalid(f"Invalid value at 'internal_date_source' (TYPE_ENUM), \"{source}\"")
    return date_of(first(read_headers(raw), "Date")) if source == "dateHeader" else None


def modify(call: Call) -> dict[str, Any]:
    """messages.modify"""
    add, remove = _labels(call)
    return _brief(call.mailbox.messages.change(call.id, add, remove))


def batch_modify(call: Call) -> None:
    """messages.batchModify: up to 1,000 ids; those that don't exist are passed over."""
    add, remove = _labels(call)
    for message_id in call.strings("ids", MAX_IDS):
        if _exists(call, message_id):
            call.mailbox.messages.change(message_id, add, remove)


def batch_delete(call: Call) -> None:
    """messages.batchDelete: "provides no guarantees that messages existed at all"."""
    for message_id in call.strings("ids", MAX_IDS):
        if _exists(call, message_id):
            call.mailbox.messages.delete(message_id)


def _exists(call: Call, message_id: str) -> bool:
    return message_id in call.mailbox.messages


def trash(call: Call) -> dict[str, Any]:
    """messages.trash"""
    call.mailbox.trash(call.id)
    return _brief(call.mailbox.messages.get(call.id))


def untrash(call: Call) -> dict[str, Any]:
    """messages.untrash"""
    call.mailbox.untrash(call.id)
    return _brief(call.mailbox.messages.get(call.id))


def delete(call: Call) -> None:
    """messages.delete: for good."""
    call.mailbox.messages.delete(call.id)


def attachment(call: Call) -> dict[str, Any]:
    """attachments.get: a part's decoded bytes."""
    message = call.mailbox.messages.get(call.args["messageId"])
    part_id = part_id_of(call.id, to_hex(message.id))
    for part in call.mailbox.messages.parsed(message).walk():
        if part.part_id == part_id and part.is_attachment:
            return {"size": len(part.data), "data": encode(part.data)}
    raise invalid("Invalid attachment token") if part_id is None else not_found()


def _labels(call: Call) -> tuple[list[str], list[str]]:
    add, remove = call.strings("addLabelIds", MAX_LABELS), call.strings("removeLabelIds", MAX_LABELS)
    call.mailbox.labels.check([*add, *remove])
    if not add and not remove:
        raise invalid("No label add or removes specified")
    return add, remove


def _brief(message: Message) -> dict[str, Any]:
    return message.short | ({"labelIds": list(message.label_ids)} if message.label_ids else {})
