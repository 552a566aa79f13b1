"""Pages of messages, threads and drafts, newest first.

A page token is the place of the last row shown, so that a page costs the same however deep it
lies, and what arrives meanwhile neither repeats nor hides a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gmail_sync.sandbox.errors import invalid
from gmail_sync.sandbox.ids import to_hex
from gmail_sync.sandbox.labels import Labels
from gmail_sync.sandbox.payload import decode, encode
from gmail_sync.sandbox.search import Condition, Query
from gmail_sync.sandbox.store import Row, Store, Value

DEFAULT_PAGE = 100
MAX_PAGE = 500
#: Characters of a search, and brackets and minus signs in it: SQLite's expressions have a depth.
MAX_QUERY, MAX_DEPTH = 2048, 100


@dataclass(frozen=True)
class Wanted:
    """What a listing asks for."""

    q: str = ""
    label_ids: tuple[str, ...] = ()
    include_spam_trash: bool = False
    limit: int = DEFAULT_PAGE
    token: str | None = None


@dataclass(frozen=True)
class Page:
    """The rows of a page, and the token of the next one."""

    rows: list[Row]
    token: str | None

    def as_json(self, key: str, items: list[dict[str, Any]]) -> dict[str, Any]:
        """The API's listing: items under `key` (absent when none), token and estimate."""
        answer: dict[str, Any] = {key: items} if items else {}
        if self.token:
            answer["nextPageToken"] = self.token
        return answer | {"resultSizeEstimate": len(items) + (1 if self.token else 0)}


class Listing:
    """The listings of one user."""

    def __init__(
        self, store: Store, user_id: int, address: str, labels: Labels, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._user_id = user_id
        self._address = address
        self._labels = labels
        self._clock = clock

    def messages(self, wanted: Wanted) -> dict[str, Any]:
        """The API's ListMessagesResponse. Raises ApiError 400 for a bad token or label."""
        page = self.page(wanted)
        return page.as_json("messages", [_short(row) for row in page.rows])

    def page(self, wanted: Wanted, *, by_thread: bool = False) -> Page:
        """The rows (id, thread_id, internal_date, history_id) of a page of messages.

        `by_thread` leaves only the newest message that matches in each thread.
        """
        source, base = self._source(wanted)
        matching = self._matching(wanted, source)
        values: list[Value] = [*base.values, *matching.values]
        where = f"{base.sql} AND ({matching.sql})"
        if by_thread:
            newer = self._condition(wanted, wanted.label_ids)
            where += f" AND NOT EXISTS ({_NEWER} AND ({newer.over('n')}))"
            values += newer.values
        if wanted.token:
            date, number = _place(wanted.token)
            where += f" AND ({source}.internal_date, {_id(source)}) < (?, ?)"
            values += [date, number]
        rows = self._store.rows(
            f"SELECT m.id, m.thread_id, m.internal_date, m.history_id FROM {_FROM[source]} WHERE {where} "  # noqa: S608
            f"ORDER BY {source}.internal_date DESC, {_id(source)} DESC LIMIT ?",
            *values, wanted.limit + 1,
        )  # fmt: skip
        more = len(rows) > wanted.limit
        rows = rows[: wanted.limit]
        return Page(rows, _token(rows[-1]) if more else None)

    def _source(self, wanted: Wanted) -> tuple[str, Condition]:
        """Where to start: the index of the first label asked for, or all messages by date."""
        if wanted.label_ids:
            return "l", Condition("l.user_id = ? AND l.label_id = ?", [self._user_id, wanted.label_ids[0]])
        return "m", Condition("m.user_id = ?", [self._user_id])

    def _matching(self, wanted: Wanted, source: str) -> Condition:
        labels = wanted.label_ids[1:] if source == "l" else wanted.label_ids
        return self._condition(wanted, labels)

    def _query(self, q: str) -> Query:
        if len(q) > MAX_QUERY or q.count("(") + q.count("{") + q.count("-") > MAX_DEPTH:
            raise invalid("Search query too long")
        return Query(q, now=self._clock(), me=self._address, label_id=self._labels.id_of)

    def _condition(self, wanted: Wanted, label_ids: tuple[str, ...]) -> Condition:
        self._labels.check(list(wanted.label_ids), fixed=True)
        query = self._query(wanted.q)
        parts = [query.condition]
        shows_hidden = wanted.include_spam_trash or query.hidden_too or {"SPAM", "TRASH"} & set(wanted.label_ids)
        if not shows_hidden:
            parts.insert(0, Condition("m.hidden = 0"))
        for label_id in label_ids:
            parts.append(
                Condition(
                    "EXISTS (SELECT 1 FROM message_labels y WHERE y.user_id = m.user_id AND y.label_id = ? "
                    "AND y.internal_date = m.internal_date AND y.message_id = m.id)",
                    [label_id],
                )
            )
        sql = " AND ".join(f"({part.sql})" for part in parts)
        return Condition(sql, [value for part in parts for value in part.values])


_NEWER = (
    "SELECT 1 FROM messages n WHERE n.user_id = m.user_id AND n.thread_id = m.thread_id "
    "AND (n.internal_date, n.id) > (m.internal_date, m.id)"
)
_FROM = {"m": "messages m", "l": "message_labels l CROSS JOIN messages m ON m.id = l.message_id"}


def _id(source: str) -> str:
    return "m.id" if source == "m" else "l.message_id"


def _short(row: Row) -> dict[str, Any]:
    return {"id": to_hex(row["id"]), "threadId": to_hex(row["thread_id"])}


def _token(row: Row) -> str:
    return encode(f"{row['internal_date']}.{row['id']}".encode())


def _place(token: str) -> tuple[int, int]:
    try:
        date, number = decode(token).decode().split(".")
        return int(date), int(number)
    except ValueError:
        raise invalid("Invalid pageToken") from None
