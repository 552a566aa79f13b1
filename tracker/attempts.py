"""Attempts: how often somebody at an address may try what they fail at, in one process and within bounds."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

ADDRESSES = 10_000  # that are kept; the one that tried least lately is forgotten for a new one


class Attempts:
    """At most `most` in `seconds`, by address; an IPv6 network of 64 bits counts as one. For threads."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.seconds, self._clock = most, seconds, clock
        self._kept: OrderedDict[str, tuple[float, int]] = OrderedDict()  #: when it began, and how many
        self._lock = threading.Lock()

    def wait(self, address: str) -> int:
        """Seconds until somebody there may try again; 0: at once."""
        with self._lock:
            began, number = self._kept.get(_network(address), (0.0, 0))
            left = began + self.seconds - self._clock()
            return math.ceil(left) if number >= self.most and left > 0 else 0

    def note(self, address: str) -> None:
        """Somebody there tried."""
        network, now = _network(address), self._clock()
        with self._lock:
            began, number = self._kept.pop(network, (now, 0))
            if now >= began + self.seconds:
                began, number = now, 0
            self._kept[network] = began, number + 1
            if len(self._kept) > ADDRESSES:
                self._kept.popitem(last=False)


def _network(address: str) -> str:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or int(found) >> 64)
    return str(found)
