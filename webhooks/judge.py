"""The judge: a thread of the worker that hears of hits and judges them at once, and looks now and then anyway.

It LISTENs on a connection of its own. Whatever it does not hear is found by the next look, so nothing depends on a
notification: without the database it waits, and goes on when that is back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from tracker.db import Sessions, plain_url, transaction
from webhooks import answers, hit_intake, reads
from webhooks.hits import CHANNEL
from webhooks.verdicts import Network

log = logging.getLogger(__name__)

NAME = "tracker judge"  # as the server's list of connections calls it
PAUSE = 2.0  # seconds between two looks if nothing is heard
STEP = 0.5  # seconds of listening or judging at a time, so that stopping and answers wait no longer
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds, while the database is away
OVERLAP = timedelta(seconds=10)  # between two looks: a report may be committed a little late
AT_ONCE = 100  # mails judged in a transaction


class Judge:
    """Judges in a thread of its own; `step` alone does a round of it."""

    def __init__(
        self,
        sessions: Sessions,
        database_url: str,
        now: Callable[[], datetime],
        scanners: Sequence[Network] = (),
    ) -> None:
        self._sessions, self._url, self._now = sessions, plain_url(database_url), now
        self._scanners = tuple(scanners)
        self._answers = answers.Round()
        self._looked: datetime | None = None
        self._due: datetime | None = None  # when there is something to do, whether something is heard or not
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in the background."""
        self._thread = threading.Thread(target=self._run, name="judge", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what is under way and stop."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def step(self) -> int:
        """Judge what waits, for half a second at most; returns how many mails."""
        judged, until = 0, time.monotonic() + STEP
        awaited, self._due = self._due is not None, None
        while not self._stopping.is_set():
            now = self._now()
            with transaction(self._sessions) as session:
                taken = hit_intake.take_in_some(session)
            with transaction(self._sessions) as session:
                found = reads.judge_some(session, now, AT_ONCE, self._scanners)
                if not found and (judged or awaited):
                    self._due = reads.next_tell_at(session, now)
            judged += found
            if not found and taken < hit_intake.MOST:
                break
            if time.monotonic() >= until:
                self._due = now  # more may wait: soon again, after whatever else is to be done
                break
        return judged

    def look_around(self) -> None:
        """Look for what is learnt of the own side, for answers, and for what older rules judged."""
        now = self._now()
        with transaction(self._sessions) as session:
            reads.again_for_views(session, (self._looked or now) - OVERLAP)
        self._looked = now
        self.step()
        with transaction(self._sessions) as session:
            self._answers.step(session, now)
        with transaction(self._sessions) as session:
            reads.rejudge_some(session, now, AT_ONCE, self._scanners)

    # -- the loop

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                with psycopg.connect(
                    self._url, autocommit=True, connect_timeout=10, application_name=NAME
                ) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    while not self._stopping.is_set():
                        self.step()
                        self.look_around()
                        failures = 0
                        self._listen(connection)
            except (psycopg.Error, SQLAlchemyError, OSError) as error:
                if failures == 0:
                    log.warning(
                        "The judge lost the database (%s); trying again", str(error).strip().split("\n")[0]
                    )
                self._stopping.wait(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1
            except Exception:
                log.exception("Judging failed")
                self._stopping.wait(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1

    def _listen(self, connection: psycopg.Connection) -> None:
        """Judge whatever is heard, until it is time to look around."""
        # By the clock: what is heard without an end must not keep answers waiting.
        until = time.monotonic() + PAUSE
        while time.monotonic() < until and not self._stopping.is_set():
            heard = list(connection.notifies(timeout=self._patience(), stop_after=1))
            if heard or self._is_due():
                self.step()

    def _is_due(self) -> bool:
        return self._due is not None and self._due <= self._now()

    def _patience(self) -> float:
        """How long to listen, in seconds: less if a click that is held may be told sooner."""
        if self._due is None:
            return STEP
        return min(STEP, max(0.0, (self._due - self._now()).total_seconds()))
