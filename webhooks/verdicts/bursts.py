"""What only shows in several hits together: links that are followed faster than anybody reads."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from webhooks.hits import Kind
from webhooks.verdicts.facts import RawHit, Sent

QUICK = timedelta(seconds=5)  #: all links of a mail with two
TIGHT = timedelta(seconds=3)  #: three links or more: nobody is as quick
WIDE = timedelta(seconds=10)  #: three links or more: somebody opens them in tabs, if the mail was open before
MANY = 3
BEFORE = timedelta(seconds=10)  #: somebody who follows links at once had the mail open by then
AFTER = timedelta(minutes=1)  #: so long after a burst, what its programs do is a part of it

Client = tuple[str | None, str | None]  #: address and agent
Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Bursts:
    """Clicks that came in bursts, by key, and who made them when."""

    sure: frozenset[str] = frozenset()
    quick: frozenset[str] = frozenset()  #: three links or more, by somebody who may have had the mail open
    pairs: frozenset[str] = frozenset()  #: both links of a mail with two: a person in a hurry does that as well
    clients: Mapping[Client, Sequence[Span]] = field(default_factory=dict)  #: of the sure ones

    def stains(self, hit: RawHit) -> bool:
        """Whether it was the same program, about the same time as a sure burst."""
        return any(since <= hit.at <= until for since, until in self.clients.get((hit.address, hit.agent), ()))


def find(sent: Sent, hits: Sequence[RawHit], was_open: Callable[[RawHit], bool]) -> Bursts:
    """The bursts among hits, which are in order of time. `was_open`: whether somebody may have had it open."""
    clicks = [hit for hit in hits if hit.kind == Kind.CLICK]
    wide = list(_runs(clicks, WIDE, MANY))
    certain = [*_runs(clicks, TIGHT, MANY), *((start, end) for start, end in wide if not was_open(clicks[start]))]
    blocks = _joined(sorted(certain))
    sure = _keys(clicks, blocks)
    pairs = _keys(clicks, _joined(list(_runs(clicks, QUICK, MANY - 1)))) if sent.links == MANY - 1 else set()
    clients: dict[Client, list[Span]] = defaultdict(list)
    for start, end in blocks:
        span = clicks[start].at - BEFORE, clicks[end - 1].at + AFTER
        for client in {(hit.address, hit.agent) for hit in clicks[start:end] if hit.address and hit.agent}:
            clients[client].append(span)
    quick = _keys(clicks, _joined(wide)) - sure
    return Bursts(frozenset(sure), frozenset(quick), frozenset(pairs - sure), clients)


def _runs(clicks: Sequence[RawHit], window: timedelta, links: int) -> Iterator[tuple[int, int]]:
    """Where so many different links were followed within the window, as places from and to."""
    there = Counter[int | None]()
    end = 0
    for start, first in enumerate(clicks):
        while end < len(clicks) and clicks[end].at - first.at <= window:
            there[clicks[end].link] += 1
            end += 1
        if len(there) >= links:
            yield start, end
        there[first.link] -= 1
        if not there[first.link]:
            del there[first.link]


def _joined(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs in their order, those that overlap as one."""
    made: list[tuple[int, int]] = []
    for start, end in runs:
        if made and start < made[-1][1]:
            made[-1] = made[-1][0], max(made[-1][1], end)
        else:
            made.append((start, end))
    return made


def _keys(clicks: Sequence[RawHit], blocks: Sequence[tuple[int, int]]) -> set[str]:
    return {hit.key for start, end in blocks for hit in clicks[start:end]}
