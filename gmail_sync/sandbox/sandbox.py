"""The sandbox: users and their mail, with everything that can be switched on and off around them."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gmail_sync.sandbox import mbox, search, sending
from gmail_sync.sandbox.errors import ApiError
from gmail_sync.sandbox.faults import Faults
from gmail_sync.sandbox.ids import pack, to_hex
from gmail_sync.sandbox.keys import Keys
from gmail_sync.sandbox.mailbox import SandboxMailbox
from gmail_sync.sandbox.messages import Message
from gmail_sync.sandbox.oauth import ISSUER, OAuth
from gmail_sync.sandbox.pushes import Pushes
from gmail_sync.sandbox.quota import Quota, Stats
from gmail_sync.sandbox.store import Row, Store
from gmail_sync.sandbox.tokens import Tokens

log = logging.getLogger(__name__)

#: Called after a send with the sender's address, the message's id, its bytes and the recipients.
SentHook = Callable[[str, str, bytes, list[str]], None]
#: What `credentials` grants: everything, as a fresh consent screen might.
FULL_SCOPES = (
    "openid",
    "https://www.googleapis.com/auth/userinfo.email",
    "https://www.googleapis.com/auth/userinfo.profile",
    "https://mail.google.com/",
)


def utc_now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


class Sandbox:
    """A local Gmail.

    path: a SQLite file that keeps everything, or None for memory. units_per_minute: the quota of
    each user, 0 for none. clock: the time in UTC, for tests. first_history_id: where a new mailbox's
    history begins; give something above 2**63 to see whether a client really takes 64 bits.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        units_per_minute: int = 6000,
        clock: Callable[[], datetime] | None = None,
        first_history_id: int = 1_000_000,
    ) -> None:
        self.clock = clock or utc_now
        self.store = Store(path)
        search.register(self.store)
        self.stats = Stats()
        self.quota = Quota(units_per_minute, self.clock, self.stats)
        self.faults = Faults()
        self.keys = Keys(self.store)
        self.tokens = Tokens(self.store, self.clock)
        self.pushes = Pushes(self.store, self.keys, self.clock)
        self.oauth = OAuth(self)
        self.on_sent: list[SentHook] = []
        #: The base address of the server, set when one is started.
        self.url = ""
        self.client_id = "000000000000-sandbox.apps.googleusercontent.com"
        self.client_secret = self.store.meta("client_secret", lambda: secrets.token_urlsafe(18).encode()).decode()
        #: Redirect URIs that are allowed besides http on loopback addresses.
        self.redirect_uris: list[str] = []
        self.issuer = ISSUER
        #: Messages that one user may send in 24 hours; 0 lifts it.
        self.sends_per_day = 2000
        self._first_history_id = first_history_id
        self._mailboxes: dict[int, SandboxMailbox] = {}

    def close(self) -> None:
        """Stop pushing and close the store."""
        self.pushes.stop()
        self.store.close()

    # -- users

    def add_user(self, address: str, name: str = "") -> SandboxMailbox:
        """Add a user, or find the one there is."""
        with self.store.transaction():
            first = pack(self._first_history_id)
            self.store.run(
                "INSERT OR IGNORE INTO users (address, shown, name, history_id, history_floor) "
                "VALUES (?, ?, ?, ?, ?)",
                address.strip().lower(), address.strip(), name, first, first,
            )  # fmt: skip
            mailbox = self.mailbox(address)
            mailbox.labels.create_system()
        return mailbox

    def mailbox(self, address: str) -> SandboxMailbox:
        """The mailbox of a user. Raises KeyError for an address that has none."""
        row = self.store.row("SELECT * FROM users WHERE address = ?", address.strip().lower())
        if row is None:
            raise KeyError(address)
        return self._mailbox(row)

    def mailbox_by_id(self, user_id: int) -> SandboxMailbox:
        """The mailbox of a user by the store's number."""
        found = self._mailboxes.get(user_id)
        if found is None:
            row = self.store.row("SELECT * FROM users WHERE id = ?", user_id)
            assert row is not None
            found = self._mailbox(row)
        return found

    def mailboxes(self) -> list[SandboxMailbox]:
        """All mailboxes, in the order they were added."""
        return [self._mailbox(row) for row in self.store.rows("SELECT * FROM users ORDER BY id")]

    def _mailbox(self, row: Row) -> SandboxMailbox:
        with self.store.lock:
            if row["id"] not in self._mailboxes:
                self._mailboxes[row["id"]] = SandboxMailbox(
                    self.store, row["id"], row["shown"], row["name"], self.clock, self.tokens, self.pushes.notify
                )
            return self._mailboxes[row["id"]]

    def credentials(self, address: str, scopes: Iterable[str] = FULL_SCOPES) -> dict[str, Any]:
        """google-auth's "authorized user" info of a user. Raises RuntimeError before a server is started."""
        if not self.url:
            raise RuntimeError("start a SandboxServer first: credentials name its token endpoint")
        scopes = sorted(scopes)
        token = self.tokens.issue("refresh", self.mailbox(address).user_id, self.client_id, scopes)
        return {
            "type": "authorized_user",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "refresh_token": token,
            "token_uri": f"{self.url}/token",
            "scopes": scopes,
        }

    # -- mail

    def load_mbox(self, path: Path | str, owner: str) -> int:
        """Load an mbox (.gz too) into a user's mailbox; returns how many messages were new."""
        return mbox.load(Path(path), self.store, self.mailbox(owner))

    def deliver(self, raw: bytes, rcpt_to: Iterable[str]) -> None:
        """Hand a message over as by SMTP: the sandbox's users among the recipients find it unread."""
        for address in sending.normal(rcpt_to):
            try:
                mailbox = self.mailbox(address)
            except KeyError:
                continue
            mailbox.insert(sending.received(raw, mailbox.address), label_ids=["INBOX", "UNREAD"])

    def send(
        self, mailbox: SandboxMailbox, raw: bytes, *, thread_id: str | None = None, draft_id: str | None = None
    ) -> Message:
        """Send a message, or a draft with its thread; returns the new message with label SENT.

        The mailbox changes all or not at all; delivery and the `on_sent` hooks follow once it has.
        Raises ApiError 400 for bad recipients, 404 for a draft that is gone, 429 over the day's limit.
        """
        with self.store.transaction():
            stay_in = mailbox.drafts.message(draft_id).thread_id if draft_id else None
            out = sending.prepare(raw, mailbox.address, mailbox.name, self.clock())
            self._check_day(mailbox)
            to_self = mailbox.address.lower() in out.recipients
            labels = ["SENT", "INBOX", "UNREAD"] if to_self else ["SENT"]
            sent = mailbox.messages.add(out.raw, labels, thread_id=thread_id, stay_in=stay_in)
            if draft_id:
                mailbox.drafts.delete(draft_id)
        self.deliver(out.delivered, [address for address in out.recipients if address != mailbox.address.lower()])
        for hook in list(self.on_sent):
            try:
                hook(mailbox.address, to_hex(sent.id), out.raw, out.recipients)
            except Exception:
                log.exception("a hook of on_sent failed")
        return sent

    def _check_day(self, mailbox: SandboxMailbox) -> None:
        since = int(self.clock().timestamp() * 1000) - 86_400_000
        sql = "SELECT count(*) FROM message_labels WHERE user_id = ? AND label_id = 'SENT' AND internal_date > ?"
        if self.sends_per_day and self.store.value(sql, mailbox.user_id, since) >= self.sends_per_day:
            raise ApiError(429, "rateLimitExceeded", "User-rate limit exceeded.  (Mail sending)")
