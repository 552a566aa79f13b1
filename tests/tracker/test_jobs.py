"""The queue: a wish is queued once, a dead worker's job is taken over, a lost job is queued again."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import text

from config import teams
from gmail_sync import sync
from gmail_sync.oauth import Google
from gmail_sync.session import Services
from gmail_sync.vault import Vault
from tests.gmail_sync.processes import sql
from tests.loops import apart
from tracker import mailboxes
from tracker.db import Sessions, transaction, utc_now
from tracker.jobs import Again, Jobs, queue_length, workers
from tracker.mailboxes import Mailbox, State

JOB_CAME_IN = json.dumps({"type": "job_inserted", "job_id": 0})
ALICE = "alice@team.example"


@pytest.fixture
def jobs(database_url: str) -> Iterator[Jobs]:
    """The queue in the test's database."""
    made = Jobs(database_url)
    yield made
    made.close()


def queued(sessions: Sessions) -> list[tuple[str, str, float]]:
    """What waits: name, status, and in how many seconds it is due."""
    query = text(
        "SELECT task_name, status, coalesce(extract(epoch FROM scheduled_at - now()), 0) FROM procrastinate_jobs "
        "ORDER BY id"
    )
    with sessions() as session:
        return [(row[0], row[1], float(row[2])) for row in session.execute(query)]


def work(jobs: Jobs, done: Callable[[], bool], seconds: float = 15.0, *, hurried: Sessions | None = None) -> bool:
    """Work in this thread until `done`; whether it came true.

    `hurried`: the worker is told again and again that a job came in, so that nobody waits for its next look.
    """

    async def run() -> bool:
        worker = asyncio.create_task(jobs.work(concurrency=2, stalled_seconds=1.0))
        ends = time.monotonic() + seconds
        while not (came_true := done()) and time.monotonic() < ends and not worker.done():
            await asyncio.sleep(0.05)
            if hurried is not None:
                sql(hurried, "SELECT pg_notify('procrastinate_any_queue_v1', :told)", told=JOB_CAME_IN)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        return came_true

    return apart(run())


def lock(**_: int) -> str:
    """One lock for all."""
    return "mailbox:1"


def test_fifty_wakes_queue_one_job(jobs: Jobs, sessions: Sessions) -> None:
    outcomes = [jobs.defer("sync", lock="mailbox:1", mailbox_id=1) for _ in range(50)]
    assert outcomes == [True] + [False] * 49
    assert queued(sessions) == [("sync", "todo", 0.0)]


