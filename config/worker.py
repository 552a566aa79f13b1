"""The worker process: clock and job runner."""

from __future__ import annotations

import asyncio
import gc
from functools import partial

from config.rooms import Rooms
from gmail_sync import sync
from scheduler.clock import Clock, Tick
from tracker import facts, totals
from tracker.db import Sessions, transaction

LOOK_SECONDS = 5.0  # how soon a lost wake-up is noticed
CHECK_SECONDS = 300.0
TIDY_SECONDS = 60.0  # totals are added up, and some boxes' facts looked over


def ticks(rooms: Rooms) -> list[Tick]:
    """The one table of ticks."""
    look = min(LOOK_SECONDS, float(rooms.settings.poll_seconds))
    return [
        Tick("gmail_sync.wake", look, partial(sync.wake_due, rooms.jobs, rooms.gmail)),
        Tick("gmail_sync.check", CHECK_SECONDS, partial(sync.check_due, rooms.jobs, rooms.gmail)),
        Tick("totals.add_up", TIDY_SECONDS, partial(add_up, rooms.sessions)),
        Tick("facts.audit", TIDY_SECONDS, partial(audit, rooms.sessions, facts.Audit())),
    ]


def add_up(sessions: Sessions) -> None:
    """Make one row of a stage's many differences."""
    with transaction(sessions) as session:
        totals.add_up(session)


def audit(sessions: Sessions, round_: facts.Audit) -> None:
    """Look over the next boxes' facts; those that are urgent all at once, in a transaction for some."""
    urgent = True
    while urgent:
        with transaction(sessions) as session:
            urgent = round_.step(session)


def settle_memory() -> None:
    """Keep the garbage collector from walking through all loaded code again and again.

    A reading makes many objects that live as long as a batch: with Python's default threshold a tenth of its time
    is spent on looking for cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def run(rooms: Rooms) -> None:
    """Work until a signal says stop; jobs under way are finished first."""
    settle_memory()
    sync.register(rooms.jobs, rooms.gmail)
    clock = Clock(ticks(rooms))
    clock.start()
    try:
        asyncio.run(
            rooms.jobs.work(
                concurrency=rooms.settings.worker_concurrency,
                stalled_seconds=rooms.settings.worker_stalled_seconds,
            )
        )
    finally:
        clock.stop()
        rooms.close()
