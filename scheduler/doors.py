"""Doors: connections to Gmail that are open when it is time, and quota that is paid for several calls at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gmail_sync.budget import UNITS, Budget, NoBudget
from gmail_sync.client import Gmail
from tracker.mailboxes import Mailbox

IDLE = 240.0  # seconds; servers close a connection that idles for longer, and the next request would be lost


class Prepaid(NoBudget):
    """A budget of which a part was paid in advance, in one transaction instead of one for each call."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._units = 0

    def pay(self, calls: Mapping[str, int]) -> None:
        """Pay for calls to come. Raises `QuotaWait`."""
        self._budget.acquire(calls)
        self._units += _cost(calls)

    def acquire(self, calls: Mapping[str, int]) -> None:
        """Use what was paid; what was not is paid now."""
        if self._units >= _cost(calls):
            self._units -= _cost(calls)
        else:
            self._budget.acquire(calls)

    def block(self, seconds: float) -> None:
        """Gmail told one of us to wait: all of us do."""
        self._budget.block(seconds)


def _cost(calls: Mapping[str, int]) -> int:
    return sum(UNITS[method] * count for method, count in calls.items())


@dataclass(slots=True)
class Door:
    """One mailbox's open door; used by one thread at a time, as its mailbox is."""

    gmail: Gmail
    budget: Prepaid
    credentials: bytes | None
    used_at: float = field(default_factory=time.monotonic)

    @property
    def is_fresh(self) -> bool:
        """Whether its connections can be relied on."""
        return time.monotonic() - self.used_at < IDLE


class Doors:
    """Doors that stay open for a while."""

    def __init__(self, make: Callable[[Mailbox], tuple[Gmail, Prepaid]]) -> None:
        self._make = make
        self._mutex = threading.Lock()
        self._open: dict[int, Door] = {}

    def __contains__(self, mailbox_id: int) -> bool:
        door = self._open.get(mailbox_id)
        return door is not None and door.is_fresh

    def open(self, mailbox: Mailbox) -> Door:
        """The mailbox's door, with the credentials that it has now. Raises `AuthRevoked`."""
        with self._mutex:
            door = self._open.get(mailbox.id)
        if door is None or not door.is_fresh or door.credentials != mailbox.credentials:
            self.close(mailbox.id)
            door = Door(*self._make(mailbox), mailbox.credentials)
            with self._mutex:
                self._open[mailbox.id] = door
        door.used_at = time.monotonic()
        return door

    def close(self, mailbox_id: int) -> None:
        """Close one, if it is open: after a lost connection, or when it is not let in any more."""
        with self._mutex:
            door = self._open.pop(mailbox_id, None)
        if door is not None:
            door.gmail.close()

    def tidy(self) -> None:
        """Close what nobody has used for long."""
        now = time.monotonic()
        for mailbox_id, door in list(self._open.items()):
            if now - door.used_at > IDLE * 2:
                self.close(mailbox_id)

    def close_all(self) -> None:
        """Close all."""
        for mailbox_id in list(self._open):
            self.close(mailbox_id)
