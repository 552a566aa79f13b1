"""Group commit: what came while the last commit was under way goes into the next, and is answered after it.

Hits that the database does not take go to the journal, and from there into the database when it is back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import uniform
from typing import Any, TypeVar

from webhooks import hit_journal
from webhooks.hit_journal import Full, Journal
from webhooks.hit_record import Hit
from webhooks.hit_store import Away, Store, latest

log = logging.getLogger(__name__)

MOST_AT_ONCE = 500  # hits in a commit
MOST_WAITING = 4  # commits that wait for the database; beyond, the journal takes them
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between two attempts to connect
LANES = 2  # connections: while one commit waits for the disk, the next is on its way
SHARE = 4  # of those who asked last so many parts, one of which makes a commit
GATHER = 0.002  # seconds that a commit waits for its part of those who asked last
LOOK = 2.0  # seconds between two looks at what others may have left in the folder
GRUMBLE = 10.0  # seconds between two words about hits that are lost
TAKING = 60.0  # seconds for a batch of the journal
NAME = "tracker hits"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch. Unknown tokens are kept nowhere, which pixels don't tell."""

    asked: bool  #: the database has answered; otherwise the journal was written, or nothing could be kept
    links: Mapping[str, str] = field(default_factory=dict)  #: where its links lead, by the hit's key


STORED, NOTED = Outcome(True), Outcome(False)


class _Kept(asyncio.Future[Outcome]):
    """What all who asked for a hit of a batch wait for: if one of them gives up, the others still wait."""

    def cancel(self, msg: Any = None) -> bool:
        """Not by a task that waits; the task itself is cancelled all the same."""
        return False


class _Batch:
    """Hits that are kept together."""

    def __init__(self) -> None:
        self.hits: dict[str, Hit] = {}
        self.done = _Kept(loop=asyncio.get_running_loop())


