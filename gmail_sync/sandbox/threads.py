"""Which thread a new message joins.

Gmail's rule: a message joins the thread of an earlier one when its References or In-Reply-To
share an id with it **and** the subject is the same but for prefixes such as "Re:"; a changed
subject starts a new thread, and an equal subject alone joins nothing. Where a request names a
`threadId`, that must agree with both.

Sources: https://workspaceupdates.googleblog.com/2019/03/threading-changes-in-gmail-conversation-view.html
("reference IDs seen earlier in the thread, or consistently refer to the same message ID"),
https://developers.google.com/workspace/gmail/api/guides/threads (the three criteria for adding to
a thread), https://support.google.com/mail/answer/5900 (a thread breaks off at 100 messages).
"""

from __future__ import annotations

import re

from gmail_sync.sandbox.errors import not_found
from gmail_sync.sandbox.headers import Header, every, message_ids
from gmail_sync.sandbox.store import Store

#: Reply and forward prefixes in the languages that mail programs write them in.
_PREFIX = re.compile(
    r"^\s*(?:(?:re|fwd?|aw|wg|sv|vs|antw|rif|res|tr|enc|ynt|odp|atb|r)\s*(?:\[\d+\]|\(\d+\))?\s*:\s*)+",
    re.IGNORECASE,
)
#: A thread with that many messages takes no more.
MAX_MESSAGES = 100
#: A message with more references than this is looked up by its last ones.
MAX_REFERENCES = 100


def subject_key(subject: str) -> str:
    """A subject without reply prefixes, with its spaces collapsed, in lower case."""
    return " ".join(_PREFIX.sub("", subject).lower().split())


def references(headers: list[Header]) -> list[str]:
    """The Message-IDs that a message answers, nearest first."""
    named = message_ids(every(headers, "References")) + message_ids(every(headers, "In-Reply-To"))
    return list(dict.fromkeys(reversed(named)))[:MAX_REFERENCES]


def find_thread(store: Store, user_id: int, own_id: str, refs: list[str], key: str) -> int | None:
    """The thread that a message belongs to, or None for a new one.

    `own_id` counts too: a message that arrives after its answer joins that answer's thread.
    """
    for ref in [*refs, own_id]:
        if not ref:
            continue
        found = store.value(
            "SELECT thread_id FROM refs WHERE user_id = ? AND rfc822 = ? AND subject_key = ? LIMIT 1",
            user_id, ref, key,
        )  # fmt: skip
        if found is not None:
            return None if _full(store, user_id, found) else int(found)
    return None


def _full(store: Store, user_id: int, thread_id: int) -> bool:
    sql = "SELECT count(*) FROM messages WHERE user_id = ? AND thread_id = ?"
    return bool(store.value(sql, user_id, thread_id) >= MAX_MESSAGES)


def agree(store: Store, user_id: int, thread_id: int, refs: list[str], key: str) -> bool:
    """Whether a message may be put in the thread that its request names.

    Raises ApiError 404 when there is no such thread.
    """
    if not store.value("SELECT 1 FROM messages WHERE user_id = ? AND thread_id = ?", user_id, thread_id):
        raise not_found()
    return any(
        store.value(
            "SELECT 1 FROM refs WHERE user_id = ? AND rfc822 = ? AND subject_key = ? AND thread_id = ?",
            user_id, ref, key, thread_id,
        )
        for ref in refs
    )  # fmt: skip


def remember(store: Store, user_id: int, message: int, thread: int, ids: list[str], key: str) -> None:
    """Note the ids that tie a message to its thread: its own and those it answers."""
    rows = [(user_id, rfc822, key, message, thread) for rfc822 in ids if rfc822]
    store.run_many("INSERT OR IGNORE INTO refs VALUES (?, ?, ?, ?, ?)", rows)
