"""users.getProfile, users.history.list, users.watch, users.stop"""

from __future__ import annotations

import re
from typing import Any

from gmail_sync.sandbox.errors import invalid
from gmail_sync.sandbox.history import KINDS
from gmail_sync.sandbox.listing import DEFAULT_PAGE, MAX_PAGE
from gmail_sync.sandbox.routes.call import Call


def profile(call: Call) -> dict[str, Any]:
    """getProfile: address, counts and the newest history id."""
    with call.sandbox.store.lock:
        row = call.sandbox.store.row(
            "SELECT count(*) AS messages, count(DISTINCT thread_id) AS threads FROM messages WHERE user_id = ?",
            call.mailbox.user_id,
        )
        assert row is not None
        return {
            "emailAddress": call.mailbox.address,
            "messagesTotal": row["messages"],
            "threadsTotal": row["threads"],
            "historyId": str(call.mailbox.history_id),
        }


def history(call: Call) -> dict[str, Any]:
    """history.list"""
    start = call.request.one("startHistoryId")
    if not start:
        raise invalid("Missing required field: startHistoryId")
    if not re.fullmatch(r"\d{1,20}", start) or int(start) >= 1 << 64:
        raise invalid(f"Invalid value at 'start_history_id' (TYPE_UINT64), \"{start}\"")
    kinds = call.request.query.get("historyTypes", [])
    for kind in kinds:
        if kind not in KINDS:
            raise invalid(f"Invalid value at 'history_types' (TYPE_ENUM), \"{kind}\"")
    return call.mailbox.history.page(
        int(start),
        kinds=kinds,
        label_id=call.request.one("labelId") or None,
        limit=call.number("maxResults", DEFAULT_PAGE, MAX_PAGE),
        token=call.request.one("pageToken") or None,
    )


def watch(call: Call) -> dict[str, Any]:
    """watch: for seven days, and a push at once."""
    topic = call.body.get("topicName")
    if not isinstance(topic, str) or not re.fullmatch(r"projects/[^/]+/topics/[^/]+", topic):
        raise invalid("Invalid topicName does not match projects/sandbox-project/topics/*")
    call.mailbox.labels.check(call.strings("labelIds", MAX_PAGE), fixed=True)
    answer = call.sandbox.pushes.watch(call.mailbox, call.body)
    call.sandbox.pushes.notify(call.mailbox, " ".join(call.strings("labelIds", MAX_PAGE)))
    return answer


def stop(call: Call) -> None:
    """stop: no more pushes."""
    call.sandbox.pushes.stop_watch(call.mailbox)
