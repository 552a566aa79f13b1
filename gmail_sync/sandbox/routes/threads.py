"""users.threads.*"""

from __future__ import annotations

from typing import Any

from gmail_sync.sandbox.errors import invalid
from gmail_sync.sandbox.ids import to_hex, unpack
from gmail_sync.sandbox.payload import snippet
from gmail_sync.sandbox.routes.call import Call
from gmail_sync.sandbox.routes.messages import MAX_LABELS


def listed(call: Call) -> dict[str, Any]:
    """threads.list: a thread is listed when any of its messages matches."""
    page = call.mailbox.listing.page(call.wanted(), by_thread=True)
    return page.as_json("threads", [_summary(call, to_hex(row["thread_id"])) for row in page.rows])


def _summary(call: Call, thread_id: str) -> dict[str, Any]:
    messages = call.mailbox.messages.in_thread(thread_id)
    newest = max(message.history_id for message in messages)
    text = snippet(call.mailbox.messages.parsed(messages[-1]))
    return {"id": thread_id, "snippet": text, "historyId": str(unpack(newest))}


def get(call: Call) -> dict[str, Any]:
    """threads.get: its messages, oldest first, in any format but raw."""
    fmt = call.format("minimal", "full", "metadata")
    messages = call.mailbox.messages.in_thread(call.id)
    names = call.request.query.get("metadataHeaders", [])
    newest = max(message.history_id for message in messages)
    return {
        "id": to_hex(messages[0].thread_id),
        "historyId": str(unpack(newest)),
        "messages": [call.mailbox.messages.as_json(message, fmt, names) for message in messages],
    }


def modify(call: Call) -> dict[str, Any]:
    """threads.modify: all messages of the thread."""
    add, remove = call.strings("addLabelIds", MAX_LABELS), call.strings("removeLabelIds", MAX_LABELS)
    call.mailbox.labels.check([*add, *remove])
    if not add and not remove:
        raise invalid("No label add or removes specified")
    return _change(call, add, remove)


def trash(call: Call) -> dict[str, Any]:
    """threads.trash"""
    return _change(call, ["TRASH"], ["INBOX", "SPAM"])


def untrash(call: Call) -> dict[str, Any]:
    """threads.untrash"""
    return _change(call, [], ["TRASH"])


def _change(call: Call, add: list[str], remove: list[str]) -> dict[str, Any]:
    changed = [
        call.mailbox.messages.change(to_hex(message.id), add, remove)
        for message in call.mailbox.messages.in_thread(call.id)
    ]
    brief = [message.short | {"labelIds": list(message.label_ids)} for message in changed]
    return {"id": to_hex(changed[0].thread_id), "messages": brief}


def delete(call: Call) -> None:
    """threads.delete: all its messages, for good."""
    for message in call.mailbox.messages.in_thread(call.id):
        call.mailbox.messages.delete(to_hex(message.id))
