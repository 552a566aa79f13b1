"""The clock: one table of ticks, run in every worker. The only importer of apscheduler.

A tick only queues what is due, so that two workers ticking do no harm. Nothing is kept in the clock: what is
due is told by rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from apscheduler.schedulers.background import BackgroundScheduler

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tick:
    """Something to look at again and again."""

    name: str
    seconds: float
    run: Callable[[], None]


class Clock:
    """Runs ticks until stopped."""

    def __init__(self, ticks: Sequence[Tick]) -> None:
        self._scheduler = BackgroundScheduler(timezone="UTC")
        for tick in ticks:
            self._scheduler.add_job(
                _guarded,
                "interval",
                args=[tick],
                id=tick.name,
                seconds=tick.seconds,
                coalesce=True,  # after a pause one tick is enough
                max_instances=1,
                misfire_grace_time=None,
            )
        self._ticks = ticks

    def start(self) -> None:
        """Tick once at once, then at each interval."""
        for tick in self._ticks:
            _guarded(tick)
        self._scheduler.start()

    def stop(self) -> None:
        """Stop; a tick under way is not waited for (it only queues)."""
        self._scheduler.shutdown(wait=False)


def _guarded(tick: Tick) -> None:
    try:
        tick.run()
    except Exception:
        # The database may be away for a while: the next tick looks again.
        log.exception("The tick %s failed", tick.name)
