"""A mailbox's history: what changed, in order, under ids with gaps, for as long as it is kept.

Source: https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.history/list
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from gmail_sync.sandbox.errors import invalid, not_found
from gmail_sync.sandbox.ids import next_history_id, pack, to_hex, unpack
from gmail_sync.sandbox.store import Row, Store

Kind = Literal["messageAdded", "messageDeleted", "labelAdded", "labelRemoved"]
KINDS = ("messageAdded", "messageDeleted", "labelAdded", "labelRemoved")
#: The array of a record that each kind fills.
_ARRAYS = {
    "messageAdded": "messagesAdded",
    "messageDeleted": "messagesDeleted",
    "labelAdded": "labelsAdded",
    "labelRemoved": "labelsRemoved",
}


@dataclass(frozen=True)
class Change:
    """What a record tells: the message, the labels it has afterwards, and those that changed."""

    kind: Kind
    message_id: int
    thread_id: int
    label_ids: tuple[str, ...]
    changed: tuple[str, ...] = ()


class History:
    """The history of one user. `lifetime` is how long a cursor stays good."""

    def __init__(self, store: Store, user_id: int, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._user_id = user_id
        self._clock = clock
        self.lifetime = timedelta(days=7)
        #: Answer the first page of a listing with a nextPageToken and no history, as Gmail may.
        self.empty_first_page = False

    @property
    def current(self) -> int:
        """The mailbox's newest history id, unsigned 64 bits."""
        return unpack(self._store.value("SELECT history_id FROM users WHERE id = ?", self._user_id))

    def append(self, change: Change) -> int:
        """Record one change inside the caller's transaction; returns its id as it is stored."""
        stored = self._store.value("SELECT history_id FROM users WHERE id = ?", self._user_id)
        number = next_history_id(stored)
        self._store.run("UPDATE users SET history_id = ? WHERE id = ?", number, self._user_id)
        self._store.run(
            "INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            self._user_id, number, change.kind, change.message_id, change.thread_id,
            json.dumps(change.label_ids), json.dumps(change.changed), self._now(),
        )  # fmt: skip
        return number

    def expire(self) -> None:
        """Make every cursor taken before now too old; the next change moves past the floor."""
        with self._store.transaction():
            number = next_history_id(pack(self.current))
            self._store.run(
                "UPDATE users SET history_id = ?, history_floor = ? WHERE id = ?", number, number, self._user_id
            )

    def page(
        self, start: int, *, kinds: list[str], label_id: str | None, limit: int, token: str | None
    ) -> dict[str, Any]:
        """One page of records after `start`.

        A page holds what is wanted of `limit` records, so that a filter may leave it without any.
        Raises ApiError 404 for a cursor that is too old or was never given, 400 for a bad token.
        """
        first = pack(start)
        with self._store.lock:
            self._refuse_old(first)
            after = first if token is None else _after(token, first)
            answer: dict[str, Any] = {"historyId": str(self.current)}
            if token is None and self.empty_first_page:
                return answer | {"nextPageToken": str(start)}
            rows = self._store.rows(
                "SELECT * FROM history WHERE user_id = ? AND id > ? ORDER BY id LIMIT ?",
                self._user_id, after, limit + 1,
            )  # fmt: skip
        if len(rows) > limit:
            rows = rows[:limit]
            answer["nextPageToken"] = str(unpack(rows[-1]["id"]))
        wanted = [_record(row) for row in rows if _is_wanted(row, kinds, label_id)]
        return answer | ({"history": wanted} if wanted else {})

    def _refuse_old(self, first: int) -> None:
        row = self._store.row("SELECT history_id, history_floor FROM users WHERE id = ?", self._user_id)
        assert row is not None
        oldest = self._store.value(
            "SELECT at FROM history WHERE user_id = ? AND id > ? ORDER BY id LIMIT 1", self._user_id, first
        )
        too_old = oldest is not None and oldest < self._now() - self.lifetime.total_seconds() * 1000
        if not row["history_floor"] <= first <= row["history_id"] or too_old:
            raise not_found()

    def _now(self) -> int:
        return int(self._clock().timestamp() * 1000)


def _after(token: str, first: int) -> int:
    if not token.isdigit() or int(token) >= 1 << 64 or pack(int(token)) < first:
        raise invalid("Invalid pageToken")
    return pack(int(token))


def _is_wanted(row: Row, kinds: list[str], label_id: str | None) -> bool:
    if kinds and row["kind"] not in kinds:
        return False
    return label_id is None or label_id in json.loads(row["labels"]) + json.loads(row["changed"])


def _record(row: Row) -> dict[str, Any]:
    """A row as the API's History resource."""
    short = {"id": to_hex(row["message_id"]), "threadId": to_hex(row["thread_id"])}
    labels, changed = json.loads(row["labels"]), json.loads(row["changed"])
    entry: dict[str, Any] = {"message": short | ({"labelIds": labels} if labels else {})}
    if changed:
        entry["labelIds"] = changed
    return {"id": str(unpack(row["id"])), "messages": [short], _ARRAYS[row["kind"]]: [entry]}
