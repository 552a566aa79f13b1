"""Flights: pushes under way, by their push service. A slow one must not take the threads that others need."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from urllib.parse import urlsplit

SLOW = 3.0  # seconds; a push service that takes longer
MOST_OF_SLOW = 3  # seats that it has
KEPT_FREE = 8  # seats that no single push service takes


def origin_of(endpoint: str) -> str:
    """A push service: the beginning of its browsers' addresses, with the slash."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc}/"


class Flights:
    """May be used by several threads. `seats` are for what is under way and for what waits for a thread."""

    def __init__(self, seats: int) -> None:
        self._seats = seats
        self._taken: Counter[str] = Counter()
        self._since: dict[str, list[float]] = defaultdict(list)  #: when those under way set off
        self._slow: set[str] = set()
        self._mutex = threading.Lock()

    def begin(self, origin: str) -> None:
        """One more, which waits for a thread."""
        with self._mutex:
            self._taken[origin] += 1

    def leave(self, origin: str) -> float:
        """It sets off; returns what `end` is to be given."""
        since = time.monotonic()
        with self._mutex:
            self._since[origin].append(since)
        return since

    def end(self, origin: str, since: float) -> bool:
        """It has ended; whether no seat had been free."""
        with self._mutex:
            full = self._taken.total() >= self._seats
            self._taken[origin] -= 1
            if not self._taken[origin]:
                del self._taken[origin]
            self._since[origin].remove(since)
            if not self._since[origin]:
                del self._since[origin]
            (self._slow.add if time.monotonic() - since > SLOW else self._slow.discard)(origin)
            if len(self._slow) > 1000:  # strangers name push services
                self._slow.clear()
            return full

    def free(self) -> int:
        """How many more there may be."""
        with self._mutex:
            return self._seats - self._taken.total()

    def room(self) -> Mapping[str, int]:
        """How many more may go to each push service that is asked now or was slow; `most` to any other."""
        now = time.monotonic()
        with self._mutex:
            known = {*self._taken, *self._slow}
            return {one: self._most(one, now) - self._taken.get(one, 0) for one in known}

    @property
    def most(self) -> int:
        """How many seats one push service may have that is not slow."""
        return max(self._seats - KEPT_FREE, MOST_OF_SLOW)

    def _most(self, origin: str, now: float) -> int:
        slow = origin in self._slow or any(now - since > SLOW for since in self._since.get(origin, ()))
        return MOST_OF_SLOW if slow else self.most
