"""When a mail is due: its wall time made an instant late, and again whenever something about it changed.

What is stored is what a person meant (a wall time, and whose zone it is in). The instant is worked out anew when
the contact's zone is known better, when the place's rules change (a new tzdata), when a day turns out to be free
there, and when an outage made the mail late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from scheduler import local_time, outbox, tz_release
from scheduler.calendars import days_off
from scheduler.local_time import Free, LateRule
from scheduler.outbox import ScheduledEmail, Zone
from scheduler.states import State
from tracker.people import User

AHEAD = timedelta(hours=48)  #: zones are at most 26 hours apart: what is due later can't have become urgent
FRESH = timedelta(minutes=30)  #: a place that was looked up so lately is not looked up again
AT_ONCE = 200  # mails a transaction

#: Where the recipient of a mail is: IANA zone and ISO 3166 country, or None when nothing better is known.
Whereabouts = Callable[[Session, ScheduledEmail, datetime], tuple[str, str | None] | None]
#: A team's own days off.
TeamDays = Callable[[Session, int], Mapping[date, str]]


def nowhere(_session: Session, _email: ScheduledEmail, _now: datetime) -> None:
    """Nothing better is known than what the mail was queued with."""


def no_days(_session: Session, _team_id: int) -> Mapping[date, str]:
    """The team works every day that the country does."""
    return {}


@dataclass(frozen=True, slots=True)
class Places:
    """Who knows where people are and when they work."""

    whereabouts: Whereabouts = nowhere
    team_days: TeamDays = no_days

    def free(self, session: Session, email: ScheduledEmail) -> Free:
        """The days on which the mail's recipient does not work; every day will do if its sender said so."""
        if not email.working_days:
            return local_time.every_day
        return days_off.days_off(email.country, self.team_days(session, email.team_id))


@dataclass(frozen=True, slots=True)
class Timing:
    """A time worked out anew."""

    wall: datetime
    zone: str
    country: str | None
    why: str | None  #: why it is another than before, in words

    @property
    def instant(self) -> datetime:
        """UTC."""
        return local_time.resolve(self.wall, ZoneInfo(self.zone))


def resolve(session: Session, places: Places, email: ScheduledEmail, now: datetime) -> Timing:
    """When a mail is due as things are known now."""
    zone, country = _where(session, places, email, now)
    wall, why = email.wall_time, email.moved_why
    if zone != email.zone:
        why = f"it was {email.zone} and is {zone} now"
    free = places.free(session, email)
    reason = free(wall.date())
    if reason is not None:
        after = local_time.resolve(wall, ZoneInfo(zone))
        wall = local_time.next_at(wall.time(), ZoneInfo(zone), max(after, now), free)
        why = f"the day it was for is free there: {reason}"
    return Timing(wall, zone, country, why)


def late(session: Session, places: Places, email: ScheduledEmail, now: datetime) -> Timing | None:
    """When a mail that is due goes: None for at once, else the morning that its sender's rule says."""
    if email.zone_rule == Zone.NOW:
        return None
    zone = ZoneInfo(email.zone)
    if now - local_time.resolve(email.wall_time, zone) <= local_time.GRACE:
        return None
    free = places.free(session, email)
    wall = local_time.late(email.wall_time, zone, now, LateRule(email.late_rule), free)
    if wall is None:
        return None
    return Timing(wall, email.zone, email.country, "it could not go in time, and it was no longer morning there")


def _where(session: Session, places: Places, email: ScheduledEmail, now: datetime) -> tuple[str, str | None]:
    if email.zone_rule == Zone.RECIPIENT:
        return places.whereabouts(session, email, now) or (email.zone, email.country)
    if email.zone_rule == Zone.SENDER and email.user_id is not None:
        user = session.get(User, email.user_id)
        return (user.time_zone if user else email.zone), email.country
    return email.zone, email.country


def refresh(session: Session, places: Places, now: datetime, *, limit: int = AT_ONCE) -> int:
    """Work out anew what is due soon, and all that was worked out with another release of the zone database.

    Returns how many mails it looked at; the caller commits and comes again while it is `limit`.
    """
    release = tz_release.current()
    soon = (ScheduledEmail.next_at < now + AHEAD) & (ScheduledEmail.resolved_at < now - FRESH)
    other = or_(ScheduledEmail.rules < release, ScheduledEmail.rules > release)
    found: dict[int, ScheduledEmail] = {}
    for which in (other, soon):
        query = (
            select(ScheduledEmail)
            .where(ScheduledEmail.state == State.QUEUED.value, ScheduledEmail.zone_rule != Zone.NOW.value, which)
            .order_by(ScheduledEmail.next_at)
            .limit(limit - len(found))
            .with_for_update(skip_locked=True)
        )
        found.update((email.id, email) for email in session.scalars(query))
    _refresh(session, places, list(found.values()), now)
    return len(found)


def contact_moved(session: Session, places: Places, contact_id: int, now: datetime) -> int:
    """Work out anew what waits for a contact whose zone was just corrected; returns how many mails there are."""
    query = select(ScheduledEmail).where(
        ScheduledEmail.contact_id == contact_id,
        ScheduledEmail.zone_rule == Zone.RECIPIENT.value,
        ScheduledEmail.state.in_([State.PREPARING, State.QUEUED, State.HELD]),
    )
    emails = session.scalars(query.with_for_update(skip_locked=True)).all()
    _refresh(session, places, emails, now)
    return len(emails)


def _refresh(session: Session, places: Places, emails: Sequence[ScheduledEmail], now: datetime) -> None:
    for email in emails:
        timing = resolve(session, places, email, now)
        if timing.instant != email.due_at or timing.zone != email.zone:
            put_off(session, email, timing, now)
        else:
            email.resolved_at, email.rules, email.country = now, tz_release.current(), timing.country
    session.flush()


def put_off(session: Session, email: ScheduledEmail, timing: Timing, now: datetime) -> None:
    """Give a mail another time; its state stays. The caller has locked its row."""
    before = email.due_at
    email.wall_time, email.zone, email.country = timing.wall, timing.zone, timing.country
    email.moved_why, email.due_at = timing.why, timing.instant
    email.next_at = timing.instant
    email.resolved_at, email.rules = now, tz_release.current()
    email.version += 1
    session.flush()
    outbox.record(
        session, email, "email.moved", why=timing.why, wall=timing.wall.isoformat(), zone=timing.zone,
        before=before.isoformat(timespec="seconds"), due_at=timing.instant.isoformat(timespec="seconds"),
    )  # fmt: skip
