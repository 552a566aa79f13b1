"""Calls: what threads are to carry, as the cheapest calls to Gmail that bring it about. Pure.

All of them may be repeated: what carries a label already keeps it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gmail_sync.budget import UNITS

BATCH = 1000  # ids of one batchModify
MESSAGE, THREAD, BATCHED = "messages.modify", "threads.modify", "messages.batchModify"


@dataclass(frozen=True, slots=True)
class Change:
    """What one thread is to gain and lose; `messages` are those that this concerns, `alone` the only one."""

    thread_id: str
    add: frozenset[str]
    remove: frozenset[str]
    messages: tuple[str, ...]
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One call; `ids` are messages, or the one thread."""

    method: str
    ids: tuple[str, ...]
    add: tuple[str, ...]
    remove: tuple[str, ...]
    threads: tuple[str, ...]

    @property
    def units(self) -> int:
        """What it costs."""
        return UNITS[self.method]


def plan(changes: Iterable[Change]) -> list[Call]:
    """The cheapest calls for these changes."""
    alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Change]] = defaultdict(list)
    for change in changes:
        if change.messages and (change.add or change.remove):
            alike[tuple(sorted(change.add)), tuple(sorted(change.remove))].append(change)
    return [call for (add, remove), group in sorted(alike.items()) for call in _cheapest(add, remove, group)]


def _cheapest(add: tuple[str, ...], remove: tuple[str, ...], group: Sequence[Change]) -> list[Call]:
    single = [_single(add, remove, change) for change in group]
    batches = [
        Call(
            BATCHED,
            tuple(id_ for one in some for id_ in one.messages),
            add,
            remove,
            tuple(one.thread_id for one in some),
        )
        for some in _batches(group)
    ]
    return batches if sum(one.units for one in batches) < sum(one.units for one in single) else single


def _single(add: tuple[str, ...], remove: tuple[str, ...], change: Change) -> Call:
    if change.alone and len(change.messages) == 1:
        return Call(MESSAGE, change.messages, add, remove, (change.thread_id,))
    return Call(THREAD, (change.thread_id,), add, remove, (change.thread_id,))


def _batches(group: Sequence[Change]) -> Iterator[list[Change]]:
    some: list[Change] = []
    room = BATCH
    for change in group:
        if some and len(change.messages) > room:
            yield some
            some, room = [], BATCH
        some.append(change)
        room -= len(change.messages)
    if some:
        yield some
