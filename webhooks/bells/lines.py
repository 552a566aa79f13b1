"""Lines: connections to push services that stay open for a while, so that not each push shakes hands anew.

Their addresses were checked when they were opened (`tracker.outside`). One that takes too long is cut.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import SplitResult

from urllib3.connection import HTTPConnection

from tracker import outside

IDLE = 15.0  # seconds that a line is kept without use
LOOK = 0.25  # seconds
EACH, MOST = 16, 128  # idle lines of a service, and of all


class Lines:
    """May be used by several threads."""

    def __init__(self) -> None:
        self._idle: dict[str, list[tuple[float, HTTPConnection]]] = defaultdict(list)
        self._number = 0
        self._mutex = threading.Lock()

    def take(self, parts: SplitResult) -> HTTPConnection | None:
        """A line to this service that was used before, if one waits."""
        with self._mutex:
            waiting = self._idle.get(_origin(parts), [])
            while waiting:
                since, line = waiting.pop()
                self._number -= 1
                if time.monotonic() - since < IDLE:
                    return line
                line.close()
        return None

    def keep(self, parts: SplitResult, line: HTTPConnection) -> None:
        """A line whose answer was read to its end; it is closed where there are enough."""
        with self._mutex:
            waiting = self._idle[_origin(parts)]
            if len(waiting) < EACH and self._number < MOST:
                waiting.append((time.monotonic(), line))
                self._number += 1
                return
        line.close()
        self._tidy()

    def close(self) -> None:
        """Close all that wait."""
        with self._mutex:
            lines = [line for waiting in self._idle.values() for _, line in waiting]
            self._idle.clear()
            self._number = 0
        for line in lines:
            line.close()

    def _tidy(self) -> None:
        """Make room: services that nobody asks any more must not take it all."""
        now = time.monotonic()
        with self._mutex:
            for origin, waiting in list(self._idle.items()):
                kept = [one for one in waiting if now - one[0] < IDLE]
                for one in waiting:
                    if one not in kept:
                        one[1].close()
                        self._number -= 1
                self._idle[origin] = kept
                if not kept:
                    del self._idle[origin]


def _origin(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc}"


class _Watch:
    """One thread that cuts what takes too long: a timer each would be a thread for every push."""

    def __init__(self) -> None:
        self._until: dict[HTTPConnection, float] = {}
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(self, line: HTTPConnection, seconds: float) -> None:
        """Cut it after so many seconds (and at most `LOOK` more)."""
        with self._mutex:
            self._until[line] = time.monotonic() + seconds
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="watching lines", daemon=True)
                self._thread.start()

    def end(self, line: HTTPConnection) -> None:
        """It was in time."""
        with self._mutex:
            self._until.pop(line, None)

    def _run(self) -> None:
        while True:
            time.sleep(LOOK)
            with self._mutex:
                late = [line for line, until in self._until.items() if until < time.monotonic()]
            for line in late:
                outside.cut(line)


_watch = _Watch()


@contextmanager
def cut_after(seconds: float, line: HTTPConnection) -> Iterator[None]:
    """Cut a line if the block takes longer: each byte may take its time, and there may be many."""
    _watch.begin(line, seconds)
    try:
        yield
    finally:
        _watch.end(line)
