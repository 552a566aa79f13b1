"""How much of the same is kept as rows; the rest is counted on a row that is there. Bounded memory.

Generous, as a verdict needs the first hits of a burst: a scanner is known by following every link of a mail at
once. The first hit on a token from an address is kept, whatever others did to the token before (up to a bound).
What is remembered: ten thousand of each below, the least recently seen forgotten first, together about 15 MB (with
the longest headers 60 MB).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Generic, TypeVar

from webhooks.hit_record import Hit

SAME_SECONDS = 1.0  # identical hits this soon after one that was kept are counted on it
TOKEN_HITS = 100  # are kept of one token ...
TOKEN_MOST = 500  # beyond `TOKEN_HITS`, of addresses that did not ask for it yet ...
TOKEN_SECONDS = 3600.0  # ... in this time
ADDRESS_HITS = 50  # of one address (IPv6: one /64) ...
ADDRESS_SECONDS = 1.0  # ... in this time; beyond, identical ones are counted whenever the first came
REMEMBERED = 10_000  # of identical hits, of tokens, of addresses

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A dictionary of the entries that were used last."""

    def __init__(self, most: int) -> None:
        self.most, self._kept = most, OrderedDict[K, V]()

    def get(self, key: K) -> V | None:
        """The entry, which is the most recently used from now on."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: K, value: V) -> V:
        """Keep an entry."""
        self._kept[key] = value
        self._kept.move_to_end(key)
        if len(self._kept) > self.most:
            self._kept.popitem(last=False)
        return value

    def forget(self, key: K) -> None:
        """Let go of an entry."""
        self._kept.pop(key, None)

    def __len__(self) -> int:
        return len(self._kept)


@dataclass(slots=True)
class _Window:
    """How many came since when, in seconds of a clock that never goes back."""

    since: float
    count: int = 0
    last: Hit | None = None


class Limits:
    """Decides of each hit whether it is a row of its own. `now` is in seconds of a monotonic clock."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._same: Recent[int, tuple[float, Hit]] = Recent(most)
        self._readers: Recent[int, bool] = Recent(most)  # by token and address
        self._tokens: Recent[str, _Window] = Recent(most)
        self._addresses: Recent[str, _Window] = Recent(most)

    def admit(
        self, token: str, address: str | None, agent: str | None, now: float, make: Callable[[bool], Hit]
    ) -> Hit:
        """A hit made by `make` (told whether its address floods us), or the one that it was counted on.

        `token` says of which door it is too (a pixel's and a link's are never the same).
        """
        place = _network(address) if address is not None and ":" in address else address
        flood = place is not None and self._floods(place, now)
        # Nobody outside can make two of these meet: Python's hashes of text are keyed with a secret.
        identity = hash((token, address, agent))
        window = self._tokens.get(token)
        if window is None or now - window.since >= TOKEN_SECONDS:
            window = self._tokens.put(token, _Window(now))
        same = self._same.get(identity)
        reader = hash((token, place))
        counted = self._counted_on(window, same, now, flood, reader)
        if counted is not None:
            counted.repeats += 1
            return counted
        hit = make(flood)
        window.count, window.last = window.count + 1, hit
        self._same.put(identity, (now, hit))
        self._readers.put(reader, True)
        return hit

    def _counted_on(
        self, window: _Window, same: tuple[float, Hit] | None, now: float, flood: bool, reader: int
    ) -> Hit | None:
        full = window.count >= TOKEN_HITS
        if same is not None and (full or flood or now - same[0] < SAME_SECONDS):
            return same[1]
        if not full or (not flood and window.count < TOKEN_MOST and self._readers.get(reader) is None):
            return None  # a scanner must not hide the reader who comes after it
        return window.last

    def _floods(self, place: str, now: float) -> bool:
        window = self._addresses.get(place)
        if window is None or now - window.since >= ADDRESS_SECONDS:
            window = self._addresses.put(place, _Window(now))
        window.count += 1
        return window.count > ADDRESS_HITS


@lru_cache(1024)
def _network(address: str) -> str:
    """The /64 of an IPv6 address, which is mostly one machine's or one home's."""
    return IPv6Address(address).exploded[:19]
