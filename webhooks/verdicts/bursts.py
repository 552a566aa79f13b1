"""What only shows in several hits together: links that are followed faster than anybody reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from webhooks.hits import Kind
from webhooks.verdicts.facts import RawHit, Sent

QUICK = timedelta(seconds=5)  #: all links of a mail with two
WIDE = timedelta(seconds=10)  #: three links or more
MANY = 3
BEFORE = timedelta(seconds=10)  #: somebody who follows both links at once had the mail open by then


@dataclass(frozen=True, slots=True)
class Bursts:
    """Clicks that came in bursts, by key, and who made them."""

    sure: frozenset[str] = frozenset()
    pairs: frozenset[str] = frozenset()  #: both links of a mail with two: a person in a hurry does that as well
    clients: frozenset[tuple[str, str]] = frozenset()  #: address and agent of the sure ones


def find(sent: Sent, hits: Sequence[RawHit]) -> Bursts:
    """The bursts among hits, which are in order of time."""
    clicks = [hit for hit in hits if hit.kind == Kind.CLICK]
    sure = {hit.key for run in _runs(clicks, WIDE) if _links(run) >= MANY for hit in run}
    pairs = set()
    if sent.links == MANY - 1:
        pairs = {hit.key for run in _runs(clicks, QUICK) if _links(run) == sent.links for hit in run} - sure
    clients = {(hit.address, hit.agent) for hit in clicks if hit.key in sure and hit.address and hit.agent}
    return Bursts(frozenset(sure), frozenset(pairs), frozenset(clients))


def _runs(clicks: Sequence[RawHit], window: timedelta) -> list[Sequence[RawHit]]:
    """For each click, those from it on within the window."""
    found = []
    end = 0
    for start, first in enumerate(clicks):
        end = max(end, start)
        while end < len(clicks) and clicks[end].at - first.at <= window:
            end += 1
        found.append(clicks[start:end])
    return found


def _links(clicks: Sequence[RawHit]) -> int:
    return len({hit.link for hit in clicks})
