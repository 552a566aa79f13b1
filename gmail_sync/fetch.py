"""Fetch: bring wanted messages, several batches under way at once, each stored in a commit of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from gmail_sync import apply, wanted
from gmail_sync.budget import READING_SHARE
from gmail_sync.client import BATCH_SIZE
from gmail_sync.errors import GmailError, NotFound, Transient
from gmail_sync.parse import ParsedMessage
from gmail_sync.session import Sync
from gmail_sync.wanted import MESSAGE_COST, THREAD_COST, Fetch

log = logging.getLogger(__name__)

UNDER_WAY = 3  # batches; with what waits to be stored this bounds the memory
MESSAGES_A_BATCH = 100
HELPING = 10.0  # seconds of old mail between two looks for new mail
UNITS_A_BATCH = 1000  # a sixth of a minute's quota: new mail need not wait long behind old mail


@dataclass(slots=True)
class Batch:
    """Calls that go to Gmail together."""

    fetches: list[Fetch] = field(default_factory=list)
    calls: int = 0
    messages: int = 0
    units: int = 0

    def fits(self, fetch: Fetch, units: int) -> bool:
        """Whether one more thread keeps the batch within its bounds."""
        calls = 1 if fetch.whole_thread else len(fetch.gmail_ids)
        return (
            self.calls + calls <= BATCH_SIZE
            and self.messages + len(fetch.gmail_ids) <= MESSAGES_A_BATCH
            and self.units + fetch.units <= units
        )

    def add(self, fetch: Fetch) -> None:
        """Add a thread."""
        self.fetches.append(fetch)
        self.calls += 1 if fetch.whole_thread else len(fetch.gmail_ids)
        self.messages += len(fetch.gmail_ids)
        self.units += fetch.units


@dataclass(frozen=True, slots=True)
class Brought:
    """One answer, parsed: the messages that are the tracker's business, and the ids of all that came."""

    id: str
    mails: list[ParsedMessage]
    ids: frozenset[str]
    error: GmailError | None


def batches(fetches: Iterable[Fetch], units: int = UNITS_A_BATCH) -> Iterator[Batch]:
    """Pack threads into batches of at most so many units, in order."""
    batch = Batch()
    for fetch in _cut(fetches, min(BATCH_SIZE, units // MESSAGE_COST)):
        if batch.fetches and not batch.fits(fetch, units):
            yield batch
            batch = Batch()
        batch.add(fetch)
    if batch.fetches:
        yield batch


def _units_a_batch(sync: Sync) -> int:
    """At most half of a minute's: a batch that needs the whole window waits for ever behind small calls."""
    return min(UNITS_A_BATCH, max(THREAD_COST, int(sync.services.units_per_minute * READING_SHARE) // 2))


def _cut(fetches: Iterable[Fetch], most: int) -> Iterator[Fetch]:
    """A thread that must be asked for message by message may be larger than a batch."""
    for fetch in fetches:
        if fetch.whole_thread or len(fetch.gmail_ids) <= most:
            yield fetch
            continue
        for start in range(0, len(fetch.gmail_ids), most):
            yield Fetch(fetch.gmail_thread_id, fetch.gmail_ids[start : start + most], fetch.tried)


def fetch_some(sync: Sync, seconds: float = HELPING) -> int:
    """Fetch wanted messages for some seconds and store them; how many threads were tried.

    Nothing is under way when it returns. Raises `Transient` if Gmail puts us off; what came before is stored.
    """
    tried = 0
    under_way: set[str] = set()
    with ThreadPoolExecutor(max_workers=UNDER_WAY, thread_name_prefix="gmail") as pool:
        waiting: list[tuple[Batch, Future[list[Brought]]]] = []
        try:
            for batch in batches(_planned(sync, under_way, time.monotonic() + seconds), _units_a_batch(sync)):
                tried += len(batch.fetches)
                waiting.append((batch, pool.submit(_ask, sync, batch)))
                if len(waiting) > UNDER_WAY:
                    _store_next(sync, waiting, under_way)
            while waiting:
                _store_next(sync, waiting, under_way)
        except BaseException:
            _store_arrived(sync, waiting)
            raise
    return tried


def _planned(sync: Sync, under_way: set[str], end: float) -> Iterator[Fetch]:
    """Plan upon plan without a pause between them, so that Gmail always has something to answer."""
    while True:
        with sync.transaction() as session:
            planned = wanted.plan(session, sync.mailbox.id, sync.now, besides=under_way)
        under_way.update(fetch.gmail_thread_id for fetch in planned)
        for fetch in planned:
            yield fetch
            if time.monotonic() > end:
                return
        if not planned:
            return


def _store_next(sync: Sync, waiting: list[tuple[Batch, Future[list[Brought]]]], under_way: set[str]) -> None:
    batch, answer = waiting.pop(0)
    _store(sync, batch, answer)
    under_way.difference_update(fetch.gmail_thread_id for fetch in batch.fetches)


def _store_arrived(sync: Sync, waiting: Sequence[tuple[Batch, Future[list[Brought]]]]) -> None:
    """One batch failed; the units of the others are spent: keep what they bring."""
    for batch, future in waiting:
        if future.cancel() or future.exception() is not None:
            continue
        try:
            _store(sync, batch, future)
        except Transient:
            continue


def _ask(sync: Sync, batch: Batch) -> list[Brought]:
    """Ask Gmail and parse, beside the thread that stores."""
    threads = [fetch.gmail_thread_id for fetch in batch.fetches if fetch.whole_thread]
    messages = [id_ for fetch in batch.fetches if not fetch.whole_thread for id_ in fetch.gmail_ids]
    return [
        Brought(
            got.id,
            apply.parse_visible(got.messages),
            frozenset(str(resource.get("id")) for resource in got.messages),
            got.error,
        )
        for got in sync.gmail.get(threads, messages)
    ]


def _store(sync: Sync, batch: Batch, answer: Future[list[Brought]]) -> None:
    brought = {one.id: one for one in answer.result()}
    now = sync.now
    with sync.transaction() as session:
        mails = [mail for one in brought.values() for mail in one.mails]
        apply.store(session, sync.mailbox, mails, now)
        _settle(session, sync, batch, brought)
    for one in brought.values():
        if isinstance(one.error, Transient):
            raise one.error


def _settle(session: Session, sync: Sync, batch: Batch, brought: Mapping[str, Brought]) -> None:
    """What became of each call's wishes: fetched, put off, refused, or not there (yet)."""
    mailbox_id = sync.mailbox.id
    fetched: list[str] = []
    lacking: list[str] = []
    for fetch in batch.fetches:
        for asked, ids in _asked(fetch):
            one = brought.get(asked)
            error = one.error if one else None
            if isinstance(error, Transient):
                continue
            if error is not None and not isinstance(error, NotFound):
                wanted.refused(session, mailbox_id, ids, str(error), sync.now)
                continue
            here = one.ids if one else frozenset()
            fetched += [id_ for id_ in ids if id_ in here]
            lacking += [id_ for id_ in ids if id_ not in here]
    wanted.settle(session, mailbox_id, fetched)
    if lacking and wanted.missed(session, mailbox_id, lacking, sync.now):
        log.info("%s: an announced message is gone", sync.mailbox.address)


def _asked(fetch: Fetch) -> list[tuple[str, tuple[str, ...]]]:
    """Each id that was asked for, with the wanted messages that it stands for."""
    if fetch.whole_thread:
        return [(fetch.gmail_thread_id, fetch.gmail_ids)]
    return [(id_, (id_,)) for id_ in fetch.gmail_ids]
