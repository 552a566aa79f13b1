"""users.drafts.*"""

from __future__ import annotations

from typing import Any

from gmail_sync.sandbox.errors import invalid
from gmail_sync.sandbox.ids import to_hex
from gmail_sync.sandbox.listing import Wanted
from gmail_sync.sandbox.routes.call import Call


def listed(call: Call) -> dict[str, Any]:
    """drafts.list"""
    wanted = call.wanted()
    page = call.mailbox.listing.page(
        Wanted(wanted.q, ("DRAFT",), wanted.include_spam_trash, wanted.limit, wanted.token)
    )
    found = [(call.mailbox.drafts.id_of(row["id"]), row) for row in page.rows]
    drafts = [
        {"id": draft_id, "message": {"id": to_hex(row["id"]), "threadId": to_hex(row["thread_id"])}}
        for draft_id, row in found
        if draft_id
    ]
    return page.as_json("drafts", drafts)


def get(call: Call) -> dict[str, Any]:
    """drafts.get, in any of the four formats."""
    message = call.mailbox.drafts.message(call.id)
    return {"id": call.id, "message": call.mailbox.messages.as_json(message, call.format())}


def create(call: Call) -> dict[str, Any]:
    """drafts.create"""
    message = _message(call)
    return call.mailbox.drafts.create(call.raw(message), message.get("threadId") or None)


def update(call: Call) -> dict[str, Any]:
    """drafts.update: the draft keeps its id, the message inside is a new one."""
    message = _message(call)
    return call.mailbox.drafts.update(call.id, call.raw(message), message.get("threadId") or None)


def delete(call: Call) -> None:
    """drafts.delete: for good."""
    call.mailbox.drafts.delete(call.id)


def send(call: Call) -> dict[str, Any]:
    """drafts.send: the draft is gone, and a new message has label SENT. With `message.raw` that is sent."""
    draft_id = call.body.get("id")
    if not isinstance(draft_id, str) or not draft_id:
        raise invalid("Missing draft id")
    current = call.mailbox.messages.raw(call.mailbox.drafts.message(draft_id))
    message = _message(call)
    raw = call.raw(message) if message.get("raw") or call.media is not None else current
    sent = call.sandbox.send(call.mailbox, raw, draft_id=draft_id)
    return sent.short | {"labelIds": list(sent.label_ids)}


def _message(call: Call) -> dict[str, Any]:
    message = call.body.get("message") or {}
    if not isinstance(message, dict):
        raise invalid("Invalid value at 'draft.message'")
    return message
