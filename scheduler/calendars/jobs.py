"""The jobs of the calendar and of the follow-ups, and the ticks that queue them.

They speak with the network, or with many rows: a tick only looks whether there is anything to do.
"""

from __future__ import annotations

from functools import partial

from scheduler import preparing, sequence_turns
from scheduler.calendars import team_days
from scheduler.post import Post
from tracker.jobs import Jobs

DAYS_JOB, FOLLOW_JOB = "scheduler.team_days", "scheduler.follow_ups"
DAYS_SECONDS, FOLLOW_SECONDS = 300.0, 30.0


def register(jobs: Jobs, post: Post, *, private: bool = False) -> None:
    """Tell the worker what our jobs do; `private` lets a team's calendar lie inside one's own network."""
    jobs.register(DAYS_JOB, partial(read_days, post, private=private), lambda: DAYS_JOB)
    jobs.register(FOLLOW_JOB, partial(follow_up, jobs, post), lambda: FOLLOW_JOB)


def read_days(post: Post, *, private: bool = False) -> None:
    """Fetch the calendars of days off whose turn it is."""
    while team_days.refresh(post.sessions, post.now(), private=private):
        pass


def follow_up(jobs: Jobs, post: Post) -> None:
    """Look at the follow-ups whose turn it is, and have the drafts of those that were queued made."""
    for mailbox_id in sorted(sequence_turns.advance_due(post.sessions, post.now())):
        preparing.wake(jobs, mailbox_id)


def wake_days(jobs: Jobs) -> None:
    """Queue the job."""
    jobs.defer(DAYS_JOB, lock=DAYS_JOB)


def look_at_days(jobs: Jobs, post: Post) -> None:
    """The tick of the team's days off."""
    with post.sessions() as session:
        is_due = team_days.is_any_due(session, post.now())
    if is_due:
        wake_days(jobs)


def look_at_follow_ups(jobs: Jobs, post: Post) -> None:
    """The tick of the follow-ups."""
    with post.sessions() as session:
        is_due = sequence_turns.is_any_due(session, post.now())
    if is_due:
        jobs.defer(FOLLOW_JOB, lock=FOLLOW_JOB)
