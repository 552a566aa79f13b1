"""Flights: pushes under way, by their push service. A slow one must not take the threads that others need."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from urllib.parse import urlsplit

SLOW = 1.0  # seconds; a push service that takes longer
MOST_OF_SLOW = 3  # pushes under way to it
KEPT_FREE = 4  # threads that no single push service takes


def origin_of(endpoint: str) -> str:
    """A push service: the beginning of its browsers' addresses, with the slash."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc}/"


class Flights:
    """May be used by several threads. With `threads` 0 nothing is ever under way, and nothing is held back."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._since: dict[str, list[float]] = defaultdict(list)
        self._slow: set[str] = set()
        self._mutex = threading.Lock()

    def begin(self, origin: str) -> float:
        """One more; returns what `end` is to be given."""
        since = time.monotonic()
        with self._mutex:
            self._since[origin].append(since)
        return since

    def end(self, origin: str, since: float) -> bool:
        """It has ended; whether no thread had been free."""
        with self._mutex:
            full = sum(map(len, self._since.values())) >= self._threads
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
            return self._threads - sum(map(len, self._since.values()))

    def room(self) -> Mapping[str, int]:
        """How many more may go to each push service that is asked now or was slow; `most` to any other."""
        now = time.monotonic()
        with self._mutex:
            known = {*self._since, *self._slow}
            return {one: self._most(one, now) - len(self._since.get(one, ())) for one in known}

    @property
    def most(self) -> int:
        """How many may be under way to one push service that is not slow."""
        return max(self._threads - KEPT_FREE, MOST_OF_SLOW)

    def _most(self, origin: str, now: float) -> int:
        slow = origin in self._slow or any(now - since > SLOW for since in self._since.get(origin, ()))
        return MOST_OF_SLOW if slow else self.most
