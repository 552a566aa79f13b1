"""Jobs: the only importer of procrastinate. A domain row is the truth, a job only the wake-up.

A lost job is no harm: a tick queues again whatever its row still asks for. Jobs are coarse, one per mailbox,
with a lock so that one worker at a time is on it, and a queueing lock so that a wish is queued once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import procrastinate
import procrastinate.exceptions
from procrastinate.jobs import Status
from sqlalchemy import text
from sqlalchemy.orm import Session

from tracker.db import plain_url

log = logging.getLogger(__name__)


class Again(Exception):
    """Raised by a job: nothing is wrong, run me again after `seconds`."""

    def __init__(self, seconds: float, why: str) -> None:
        super().__init__(why)
        self.seconds = seconds


class Jobs:
    """The queue, over one database."""

    def __init__(self, database_url: str) -> None:
        self._connector = procrastinate.PsycopgConnector(
            conninfo=plain_url(database_url), kwargs={"connect_timeout": 10}, min_size=1, max_size=6
        )
        self.app = procrastinate.App(connector=self._connector)
        self._sync: procrastinate.App | None = None
        self._opening = threading.Lock()
        self._url = plain_url(database_url)

    def register(self, name: str, function: Callable[..., None], lock: Callable[..., str]) -> None:
        """Say which function a job's name means, in the worker; `lock` names its lock from its arguments."""

        def run(**arguments: Any) -> None:
            try:
                function(**arguments)
            except Again as again:
                log.info("%s %s again in %.0f s: %s", name, arguments, again.seconds, again)
                self.defer(name, lock=lock(**arguments), seconds=max(1, round(again.seconds)), **arguments)

        self.app.task(name=name)(run)

    def open(self) -> None:
        """Open the connections that `defer` uses."""
        with self._opening:
            self._open()

    def _open(self) -> None:
        if self._sync is None:
            connector = procrastinate.SyncPsycopgConnector(
                conninfo=self._url, min_size=1, max_size=4, kwargs={"connect_timeout": 10}
            )
            self._sync = procrastinate.App(connector=connector)
            self._sync.open()

    def close(self) -> None:
        """Close them."""
        if self._sync is not None:
            self._sync.close()
            self._sync = None

    def defer(self, name: str, *, lock: str, seconds: int = 0, **arguments: Any) -> bool:
        """Queue a job, now or in `seconds`; jobs with the same `lock` run one after the other.

        Returns whether it was queued: a job of that name and arguments that waits already is enough.
        """
        self.open()
        assert self._sync is not None
        wish = ":".join([name, *(f"{value}" for _, value in sorted(arguments.items()))])
        # A job put off must not keep an immediate one waiting: it has a queueing lock of its own and no lock at
        # all, since procrastinate holds back every job behind an earlier one of the same lock, due or not.
        options: dict[str, Any] = {"lock": lock, "queueing_lock": wish}
        if seconds:
            later = {"seconds": seconds}
            options = {"lock": None, "queueing_lock": f"{wish}:later", "schedule_in": later}
        try:
            self._sync.configure_task(name, **options).defer(**arguments)
        except procrastinate.exceptions.AlreadyEnqueued:
            return False
        return True

    async def work(self, *, concurrency: int, stalled_seconds: float) -> None:
        """Run jobs until told to stop by a signal."""
        async with self.app.open_async():
            rescuing = asyncio.create_task(self._rescue_forever(stalled_seconds))
            try:
                await self.app.run_worker_async(
                    concurrency=concurrency,
                    fetch_job_polling_interval=min(5.0, stalled_seconds),
                    update_heartbeat_interval=max(0.5, stalled_seconds / 3),
                    stalled_worker_timeout=stalled_seconds,
                    delete_jobs="always",
                    shutdown_graceful_timeout=20,
                )
            finally:
                rescuing.cancel()

    async def _rescue_forever(self, stalled_seconds: float) -> None:
        while True:
            try:
                await self.rescue(stalled_seconds)
            except procrastinate.exceptions.ConnectorException:
                log.warning("Could not look for stalled jobs; trying again", exc_info=True)
            await asyncio.sleep(max(0.5, stalled_seconds / 3))

    async def rescue(self, stalled_seconds: float) -> int:
        """Take over what dead workers left in *doing*; returns how many jobs there were."""
        manager = self.app.job_manager
        stalled = list(await manager.get_stalled_jobs(seconds_since_heartbeat=stalled_seconds))
        for job in stalled:
            try:
                await manager.retry_job(job)
            except procrastinate.exceptions.ConnectorException:
                # The same work waits in the queue already (its queueing lock is taken): this one is moot.
                assert job.id is not None
                await manager.finish_job_by_id_async(job.id, Status.FAILED, delete_job=True)
        return len(stalled)


def workers(session: Session, stalled_seconds: float) -> int:
    """How many workers have shown a sign of life lately."""
    query = text(
        "SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - make_interval(secs => :s)"
    )
    return int(session.scalar(query, {"s": stalled_seconds}) or 0)


def queue_length(session: Session) -> int:
    """How many jobs wait or run."""
    query = text("SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')")
    return int(session.scalar(query) or 0)
