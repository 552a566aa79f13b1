"""Drafts: a stable id over a message that is a new one after every update.

Source: https://developers.google.com/workspace/gmail/api/guides/drafts
"""

from __future__ import annotations

from typing import Any

from gmail_sync.sandbox.errors import not_found
from gmail_sync.sandbox.ids import to_hex
from gmail_sync.sandbox.messages import Message, Messages
from gmail_sync.sandbox.store import Store

#: Makes a draft's id look unlike its first message's, and no two alike.
_SCRAMBLE = 0x3A5C_96E1_7B2D_4F08


class Drafts:
    """The drafts of one user."""

    def __init__(self, store: Store, user_id: int, messages: Messages) -> None:
        self._store = store
        self._user_id = user_id
        self._messages = messages

    def create(self, raw: bytes, thread_id: str | None) -> dict[str, Any]:
        """A new draft. Raises ApiError 404 for a threadId that does not exist."""
        with self._store.transaction():
            message = self._messages.add(raw, ["DRAFT"], thread_id=thread_id)
            draft_id = f"r{message.id ^ _SCRAMBLE}"
            self._store.run("INSERT INTO drafts VALUES (?, ?, ?)", draft_id, self._user_id, message.id)
        return self._short(draft_id, message)

    def update(self, draft_id: str, raw: bytes, thread_id: str | None) -> dict[str, Any]:
        """Replace a draft's content; the message inside is a new one, in the same thread by default."""
        with self._store.transaction():
            old = self.message(draft_id)
            stay_in = old.thread_id if thread_id in (None, to_hex(old.thread_id)) else None
            new = self._messages.add(raw, ["DRAFT"], thread_id=thread_id, stay_in=stay_in)
            self._store.run("UPDATE drafts SET message_id = ? WHERE id = ?", new.id, draft_id)
            self._messages.delete(to_hex(old.id))
        return self._short(draft_id, new)

    def delete(self, draft_id: str) -> None:
        """Remove a draft for good. Raises ApiError 404 when it is gone."""
        self._messages.delete(to_hex(self.message(draft_id).id))

    def message(self, draft_id: str) -> Message:
        """The message inside a draft. Raises ApiError 404 when the draft is gone."""
        sql = "SELECT message_id FROM drafts WHERE id = ? AND user_id = ?"
        number = self._store.value(sql, draft_id, self._user_id)
        if number is None:
            raise not_found()
        return self._messages.get(to_hex(number))

    def id_of(self, message_id: int) -> str | None:
        """The draft that a message is inside of, if any."""
        found: str | None = self._store.value("SELECT id FROM drafts WHERE message_id = ?", message_id)
        return found

    @staticmethod
    def _short(draft_id: str, message: Message) -> dict[str, Any]:
        return {"id": draft_id, "message": message.short | {"labelIds": list(message.label_ids)}}