class Writer:
    """Keeps hits. `start` it before the first, `stop` it after the last: what waits is still kept."""

    def __init__(self, database_url: str, folder: Path, journal: Journal | None = None) -> None:
        """`database_url` is libpq's, `folder` is the journal's."""
        self.stores = [Store(database_url, f"{NAME} {number}") for number in range(1, LANES + 1)]
        self._taking = Store(database_url, f"{NAME}, taking in", TAKING)
        self.folder, self.journal = folder, journal or Journal(folder)
        self.lost = 0  #: hits that were answered and not kept
        self._batches: deque[_Batch] = deque()  #: only the last one takes more
        self._wake, self._enough = asyncio.Event(), asyncio.Event()
        self._back, self._gone = asyncio.Event(), asyncio.Event()
        self._expected = 1  # hits in the next commit
        self._under_way = 0  # hits in commits
        self._gathering = asyncio.Lock()
        self._ending = False
        self._turn = asyncio.Lock()  # of the journal
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="hits")
        self._tasks: list[asyncio.Task[None]] = []
        self._spilling: asyncio.Task[None] | None = None
        self._grumbled = -GRUMBLE

    async def start(self) -> None:
        """Begin; with the database, if it is there."""
        with suppress(Away):
            await self._connect()
            self._back.set()
        if not self._back.is_set():
            self._gone.set()
        works = [*(self._write(store) for store in self.stores), self._reconnect(), self._take_in()]
        self._tasks += map(asyncio.create_task, works)

    async def stop(self) -> None:
        """Keep what waits, and end."""
        self._ending = True
        self._wake.set()
        writing, others = self._tasks[:LANES], self._tasks[LANES:]
        for task in others:
            task.cancel()
        await asyncio.gather(*writing, *([self._spilling] if self._spilling else []))
        await asyncio.gather(*others, return_exceptions=True)
        for store in self.stores:
            await store.close()
        await self._taking.close()
        self.journal.close()
        self._disk.shutdown()

    def keep(self, hit: Hit) -> asyncio.Future[Outcome]:
        """Keep a hit, or the new count of one; done when it is durable."""
        batches = self._batches
        if not batches or len(batches[-1].hits) >= MOST_AT_ONCE:
            self._begin()
        batch = batches[-1]
        batch.hits[hit.key] = hit
        if len(batch.hits) >= self._expected:
            self._enough.set()
        return batch.done

    def _begin(self) -> None:
        self._batches.append(_Batch())
        self._wake.set()
        if len(self._batches) > MOST_WAITING and self._spilling is None:
            self._spilling = asyncio.create_task(self._spill())

    # -- writing

    async def _write(self, store: Store) -> None:
        while True:
            await self._wake.wait()
            if self._batches:
                async with self._gathering:
                    await self._gather()
                    if not self._batches:  # the journal took them meanwhile
                        continue
                    batch = self._batches.popleft()
                    self._expect(batch)
                await self._keep(store, batch)
                self._under_way -= len(batch.hits)
            elif self._ending:
                return
            else:
                self._wake.clear()

    async def _gather(self) -> None:
        """Those who were just answered are about to ask again. A commit for the first of them alone would make all
        the others wait for two; one for a part of them is under way while another part is answered."""
        if self._batches and len(self._batches[0].hits) < self._expected and not self._ending:
            self._enough.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER):
                    await self._enough.wait()

    def _expect(self, batch: _Batch) -> None:
        self._under_way += len(batch.hits)
        asking = self._under_way + sum(len(one.hits) for one in self._batches)
        self._expected = min(asking, MOST_AT_ONCE) // SHARE

    async def _keep(self, store: Store, batch: _Batch) -> None:
        try:
            links = await store.keep([hit.line() for hit in batch.hits.values()])
        except Away as away:
            self._is_away(away)
            await self._note(batch)
        except Exception:
            log.exception("Hits could not be written to the database")
            await self._note(batch)
        else:
            batch.done.set_result(Outcome(True, links) if links else STORED)
            await self._leave_journal()

    async def _leave_journal(self) -> None:
        """Of our own journal nothing more is needed: it can be taken in."""
        if self.journal.is_open and self._spilling is None:
            async with self._turn:
                self.journal.close()

    async def _spill(self) -> None:
        """More wait than the database takes: the journal takes them until few do."""
        log.warning("More hits come than the database takes: the journal takes them")
        try:
            while len(self._batches) > MOST_WAITING // 2:
                await self._note(self._batches.popleft())
        finally:
            self._spilling = None

    async def _note(self, batch: _Batch) -> None:
        """Append to the journal; whoever floods us has only the first half of it."""
        async with self._turn:
            half_full = self.journal.half_full
            lines = [hit.line() for hit in batch.hits.values() if not (hit.flood and half_full)]
            try:
                await self._on_disk(lambda: self.journal.append(lines))
            except Full as full:
                self._lose(len(batch.hits), str(full))
            else:
                self._lose(len(batch.hits) - len(lines), "the journal's room for floods is used up")
        batch.done.set_result(NOTED)

    def _lose(self, number: int, why: str) -> None:
        self.lost += number
        if number and time.monotonic() - self._grumbled >= GRUMBLE:
            self._grumbled = time.monotonic()
            log.error("Hits are lost, %d so far: the database is away and %s", self.lost, why)

    async def _on_disk(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    # -- the database going and coming back

    def _is_away(self, away: Away) -> None:
        if self._back.is_set():
            log.warning("The database takes no hits (%s): the journal takes them", away)
        self._back.clear()
        self._gone.set()

    async def _connect(self) -> None:
        for store in self.stores:
            if not store.connected:
                await store.connect()

    async def _reconnect(self) -> None:
        failures = 0
        while True:
            await self._gone.wait()
            try:
                await self._connect()
            except Away:
                await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)] * uniform(0.7, 1.3))  # noqa: S311
                failures += 1
                continue
            failures = 0
            self._gone.clear()
            self._back.set()

    # -- taking in

    async def _take_in(self) -> None:
        """Whatever was left in the folder, by us or by a process that was killed."""
        while True:
            await self._back.wait()
            try:
                await self._take_in_all()
            except Away as away:
                log.info("The journal is taken in later (%s)", away)
            except Exception:
                log.exception("The journal could not be taken in; we try again")
            await asyncio.sleep(LOOK if self._back.is_set() else 0)

    async def _take_in_all(self) -> None:
        await self._leave_journal()
        for path in hit_journal.waiting(self.folder):
            with hit_journal.left(path) as left:
                if left is None:
                    continue
                count = 0
                for lines in left.batches(MOST_AT_ONCE):
                    count += len(lines)
                    await self._store_again(lines)
                left.remove()
                log.info("The journal %s is taken in: %d hit(s)", path.name, count)
        await self._taking.close()

    async def _store_again(self, lines: Sequence[str]) -> None:
        if not self._taking.connected:
            await self._taking.connect()
        await self._taking.keep(latest(lines))
