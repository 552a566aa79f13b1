"""The messages of one mailbox: putting them in, changing their labels, removing them.

Every change writes its history record in the same transaction.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gmail_sync.sandbox import payload, threads
from gmail_sync.sandbox.errors import not_found
from gmail_sync.sandbox.headers import every, first, message_ids, read_headers
from gmail_sync.sandbox.history import Change, History
from gmail_sync.sandbox.ids import from_hex, to_hex, unpack
from gmail_sync.sandbox.store import Row, Store

#: Messages with one of these are left out of listings unless asked for.
HIDDEN = frozenset({"SPAM", "TRASH"})
#: Parsed messages kept at hand.
CACHE_SIZE = 512


@dataclass(frozen=True)
class Message:
    """A stored message without its content. `internal_date` is in milliseconds since the epoch."""

    id: int
    thread_id: int
    internal_date: int
    history_id: int
    size: int
    label_ids: tuple[str, ...]

    @property
    def short(self) -> dict[str, Any]:
        """The `(id, threadId)` pair of listings."""
        return {"id": to_hex(self.id), "threadId": to_hex(self.thread_id)}


class Messages:
    """The messages of one user. `changed` is called inside the transaction of every change."""

    def __init__(
        self,
        store: Store,
        user_id: int,
        history: History,
        clock: Callable[[], datetime],
        changed: Callable[[str], None],
    ) -> None:
        self._store = store
        self._user_id = user_id
        self._history = history
        self._clock = clock
        self._changed = changed
        self._parsed: OrderedDict[int, payload.Part] = OrderedDict()

    # -- reading

    def get(self, message_id: str) -> Message:
        """A message by the API's id. Raises ApiError 404 (or 400 for what is no id)."""
        row = self._store.row(
            "SELECT * FROM messages WHERE id = ? AND user_id = ?", from_hex(message_id), self._user_id
        )
        if row is None:
            raise not_found()
        return _message(row)

    def __contains__(self, message_id: str) -> bool:
        """Whether there is a message of that id."""
        sql = "SELECT 1 FROM messages WHERE id = ? AND user_id = ?"
        return self._store.value(sql, from_hex(message_id), self._user_id) is not None

    def in_thread(self, thread_id: str) -> list[Message]:
        """The messages of a thread, oldest first. Raises ApiError 404 when there are none."""
        rows = self._store.rows(
            "SELECT * FROM messages WHERE user_id = ? AND thread_id = ? ORDER BY internal_date, id",
            self._user_id, from_hex(thread_id),
        )  # fmt: skip
        if not rows:
            raise not_found()
        return [_message(row) for row in rows]

    def raw(self, message: Message) -> bytes:
        """A message's bytes as they came."""
        raw = self._store.value("SELECT raw FROM raws WHERE id = ?", message.id)
        if raw is None:
            raise not_found()
        return bytes(raw)

    def parsed(self, message: Message) -> payload.Part:
        """A message's parts; the last few hundred are kept."""
        found = self._parsed.get(message.id)
        if found is None:
            found = payload.parse(self.raw(message))
            self._parsed[message.id] = found
            while len(self._parsed) > CACHE_SIZE:
                self._parsed.popitem(last=False)
        return found

    # -- changing

    def add(
        self,
        raw: bytes,
        label_ids: Iterable[str] = (),
        *,
        internal_date: datetime | None = None,
        thread_id: str | None = None,
        stay_in: int | None = None,
    ) -> Message:
        """Put a message in, in the thread where it belongs (see `threads`).

        `thread_id` is a wish that must agree with the message's headers; `stay_in` and the Takeout
        loader's thread are orders. Raises ApiError 404 for a wish that names no thread.
        """
        headers = read_headers(raw)
        key = threads.subject_key(first(headers, "Subject"))
        own_id = next(iter(message_ids(first(headers, "Message-ID"))), "")
        refs = threads.references(headers)
        labels = _ordered(label_ids)
        date = int((internal_date or self._clock()).timestamp() * 1000)
        with self._store.transaction():
            number = self._store.new_id()
            thread = stay_in or self._thread(thread_id, own_id, refs, key) or number
            change = Change("messageAdded", number, thread, labels)
            history_id = self._history.append(change)
            self._store.run(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                number, self._user_id, thread, date, history_id, len(raw), " ".join(labels),
                bool(HIDDEN & set(labels)), own_id, first(headers, "Subject"), key, first(headers, "From"),
                every(headers, "To"), every(headers, "Cc"), every(headers, "Bcc"),
            )  # fmt: skip
            self._store.run("INSERT INTO raws VALUES (?, ?)", number, raw)
            self._index(number, date, labels)
            threads.remember(self._store, self._user_id, number, thread, [own_id, *refs], key)
            self._changed(" ".join(labels))
        return Message(number, thread, date, history_id, len(raw), labels)

    def change(self, message_id: str, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Message:
        """Add and remove labels; what changes nothing leaves no history. The ids are taken as good."""
        with self._store.transaction():
            message = self.get(message_id)
            before = set(message.label_ids)
            added = _ordered(set(add) - before)
            removed = _ordered(before & set(remove) - set(add))
            labels = _ordered(before - set(removed) | set(added))
            if not added and not removed:
                return message
            history_id, thread = message.history_id, message.thread_id
            if added:
                history_id = self._history.append(Change("labelAdded", message.id, thread, labels, added))
            if removed:
                history_id = self._history.append(Change("labelRemoved", message.id, thread, labels, removed))
            self._relabel(message, labels, removed, added, history_id)
            self._changed(" ".join((*labels, *removed)))
        return Message(message.id, message.thread_id, message.internal_date, history_id, message.size, labels)

    def delete(self, message_id: str) -> None:
        """Remove a message for good (not to the trash), with its draft if it is one's content."""
        with self._store.transaction():
            message = self.get(message_id)
            for sql in (
                "DELETE FROM messages WHERE id = ?",
                "DELETE FROM raws WHERE id = ?",
                "DELETE FROM refs WHERE message_id = ?",
                "DELETE FROM drafts WHERE message_id = ?",
            ):
                self._store.run(sql, message.id)
            self._unindex(message, message.label_ids)
            self._parsed.pop(message.id, None)
            self._history.append(Change("messageDeleted", message.id, message.thread_id, message.label_ids))
            self._changed(" ".join(message.label_ids))

    def drop_label(self, label_id: str) -> None:
        """Take a label off all messages, as happens when it is deleted."""
        rows = self._store.rows(
            "SELECT message_id FROM message_labels WHERE user_id = ? AND label_id = ?", self._user_id, label_id
        )
        for row in rows:
            self.change(to_hex(row["message_id"]), remove=[label_id])

    def _thread(self, wish: str | None, own_id: str, refs: list[str], key: str) -> int | None:
        if wish is None:
            return threads.find_thread(self._store, self._user_id, own_id, refs, key)
        thread = from_hex(wish)
        return thread if threads.agree(self._store, self._user_id, thread, refs, key) else None

    def _relabel(
        self,
        message: Message,
        labels: tuple[str, ...],
        removed: Iterable[str],
        added: Iterable[str],
        history_id: int,
    ) -> None:
        self._store.run(
            "UPDATE messages SET labels = ?, hidden = ?, history_id = ? WHERE id = ?",
            " ".join(labels), bool(HIDDEN & set(labels)), history_id, message.id,
        )  # fmt: skip
        self._unindex(message, removed)
        self._index(message.id, message.internal_date, added)

    def _index(self, number: int, date: int, labels: Iterable[str]) -> None:
        rows = [(self._user_id, label, date, number) for label in labels]
        self._store.run_many("INSERT INTO message_labels VALUES (?, ?, ?, ?)", rows)

    def _unindex(self, message: Message, labels: Iterable[str]) -> None:
        self._store.run_many(
            "DELETE FROM message_labels "
            "WHERE user_id = ? AND label_id = ? AND internal_date = ? AND message_id = ?",
            [(self._user_id, label, message.internal_date, message.id) for label in labels],
        )

    # -- showing

    def as_json(self, message: Message, fmt: str = "full", metadata_headers: Iterable[str] = ()) -> dict[str, Any]:
        """The API's Message in a format: minimal, full, raw or metadata (with the headers named)."""
        answer: dict[str, Any] = message.short
        if message.label_ids:
            answer["labelIds"] = list(message.label_ids)
        part = self.parsed(message)
        answer |= {
            "snippet": payload.snippet(part),
            "sizeEstimate": message.size,
            "historyId": str(unpack(message.history_id)),
            "internalDate": str(message.internal_date),
        }
        if fmt == "full":
            answer["payload"] = part.as_json(to_hex(message.id))
        elif fmt == "metadata":
            answer["payload"] = _metadata(part, {name.lower() for name in metadata_headers})
        elif fmt == "raw":
            answer["raw"] = payload.encode(self.raw(message))
        return answer


def _metadata(part: payload.Part, wanted: set[str]) -> dict[str, Any]:
    headers = [
        {"name": name, "value": value} for name, value in part.headers if not wanted or name.lower() in wanted
    ]
    return {"partId": "", "mimeType": part.mime_type, "headers": headers}


def _ordered(label_ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(label_ids)))


def _message(row: Row) -> Message:
    labels = tuple(row["labels"].split())
    return Message(row["id"], row["thread_id"], row["internal_date"], row["history_id"], row["size"], labels)
