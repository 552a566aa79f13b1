"""One user's mailbox, and the verbs that tests and demos use on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from gmail_sync.sandbox.drafts import Drafts
from gmail_sync.sandbox.history import History
from gmail_sync.sandbox.ids import from_hex, to_hex
from gmail_sync.sandbox.labels import Labels
from gmail_sync.sandbox.listing import Listing
from gmail_sync.sandbox.messages import Messages
from gmail_sync.sandbox.store import Store

if TYPE_CHECKING:
    from gmail_sync.sandbox.tokens import Tokens


class SandboxMailbox:
    """The mailbox of one user of the sandbox.

    Its nouns (`labels`, `history`, `messages`, `drafts`, `listing`) are what the REST API works on.
    """

    def __init__(
        self,
        store: Store,
        user_id: int,
        address: str,
        name: str,
        clock: Callable[[], datetime],
        tokens: Tokens,
        changed: Callable[[SandboxMailbox, str], None],
    ) -> None:
        self._store = store
        self._tokens = tokens
        self.user_id = user_id
        self.address = address
        self.name = name
        self.labels = Labels(store, user_id)
        self.history = History(store, user_id, clock)
        self.messages = Messages(
            store, user_id, self.history, clock, lambda labels: store.after_commit(lambda: changed(self, labels))
        )
        self.drafts = Drafts(store, user_id, self.messages)
        self.listing = Listing(store, user_id, address, self.labels, clock)

    def insert(
        self,
        raw: bytes,
        *,
        label_ids: Iterable[str] = ("INBOX",),
        internal_date: datetime | None = None,
        thread_id: str | None = None,
    ) -> str:
        """Put a message in; returns its id. `thread_id` puts it there whatever its headers say."""
        stay_in = from_hex(thread_id) if thread_id else None
        label_ids = list(label_ids)
        self.labels.check(label_ids, fixed=True)
        return to_hex(self.messages.add(raw, label_ids, internal_date=internal_date, stay_in=stay_in).id)

    def modify(self, message_id: str, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Add and remove labels by their ids, as the user would. Raises ApiError 400 for unknown ones."""
        add, remove = list(add), list(remove)
        self.labels.check([*add, *remove])
        self.messages.change(message_id, add, remove)

    def trash(self, message_id: str) -> None:
        """Move a message to the trash."""
        self.messages.change(message_id, ["TRASH"], ["INBOX", "SPAM"])

    def untrash(self, message_id: str) -> None:
        """Take a message out of the trash; it does not come back to the inbox by itself."""
        self.messages.change(message_id, remove=["TRASH"])

    def delete(self, message_id: str) -> None:
        """Remove a message for good."""
        self.messages.delete(message_id)

    def raw(self, message_id: str) -> bytes:
        """A message's bytes."""
        return self.messages.raw(self.messages.get(message_id))

    def label_ids(self, message_id: str) -> list[str]:
        """The labels that a message has."""
        return list(self.messages.get(message_id).label_ids)

    def message_ids(self, include_spam_trash: bool = False) -> list[str]:
        """The ids of all messages, newest first."""
        hidden = "" if include_spam_trash else " AND hidden = 0"
        sql = f"SELECT id FROM messages WHERE user_id = ?{hidden} ORDER BY internal_date DESC, id DESC"  # noqa: S608
        return [to_hex(row["id"]) for row in self._store.rows(sql, self.user_id)]

    def threads(self) -> dict[str, list[str]]:
        """All threads with the ids of their messages, oldest first."""
        found: dict[str, list[str]] = {}
        sql = "SELECT id, thread_id FROM messages WHERE user_id = ? ORDER BY internal_date, id"
        for row in self._store.rows(sql, self.user_id):
            found.setdefault(to_hex(row["thread_id"]), []).append(to_hex(row["id"]))
        return found

    @property
    def history_id(self) -> int:
        """The newest history id, unsigned 64 bits."""
        return self.history.current

    def expire_history(self) -> None:
        """From now on every cursor taken before answers 404."""
        self.history.expire()

    def revoke(self) -> None:
        """Withdraw all access: refreshing answers invalid_grant, access tokens answer 401."""
        self._tokens.revoke_user(self.user_id)
