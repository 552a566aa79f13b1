"""A mailbox's labels: Gmail's own and the user's.

Source: https://developers.google.com/workspace/gmail/api/guides/labels
"""

from __future__ import annotations

from typing import Any

from gmail_sync.sandbox.errors import ApiError, invalid, not_found
from gmail_sync.sandbox.store import Row, Store

CATEGORIES = ("CATEGORY_PERSONAL", "CATEGORY_SOCIAL", "CATEGORY_PROMOTIONS", "CATEGORY_UPDATES", "CATEGORY_FORUMS")
#: Gmail's own labels: id and name are the same.
SYSTEM = (
    "INBOX", "SENT", "DRAFT", "UNREAD", "STARRED", "IMPORTANT", "SPAM", "TRASH", "CHAT", *CATEGORIES
)  # fmt: skip
#: Set by Gmail alone; a request may neither add nor remove them.
FIXED = frozenset({"SENT", "DRAFT", "CHAT"})
#: Names that a user's label may not take, whatever their case.
_RESERVED = frozenset({*(name.lower() for name in SYSTEM), "drafts", "all mail", "starred", "scheduled"})
_VISIBILITY = {
    "messageListVisibility": ("show", "hide"),
    "labelListVisibility": ("labelShow", "labelShowIfUnread", "labelHide"),
}
#: The colours that a label may have (discovery document, LabelColor).
_COLORS = """
    #000000 #434343 #666666 #999999 #cccccc #efefef #f3f3f3 #ffffff #fb4c2f #ffad47 #fad165 #16a766
    #43d692 #4a86e8 #a479e2 #f691b3 #f6c5be #ffe6c7 #fef1d1 #b9e4d0 #c6f3de #c9daf8 #e4d7f5 #fcdee8
    #efa093 #ffd6a2 #fce8b3 #89d3b2 #a0eac9 #a4c2f4 #d0bcf1 #fbc8d9 #e66550 #ffbc6b #fcda83 #44b984
    #68dfa9 #6d9eeb #b694e8 #f7a7c0 #cc3a21 #eaa041 #f2c960 #149e60 #3dc789 #3c78d8 #8e63ce #e07798
    #ac2b16 #cf8933 #d5ae49 #0b804b #2a9c68 #285bac #653e9b #b65775 #822111 #a46a21 #aa8831 #076239
    #1a764d #1c4587 #41236d #83334c #464646 #e7e7e7 #0d3472 #b6cff5 #0d3b44 #98d7e4 #3d188e #e3d7ff
    #711a36 #fbd3e0 #8a1c0a #f2b2a8 #7a2e0b #ffc8af #7a4706 #ffdeb5 #594c05 #fbe983 #684e07 #fdedc1
    #0b4f30 #b3efd3 #04502e #a2dcc1 #c2c2c2 #4986e7 #2da2bb #b99aff #994a64 #f691b2 #ff7537 #ffad46
    #662e37 #ebdbde #cca6ac #094228 #42d692 #16a765 #757575 #1e53b8 #007286 #7858c3 #c2185b #d93025
    #54240e #633e04 #521d28 #202124 #083018
"""
PALETTE = frozenset(_COLORS.split())


