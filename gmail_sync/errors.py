"""What can go wrong with Gmail. An error carries the decision; it is made in `gmail_sync.client` only."""

from __future__ import annotations


class GmailError(Exception):
    """Gmail did not do what was asked."""


class Transient(GmailError):
    """Worth trying again, after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QuotaWait(Transient):
    """The mailbox's own budget is spent for now; nothing was asked of Gmail."""


class KeyMissing(Transient):
    """What opens the mailbox is encrypted with a key that we were not started with: nothing is wrong at Gmail,
    and all is well again once the operator has put the key back. The text is for the mailbox's owner."""

    def __init__(self) -> None:
        super().__init__(
            "Tracker can't open what it has kept of this mailbox's access: it was encrypted with a secret key "
            "that Tracker was not started with. Whoever runs Tracker puts that key into "
            "TRACKER_OLD_SECRET_KEYS and starts it again",
            300.0,
        )


class Permanent(GmailError):
    """Trying again changes nothing."""


class NotFound(Permanent):
    """There is no such thing (or not yet: a message just announced may answer so for some seconds)."""


class Conflict(Permanent):
    """Something else has that name already."""


class HistoryExpired(Permanent):
    """The cursor is older than Gmail's history; what changed has to be found by comparing."""


class NeedsAttention(Permanent):
    """The mailbox's owner has to do something; the text says what is wrong, in words for them."""


class AuthRevoked(NeedsAttention):
    """Gmail no longer accepts our credentials."""
