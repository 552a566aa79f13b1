"""The worker process: clock and job runner."""

from __future__ import annotations

import asyncio
import gc
from functools import partial

from config.rooms import Rooms
from gmail_sync import farewell, sync
from gmail_sync.labels import wakes as label_wakes
from scheduler import digests, due, leaving, looking, preparing, reminders, time_zones
from scheduler.calendars import jobs as calendar_jobs
from scheduler.clock import Clock, Tick
from scheduler.dispatch import Dispatcher
from scheduler.post import Post
from tracker import facts, reading_log, sessions, totals
from tracker.db import Sessions, transaction
from webhooks import own_side, privacy, written
from webhooks.bells import deliveries, notices

LOOK_SECONDS = 5.0  # how soon a lost wake-up is noticed
DRAFTS_SECONDS = 2.0  # how soon a draft is made, if nobody woke us
CHECK_SECONDS = 300.0
RING_SECONDS = 15.0  # how late a reminder may be
DIGEST_SECONDS = 30.0
HOUR_SECONDS = 3600.0
TIDY_SECONDS = 60.0  # totals are added up, and some boxes' facts looked over


def ticks(rooms: Rooms) -> list[Tick]:
    """The one table of ticks."""
    look = min(LOOK_SECONDS, float(rooms.settings.poll_seconds))
    return [
        Tick("gmail_sync.wake", look, partial(sync.wake_due, rooms.jobs, rooms.gmail)),
        Tick("gmail_sync.check", CHECK_SECONDS, partial(sync.check_due, rooms.jobs, rooms.gmail)),
        Tick("gmail_sync.labels", look, partial(label_wakes.read, rooms.gmail)),
        Tick("gmail_sync.farewell", TIDY_SECONDS, partial(farewell.wake_due, rooms.jobs, rooms.gmail)),
        Tick("sessions.tidy", HOUR_SECONDS, partial(tidy_sessions, rooms)),
        Tick("scheduler.prepare", DRAFTS_SECONDS, partial(preparing.wake_due, rooms.jobs, rooms.post)),
        Tick("scheduler.look", TIDY_SECONDS, partial(looking.look_due, rooms.jobs, rooms.post)),
        Tick("scheduler.arrive", look, partial(looking.arrive_all, rooms.post)),
        Tick("scheduler.resolve", TIDY_SECONDS, partial(resolve, rooms.post)),
        Tick(
            "scheduler.team_days",
            calendar_jobs.DAYS_SECONDS,
            partial(calendar_jobs.look_at_days, rooms.jobs, rooms.post),
        ),
        Tick(
            "scheduler.follow_ups",
            calendar_jobs.FOLLOW_SECONDS,
            partial(calendar_jobs.look_at_follow_ups, rooms.jobs, rooms.post),
        ),
        Tick("reminders.ring", RING_SECONDS, partial(ring, rooms.post)),
        Tick("scheduler.digest", DIGEST_SECONDS, partial(digest, rooms)),
        Tick("bells.tidy", HOUR_SECONDS, partial(tidy_bells, rooms)),
        Tick("totals.add_up", TIDY_SECONDS, partial(add_up, rooms.sessions)),
        Tick("facts.audit", TIDY_SECONDS, partial(audit, rooms.sessions, facts.Audit())),
        Tick("reading_log.forget", HOUR_SECONDS, partial(forget_readings, rooms)),
        Tick("privacy.forget", TIDY_SECONDS, partial(forget, rooms)),
        Tick("written.look_again", HOUR_SECONDS, partial(look_at_written, rooms)),
        Tick("time_zones.look", TIDY_SECONDS, partial(look_at_zones, rooms, time_zones.Round())),
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


def look_at_zones(rooms: Rooms, round_: time_zones.Round) -> None:
    """Work out where contacts are whose mail came in, and some others in turn."""
    with transaction(rooms.sessions) as session:
        round_.step(session, rooms.gmail.now())


def ring(post: Post) -> None:
    """Remind people of the tasks whose time has come."""
    rung = reminders.AT_ONCE
    while rung == reminders.AT_ONCE:
        with transaction(post.sessions) as session:
            rung = reminders.ring(session, post.now())


def forget(rooms: Rooms) -> None:
    """Forget who opened mail long ago, and where our own people were."""
    days, now = rooms.settings.hits_days, rooms.gmail.now()
    while True:
        with transaction(rooms.sessions) as session:
            hits, own = privacy.forget(session, days, now), own_side.forget(session, days, now)
        if hits < privacy.AT_ONCE and own < own_side.AT_ONCE:
            return


def look_at_written(rooms: Rooms) -> None:
    """Tracking that was put in by hand: mail that went without being noticed, and mail that never did."""
    with transaction(rooms.sessions) as session:
        written.look_again(session, rooms.gmail.now())
    gone = written.AT_ONCE
    while gone == written.AT_ONCE:
        with transaction(rooms.sessions) as session:
            gone = written.forget(session, rooms.gmail.now())


def forget_readings(rooms: Rooms) -> None:
    """Forget who read mail of others long ago."""
    forgotten = reading_log.AT_ONCE
    while forgotten == reading_log.AT_ONCE:
        with transaction(rooms.sessions) as session:
            forgotten = reading_log.forget(session, rooms.gmail.now())


def digest(rooms: Rooms) -> None:
    """Queue the digests that are due."""
    with transaction(rooms.sessions) as session:
        queued = digests.write_due(session, rooms.settings.url, rooms.gmail.now())
    for mailbox_id in queued:
        preparing.wake(rooms.jobs, mailbox_id)


def tidy_bells(rooms: Rooms) -> None:
    """Forget what became of pushes, and what somebody was told, long ago."""
    now = rooms.gmail.now()
    while True:
        with transaction(rooms.sessions) as session:
            if not deliveries.tidy(session, now) + notices.tidy(session, now):
                return


def tidy_sessions(rooms: Rooms) -> None:
    """Forget sign-ins that ended long ago."""
    while True:
        with transaction(rooms.sessions) as session:
            if not sessions.tidy(session, rooms.gmail.now()):
                return


def resolve(post: Post) -> None:
    """Work out anew when waiting mail is due, where it may have changed."""
    found = due.AT_ONCE
    while found == due.AT_ONCE:
        with transaction(post.sessions) as session:
            found = due.refresh(session, post.places, post.now())


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
    farewell.register(rooms.jobs, rooms.gmail)
    leaving.init(rooms.post)
    preparing.register(rooms.jobs, rooms.post)
    looking.register(rooms.jobs, rooms.post)
    calendar_jobs.register(rooms.jobs, rooms.post, private=rooms.settings.calendar_private)
    clock = Clock(ticks(rooms))
    clock.start()
    dispatcher = Dispatcher(rooms.post)
    dispatcher.start()  # due mail needs no job: it is looked for to the second
    judge = rooms.judge()
    judge.start()
    bells = rooms.bells()
    bells.start()
    try:
        asyncio.run(
            rooms.jobs.work(
                concurrency=rooms.settings.worker_concurrency,
                stalled_seconds=rooms.settings.worker_stalled_seconds,
            )
        )
    finally:
        bells.stop()
        judge.stop()
        dispatcher.stop()
        clock.stop()
        rooms.close()