class Labels:
    """The labels of one user."""

    def __init__(self, store: Store, user_id: int) -> None:
        self._store = store
        self._user_id = user_id

    def create_system(self) -> None:
        """Give a new mailbox Gmail's own labels."""
        rows = [(self._user_id, name, name, "system", None, None, None, None) for name in SYSTEM]
        self._store.run_many("INSERT OR IGNORE INTO labels VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def all(self) -> list[dict[str, Any]]:
        """All labels, without counts."""
        sql = "SELECT * FROM labels WHERE user_id = ? ORDER BY type, rowid"
        return [_as_json(row) for row in self._store.rows(sql, self._user_id)]

    def get(self, label_id: str) -> dict[str, Any]:
        """One label with its counts of messages and threads."""
        return _as_json(self._row(label_id)) | self._counts(label_id)

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """A new user label. Raises ApiError 400 for a bad name or colour, 409 for a name in use."""
        wanted = _checked({"messageListVisibility": "show", "labelListVisibility": "labelShow"} | body)
        with self._store.transaction():
            self._refuse_taken(wanted["name"], "")
            number = self._store.value("SELECT next_label FROM users WHERE id = ?", self._user_id)
            label_id = f"Label_{number}"
            self._store.run("UPDATE users SET next_label = next_label + 1 WHERE id = ?", self._user_id)
            sql = "INSERT INTO labels VALUES (?, ?, ?, 'user', ?, ?, ?, ?)"
            self._store.run(sql, self._user_id, label_id, *_columns(wanted))
            return _as_json(self._row(label_id))

    def update(self, label_id: str, body: dict[str, Any], *, patch: bool = False) -> dict[str, Any]:
        """Change a user label: all of it, or with `patch` only what is named."""
        with self._store.transaction():
            row = self._row(label_id)
            if row["type"] == "system":
                raise invalid("Invalid label: system labels cannot be changed")
            wanted = _checked((_as_json(row) if patch else {}) | body)
            self._refuse_taken(wanted["name"], label_id)
            self._store.run(
                "UPDATE labels SET name = ?, message_visibility = ?, list_visibility = ?, text_color = ?, "
                "background_color = ? WHERE user_id = ? AND id = ?",
                *_columns(wanted), self._user_id, label_id,
            )  # fmt: skip
            return _as_json(self._row(label_id))

    def delete(self, label_id: str) -> None:
        """Remove a user label; taking it off its messages is the caller's work."""
        if self._row(label_id)["type"] == "system":
            raise invalid("Invalid delete request")
        self._store.run("DELETE FROM labels WHERE user_id = ? AND id = ?", self._user_id, label_id)

    def ids(self) -> set[str]:
        """The ids of all labels."""
        rows = self._store.rows("SELECT id FROM labels WHERE user_id = ?", self._user_id)
        return {row["id"] for row in rows}

    def id_of(self, name: str, *, create: bool = False) -> str | None:
        """The id of the label of that name or id, case apart; with `create` it is made if missing."""
        sql = "SELECT id FROM labels WHERE user_id = ? AND (lower(name) = lower(?) OR id = ?)"
        found: str | None = self._store.value(sql, self._user_id, name, name)
        if found is None and create:
            return str(self.create({"name": name})["id"])
        return found

    def check(self, label_ids: list[str], *, fixed: bool = False) -> None:
        """Refuse ids that don't exist or, unless `fixed`, that only Gmail sets."""
        known = self.ids()
        for label_id in label_ids:
            if label_id not in known or (label_id in FIXED and not fixed):
                raise invalid(f"Invalid label: {label_id}")

    def _row(self, label_id: str) -> Row:
        row = self._store.row("SELECT * FROM labels WHERE user_id = ? AND id = ?", self._user_id, label_id)
        if row is None:
            raise not_found()
        return row

    def _refuse_taken(self, name: str, but: str) -> None:
        if self.id_of(name) not in (None, but):
            raise ApiError(409, "aborted", "Label name exists or conflicts")

    def _counts(self, label_id: str) -> dict[str, int]:
        row = self._store.row(
            "SELECT count(*) AS messages, count(DISTINCT thread_id) AS threads, "
            "count(CASE WHEN unread THEN 1 END) AS unread, "
            "count(DISTINCT CASE WHEN unread THEN thread_id END) AS threads_unread "
            "FROM (SELECT m.thread_id, ' ' || m.labels || ' ' LIKE '% UNREAD %' AS unread FROM message_labels l "
            "JOIN messages m ON m.id = l.message_id WHERE l.user_id = ? AND l.label_id = ?)",
            self._user_id, label_id,
        )  # fmt: skip
        assert row is not None
        return {
            "messagesTotal": row["messages"],
            "messagesUnread": row["unread"],
            "threadsTotal": row["threads"],
            "threadsUnread": row["threads_unread"],
        }


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    """A label resource with its name, visibilities and colour found good, or ApiError 400."""
    name = body.get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > 225 or name.strip().lower() in _RESERVED:
        raise invalid("Invalid label name")
    for key, allowed in _VISIBILITY.items():
        if body.get(key) not in (None, *allowed):
            raise invalid(f"Invalid value at 'label.{key}', \"{body[key]}\"")
    color = body.get("color") or {}
    for key in ("textColor", "backgroundColor") if color else ():
        if color.get(key) not in PALETTE:
            raise invalid(f"Label color {color.get(key)} is not on the allowed color palette.")
    return body | {"name": name.strip()}


def _columns(body: dict[str, Any]) -> tuple[str | None, ...]:
    color = body.get("color") or {}
    return (
        body["name"],
        body.get("messageListVisibility"),
        body.get("labelListVisibility"),
        color.get("textColor"),
        color.get("backgroundColor"),
    )


def _as_json(row: Row) -> dict[str, Any]:
    answer: dict[str, Any] = {"id": row["id"], "name": row["name"], "type": row["type"]}
    if row["message_visibility"]:
        answer["messageListVisibility"] = row["message_visibility"]
    if row["list_visibility"]:
        answer["labelListVisibility"] = row["list_visibility"]
    if row["text_color"]:
        answer["color"] = {"textColor": row["text_color"], "backgroundColor": row["background_color"]}
    return answer
