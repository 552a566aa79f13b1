"""Things to do at their time, one after the other, in a thread of their own."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Agenda:
    """A daemon thread that does what it was asked to, when it is due.

    With a *speed* of 10 a delay of 20 seconds takes two.
    """

    def __init__(self, name: str, speed: float = 1.0) -> None:
        self._name = name
        self._speed = speed
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._changed = threading.Condition()
        self._stopped = True
        self._thread: threading.Thread | None = None

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Do *act* in *seconds* from now; callable from any thread. What it raises is logged."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + seconds / self._speed, next(self._numbers), act))
            self._changed.notify()

    def start(self) -> None:
        """Begin; a second start does nothing."""
        if self._thread:
            return
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Forget what is left, and wait (at most 5 seconds) for what is being done."""
        with self._changed:
            self._stopped = True
            self._due.clear()
            self._changed.notify()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        self._thread = None

    def _run(self) -> None:
        while act := self._next():
            try:
                act()
            except Exception:
                _log.exception("%s: one of the things to do failed", self._name)

    def _next(self) -> Callable[[], None] | None:
        """Wait for what is due next; None once stopped."""
        with self._changed:
            while not self._stopped:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
        return None
