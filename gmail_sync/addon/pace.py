"""How often one person's panel may ask: a person clicks, and a program that doesn't stop is slowed down."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

BURST = 60  #: requests at once
EVERY = 0.5  #: seconds for each further one
PEOPLE = 10_000  #: that are remembered; whoever was forgotten begins anew


class Pace:
    """For all threads of a process. Source: the generic cell rate algorithm (ITU-T I.371)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, burst: int = BURST) -> None:
        self._clock, self._burst = clock, burst
        self._free_at: OrderedDict[str, float] = OrderedDict()  #: when all that was asked is paid for
        self._lock = threading.Lock()

    def admits(self, whom: str) -> bool:
        """Whether this person may ask now."""
        now = self._clock()
        with self._lock:
            free_at = max(self._free_at.pop(whom, now), now)
            admitted = free_at + EVERY <= now + self._burst * EVERY
            self._free_at[whom] = free_at + EVERY if admitted else free_at
            while len(self._free_at) > PEOPLE:
                self._free_at.popitem(last=False)
        return admitted