def test_wakes_by_several_threads_at_once_queue_one_job(jobs: Jobs, sessions: Sessions) -> None:
    outcomes: list[bool] = []
    jobs.open()
    threads = [
        threading.Thread(target=lambda: outcomes.append(jobs.defer("sync", lock="mailbox:1", mailbox_id=1)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (outcomes.count(True), outcomes.count(False)) == (1, 19)
    assert len(queued(sessions)) == 1


def test_jobs_on_different_mailboxes_don_t_keep_each_other_out(jobs: Jobs, sessions: Sessions) -> None:
    assert jobs.defer("sync", lock="mailbox:1", mailbox_id=1)
    assert jobs.defer("sync", lock="mailbox:2", mailbox_id=2)
    assert jobs.defer("check", lock="mailbox:1", mailbox_id=1)
    with sessions() as session:
        assert queue_length(session) == 3


def test_a_job_put_off_does_not_keep_an_immediate_one_out(jobs: Jobs, sessions: Sessions) -> None:
    assert jobs.defer("sync", lock="mailbox:1", seconds=60, mailbox_id=1)
    assert not jobs.defer("sync", lock="mailbox:1", seconds=60, mailbox_id=1)
    assert jobs.defer("sync", lock="mailbox:1", mailbox_id=1)
    assert len(queued(sessions)) == 2


def test_again_queues_the_job_for_later(jobs: Jobs, sessions: Sessions) -> None:
    runs: list[int] = []

    def job(mailbox_id: int) -> None:
        runs.append(mailbox_id)
        raise Again(30, "Gmail asks to wait")

    jobs.register("sync", job, lock)
    jobs.defer("sync", lock="mailbox:1", mailbox_id=7)
    assert work(jobs, lambda: [status for _, status, _ in queued(sessions)] == ["todo"] and runs == [7])
    [(name, _, due)] = queued(sessions)
    assert name == "sync"
    assert 20 < due <= 30


def test_a_job_that_fails_leaves_the_worker_working(jobs: Jobs, sessions: Sessions) -> None:
    runs: list[int] = []

    def job(mailbox_id: int) -> None:
        runs.append(mailbox_id)
        if mailbox_id == 1:
            raise RuntimeError("a bug")

    jobs.register("sync", job, lambda mailbox_id: f"mailbox:{mailbox_id}")
    for mailbox_id in (1, 2):
        jobs.defer("sync", lock=f"mailbox:{mailbox_id}", mailbox_id=mailbox_id)
    assert work(jobs, lambda: sorted(runs) == [1, 2] and not queued(sessions))


def test_jobs_with_one_lock_run_one_after_the_other(jobs: Jobs, sessions: Sessions) -> None:
    under_way, most, runs = [0], [0], []

    def job(number: int) -> None:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        time.sleep(0.1)
        under_way[0] -= 1
        runs.append(number)

    jobs.register("sync", job, lock)
    for number in range(2):
        jobs.defer("sync", lock="mailbox:1", number=number)
    assert work(jobs, lambda: len(runs) == 2, hurried=sessions)
    assert most == [1]


def abandoned(sessions: Sessions, seconds: float) -> None:
    """The waiting job is being done by a worker that was last heard of so long ago."""
    sql(sessions, "INSERT INTO procrastinate_workers DEFAULT VALUES")
    sql(
        sessions,
        "UPDATE procrastinate_workers SET last_heartbeat = now() - make_interval(secs => :s)",
        s=seconds,
    )
    sql(
        sessions,
        "UPDATE procrastinate_jobs SET status = 'doing', worker_id = (SELECT max(id) FROM procrastinate_workers)",
    )


def test_a_dead_worker_s_job_is_taken_over(jobs: Jobs, sessions: Sessions) -> None:
    runs: list[int] = []
    jobs.register("sync", lambda mailbox_id: runs.append(mailbox_id), lock)
    jobs.defer("sync", lock="mailbox:1", mailbox_id=7)
    abandoned(sessions, 60)
    assert work(jobs, lambda: runs == [7] and not queued(sessions), hurried=sessions)


def test_a_living_worker_s_job_is_left_alone(jobs: Jobs, sessions: Sessions) -> None:
    jobs.register("sync", lambda mailbox_id: None, lock)
    jobs.defer("sync", lock="mailbox:1", mailbox_id=7)
    abandoned(sessions, 0.5)

    async def rescue() -> int:
        async with jobs.app.open_async():
            return await jobs.rescue(30)

    assert apart(rescue()) == 0
    assert [status for _, status, _ in queued(sessions)] == ["doing"]


def test_a_dead_worker_s_job_is_moot_when_the_same_waits_already(jobs: Jobs, sessions: Sessions) -> None:
    runs: list[int] = []
    jobs.register("sync", lambda mailbox_id: runs.append(mailbox_id), lock)
    jobs.defer("sync", lock="mailbox:1", mailbox_id=7)
    abandoned(sessions, 60)
    assert jobs.defer("sync", lock="mailbox:1", mailbox_id=7)
    assert work(jobs, lambda: bool(runs) and not queued(sessions), hurried=sessions)
    assert runs == [7]


def test_workers_are_counted_by_their_signs_of_life(jobs: Jobs, sessions: Sessions) -> None:
    with sessions() as session:
        assert workers(session, 30) == 0
    seen: list[int] = []

    def look() -> bool:
        with sessions() as session:
            seen.append(workers(session, 30))
        return seen[-1] == 1

    assert work(jobs, look), seen[-1]


@pytest.fixture
def services(sessions: Sessions) -> Services:
    """Services that never reach Google."""
    nowhere = Google("http://127.0.0.1:9", "", "", "", "", "")
    return Services(sessions, Vault("a secret key for tests only, not for the world"), nowhere, 6000, 0,
                    timedelta(seconds=60))  # fmt: skip


@pytest.fixture
def mailbox(sessions: Sessions) -> Mailbox:
    """Alice's mailbox, with a wish."""
    with transaction(sessions) as session:
        alice = teams.found(session, "Test team", ALICE, "Alice")
        return mailboxes.connect(session, alice, ALICE, b"sealed", utc_now())


def test_a_lost_job_is_queued_again_by_the_tick(
    jobs: Jobs, sessions: Sessions, services: Services, mailbox: Mailbox
) -> None:
    assert sync.wake(jobs, mailbox.id)
    sql(sessions, "DELETE FROM procrastinate_jobs")
    assert queued(sessions) == []
    sync.wake_due(jobs, services)
    sync.wake_due(jobs, services)
    assert [(name, status) for name, status, _ in queued(sessions)] == [(sync.JOB, "todo")]


def test_the_tick_leaves_alone_what_asks_for_nothing(
    jobs: Jobs, sessions: Sessions, services: Services, mailbox: Mailbox
) -> None:
    with transaction(sessions) as session:
        wish = session.get_one(Mailbox, mailbox.id).wanted_at
        assert mailboxes.fulfil(session, mailbox.id, wish, utc_now())
    sql(sessions, "UPDATE mailboxes SET backfill = 'done'")
    sync.wake_due(jobs, services)
    assert queued(sessions) == []
    sql(sessions, "UPDATE mailboxes SET synced_at = now() - interval '61 seconds'")
    sync.wake_due(jobs, services)
    assert len(queued(sessions)) == 1


def test_a_mailbox_that_needs_attention_is_not_asked_for(
    jobs: Jobs, sessions: Sessions, services: Services, mailbox: Mailbox
) -> None:
    with transaction(sessions) as session:
        mailboxes.move(session, mailbox.id, State.ATTENTION, reason="revoked", now=utc_now())
    sync.wake_due(jobs, services)
    sync.check_due(jobs, services)
    assert queued(sessions) == []


def test_a_check_is_due_daily_and_sooner_after_a_gap(
    jobs: Jobs, sessions: Sessions, services: Services, mailbox: Mailbox
) -> None:
    def due() -> bool:
        sql(sessions, "DELETE FROM procrastinate_jobs")
        sync.check_due(jobs, services)
        return [name for name, _, _ in queued(sessions)] == [sync.CHECK_JOB]

    assert not due()  # while the first reading goes on
    sql(sessions, "UPDATE mailboxes SET backfill = 'done'")
    assert due()
    sql(sessions, "UPDATE mailboxes SET checked_at = now() - interval '23 hours'")
    assert not due()
    sql(sessions, "UPDATE mailboxes SET checked_at = now() - interval '25 hours'")
    assert due()
    sql(sessions, "UPDATE mailboxes SET checked_at = now() - interval '11 minutes', gap_at = now()")
    assert due()
    sql(sessions, "UPDATE mailboxes SET checked_at = now() - interval '9 minutes'")
    assert not due()
