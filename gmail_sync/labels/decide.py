"""The decision about threads and boxes: a three-way merge of Gmail, Tracker and what both last agreed on. Pure.

*Later* is told by dates where one side returned to what was agreed: a change in Gmail is dated by when we first
heard of it, a change in Tracker by when it was decided (docs/labels.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

ADDED, REMOVED, ARRIVED = "added", "removed", "arrived"


class Outcome(StrEnum):
    """What is to be done about one thread and one box."""

    AGREED = "agreed"
    TO_TRACKER = "to tracker"  # what Gmail says
    TO_GMAIL = "to gmail"  # what Tracker says


@dataclass(frozen=True, slots=True)
class Pair:
    """One thread of a mailbox and one box."""

    gmail: bool  #: the thread carries a label of the box
    tracker: bool  #: its conversation is in the box
    base: bool  #: what both last agreed on
    pushing: bool | None = None  #: what we were about to tell Gmail, or had told it, when we were cut off
    how: str | None = None  #: what was heard of the label since, the last: `added`, `removed`, `arrived`
    twice: bool = False  #: more was heard: both put on and taken off
    heard_at: datetime | None = None
    decided_at: datetime | None = None  #: when Tracker's word was said, by whomever
    taken_out: bool = False  #: by a person, in Tracker

    @property
    def by_hand(self) -> bool:
        """Whether somebody changed the label in Gmail since both agreed."""
        return self.how in (ADDED, REMOVED) and not self.is_echo

    @property
    def is_echo(self) -> bool:
        """Whether Gmail says what we were telling it: then what we heard is our own voice."""
        return self.pushing is not None and self.gmail == self.pushing and not self.twice


def decide(pair: Pair) -> Outcome:
    """What is to be done about one pair, for itself."""
    if pair.gmail == pair.tracker:
        return Outcome.AGREED
    base = pair.gmail if pair.is_echo else pair.base
    gmail_changed = pair.gmail != base  # of two values that differ, exactly one is the base's
    later = pair.heard_at is not None and (pair.decided_at is None or pair.heard_at > pair.decided_at)
    if gmail_changed:
        return Outcome.TO_TRACKER if _is_wish(pair) and later else Outcome.TO_GMAIL
    # Tracker changed; Gmail is where it was. Somebody may have changed it twice there, the second time later.
    twice = pair.by_hand and later and pair.decided_at is not None and (pair.how == ADDED) == pair.gmail
    return Outcome.TO_TRACKER if twice else Outcome.TO_GMAIL


def _is_wish(pair: Pair) -> bool:
    """Whether what Gmail says is somebody's wish.

    A label that only came or went with a mail (a filter, a mail deleted) outranks no person's word, and takes
    nothing out of a box.
    """
    if pair.by_hand:
        return True
    return pair.gmail and pair.how == ARRIVED and not pair.taken_out


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done about a conversation and a box in one mailbox."""

    to_tracker: bool | None  #: put in (True), take out (False), nothing
    heard_at: datetime | None  #: when the word that counts was heard
    tracker: bool  #: what Tracker says afterwards: Gmail is told wherever it says otherwise


def decide_all(pairs: Sequence[Pair]) -> Verdict:
    """The threads of one conversation: it is in a box or not, so the last word about any of them counts."""
    tracker = pairs[0].tracker
    moving = [pair.heard_at for pair in pairs if decide(pair) is Outcome.TO_TRACKER and pair.heard_at is not None]
    if not moving:
        return Verdict(None, None, tracker)
    last = max(moving)
    staying = [
        pair.heard_at for pair in pairs if pair.gmail == tracker and pair.by_hand and pair.heard_at is not None
    ]
    if staying and max(staying) > last:
        return Verdict(None, None, tracker)
    return Verdict(not tracker, last, not tracker)
