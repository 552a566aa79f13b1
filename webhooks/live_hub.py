"""Who watches what, in one web process: what the database tells goes to the open pages that it concerns.

All of it happens in the event loop; nothing here waits or locks.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tracker.access import TOPIC
from tracker.sessions import topic
from tracker.topics import Watch

USER_LIMIT = 12  # streams of one user; hidden tabs have none
JOURNAL_SECONDS = 600.0
JOURNAL_LIMIT = 5000  # changes


@dataclass(eq=False, slots=True)
class Page:
    """An open page. What it is to be told is a set of its own topics: bounded, and a burst is one message."""

    team_id: int
    user_key: str
    watch: Watch
    topics: set[str] = field(default_factory=set)
    refresh: bool = False  #: it missed something: it has to look at everything again
    surplus: bool = False  #: its user has too many streams: it has to poll
    gone: bool = False
    doubted: bool = False  #: a session of its user was ended, and it may be this one
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, hits: set[str]) -> None:
        """Something changed."""
        if hits:
            self.topics |= hits
            self.wake.set()

    def tell_refresh(self) -> None:
        """It may have missed something."""
        self.refresh = True
        self.wake.set()

    def doubt(self) -> None:
        """Have it asked again whether it is signed in."""
        self.doubted = True
        self.wake.set()

    def leave(self, *, surplus: bool = False) -> None:
        """End its stream."""
        self.surplus, self.gone = surplus, True
        self.wake.set()

    def take(self) -> tuple[bool, set[str]]:
        """What is to be said now: whether to look at everything again, else the topics."""
        told = self.refresh, self.topics
        self.refresh, self.topics = False, set()
        self.wake.clear()
        if self.gone:
            self.wake.set()
        return told


@dataclass(slots=True)
class Hub:
    """The open pages, and a journal for those that were away for a moment."""

    now: Callable[[], float] = time.monotonic
    pages: dict[int, list[Page]] = field(default_factory=lambda: defaultdict(list))  #: by team, the oldest first
    journal: deque[tuple[float, int, frozenset[str]]] = field(default_factory=deque)
    whole_since: float | None = None  #: the journal lacks nothing since then; None while nothing is heard

    def add(self, page: Page, age: float) -> None:
        """A page that was made (or last heard of us) `age` seconds ago; it learns what it missed."""
        self.pages[page.team_id].append(page)
        own = [one for one in self.pages[page.team_id] if one.user_key == page.user_key and not one.gone]
        if len(own) > USER_LIMIT:
            own[0].leave(surplus=True)
        since = self.now() - age
        if self.whole_since is None or since < self.whole_since:
            if age > 0:
                page.tell_refresh()
            return
        for at, team_id, told in self.journal:
            if at >= since and team_id == page.team_id:
                page.tell(page.watch.hits(told))

    def remove(self, page: Page) -> None:
        """A page that is closed."""
        left = self.pages[page.team_id]
        left.remove(page)
        if not left:
            del self.pages[page.team_id]

    def publish(self, team_id: int, told: frozenset[str]) -> None:
        """These topics of a team changed."""
        now = self.now()
        self.journal.append((now, team_id, told))
        while self.journal[0][0] < now - JOURNAL_SECONDS or len(self.journal) > JOURNAL_LIMIT:
            self.whole_since = self.journal.popleft()[0]
        for page in self.pages.get(team_id, ()):
            if TOPIC in told:  # somebody may see more or less: each is asked again who they are and what they see
                page.leave()
            page.tell(page.watch.hits(told))
            if topic(page.user_key) in told or topic("*") in told:
                page.doubt()

    def hearing(self) -> None:
        """From now on nothing is missed; what happened before may have been."""
        self.journal.clear()
        self.whole_since = self.now()
        for page in self.everybody():
            page.tell_refresh()

    def deaf(self) -> None:
        """From now on things are missed."""
        self.whole_since = None

    def everybody(self) -> list[Page]:
        """All open pages."""
        return [page for pages in self.pages.values() for page in pages]
