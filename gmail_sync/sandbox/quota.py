"""What calls cost, who has spent what, and when Gmail says "too much".

Source of the prices: https://developers.google.com/workspace/gmail/api/reference/quota
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from gmail_sync.sandbox.errors import ApiError

#: Units by method.
UNITS = {
    "getProfile": 1, "labels.list": 1, "labels.get": 1,
    "history.list": 2,
    "messages.list": 5, "drafts.list": 5, "labels.create": 5, "labels.update": 5, "labels.patch": 5,
    "labels.delete": 5, "messages.modify": 5, "messages.trash": 5, "messages.untrash": 5,
    "threads.list": 10, "threads.modify": 10, "drafts.create": 10, "drafts.delete": 10,
    "messages.delete": 10, "drafts.update": 15,
    "messages.get": 20, "attachments.get": 20, "drafts.get": 20, "threads.trash": 20, "threads.untrash": 20,
    "threads.delete": 20,
    "messages.insert": 25, "messages.import": 25,
    "threads.get": 40,
    "messages.batchModify": 50, "messages.batchDelete": 50, "stop": 50,
    "messages.send": 100, "drafts.send": 100, "watch": 100,
}  # fmt: skip

#: The length of the sliding window.
WINDOW = timedelta(seconds=60)


class Stats:
    """Units and calls by user and method, since the start or the last reset."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._units: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._calls: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._refused: Counter[str] = Counter()

    def count(self, address: str, method: str, units: int) -> None:
        """One call that was let through."""
        with self._lock:
            self._units[address.lower()][method] += units
            self._calls[address.lower()][method] += 1

    def count_refused(self, address: str) -> None:
        """One call that was refused for its user's quota."""
        with self._lock:
            self._refused[address.lower()] += 1

    def units(self, address: str) -> dict[str, int]:
        """Quota units spent by a user, by method."""
        with self._lock:
            return dict(self._units[address.lower()])

    def units_total(self, address: str) -> int:
        """All quota units spent by a user."""
        return sum(self.units(address).values())

    def calls(self, address: str) -> dict[str, int]:
        """Calls made by a user, by method; the parts of a batch count one by one."""
        with self._lock:
            return dict(self._calls[address.lower()])

    def refused(self, address: str) -> int:
        """Calls of a user that were refused for quota or concurrency."""
        with self._lock:
            return self._refused[address.lower()]

    def addresses(self) -> list[str]:
        """The users that have made a call."""
        with self._lock:
            return sorted(self._calls)

    def reset(self) -> None:
        """Start counting anew."""
        with self._lock:
            self._units.clear()
            self._calls.clear()
            self._refused.clear()


class Quota:
    """A budget of units per user in any 60 seconds, and a ceiling of requests in flight.

    Both are settings, and 0 lifts them: `units_per_minute`, `concurrent_requests` (GMAIL: "about 10
    at a time is the practical ceiling").
    """

    def __init__(self, units_per_minute: int, clock: Callable[[], datetime], stats: Stats) -> None:
        self.units_per_minute = units_per_minute
        self.concurrent_requests = 10
        self._clock = clock
        self._stats = stats
        self._lock = threading.Lock()
        self._spent: defaultdict[str, deque[tuple[datetime, int]]] = defaultdict(deque)
        self._sums: Counter[str] = Counter()
        self._in_flight: Counter[str] = Counter()
        self._refusals = 0

    def reset(self) -> None:
        """Forget what has been spent."""
        with self._lock:
            self._spent.clear()
            self._sums.clear()

    def charge(self, address: str, method: str) -> None:
        """Charge one call. Raises ApiError 403 or 429 when the minute's budget does not hold it."""
        units = UNITS.get(method, 5)
        error = self._over(address, units) if self.units_per_minute else None
        if error:
            self._stats.count_refused(address)
            raise error
        self._stats.count(address, method, units)

    def _over(self, address: str, units: int) -> ApiError | None:
        now = self._clock()
        with self._lock:
            spent = self._spent[address]
            while spent and spent[0][0] <= now - WINDOW:
                self._sums[address] -= spent.popleft()[1]
            if self._sums[address] + units <= self.units_per_minute:
                spent.append((now, units))
                self._sums[address] += units
                return None
            self._refusals += 1
            return _refusal(self._refusals, (spent[0][0] if spent else now) + WINDOW)

    @contextmanager
    def in_flight(self, address: str) -> Iterator[None]:
        """Hold one of a user's places. Raises ApiError 429 when all are taken."""
        with self._lock:
            limit = self.concurrent_requests
            if limit and self._in_flight[address] >= limit:
                self._stats.count_refused(address)
                raise ApiError(429, "rateLimitExceeded", "Too many concurrent requests for user")
            self._in_flight[address] += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight[address] -= 1


def _refusal(turn: int, free_at: datetime) -> ApiError:
    """The refusals that Gmail gives, by turns: 403 as often as 429, and the time only in some messages."""
    stamp = free_at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{free_at.microsecond // 1000:03d}Z"
    metric = "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service "
    plain = metric + "'gmail.googleapis.com' for consumer 'project_number:000000000000'."
    return (
        ApiError(403, "rateLimitExceeded", plain),
        ApiError(429, "rateLimitExceeded", f"User-rate limit exceeded.  Retry after {stamp}"),
        ApiError(403, "userRateLimitExceeded", f"User Rate Limit Exceeded.  Retry after {stamp}"),
        ApiError(429, "rateLimitExceeded", plain),
    )[(turn - 1) % 4]
