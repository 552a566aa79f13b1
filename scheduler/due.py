"""When a mail is due: its wall time made an instant late, and again whenever something about it changed.

What is stored is what a person meant (a wall time, and whose zone it is in). The instant is worked out anew when
the contact's zone is known better, when the place's rules change (a new tzdata), when a day turns out to be free
there, and when an outage made the mail late.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import or_, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from scheduler import local_time, outbox, tz_release
from scheduler.calendars import days_off
from scheduler.local_time import Free, LateRule, NoWorkingDay
from scheduler.outbox import ScheduledEmail, Zone
from scheduler.states import ARROWS, State
from tracker.people import User

AHEAD = timedelta(hours=48)  #: zones are at most 26 hours apart: what is due later can't have become urgent
FRESH = timedelta(minutes=30)  #: a place that was looked up so lately is not looked up again
AT_ONCE = 200  # mails a transaction
NO_DAY = "there is no working day in sight there"
NO_DAY_REMEDY = "Look at your team's days off; then choose another time, or send it now"
TROUBLE = "Tracker could not work out when it is to go"
TROUBLE_REMEDY = "Choose another time, or send it now"

log = logging.getLogger(__name__)

T = TypeVar("T")

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
    """When a mail is due as things are known now; its wall time as asked, if no day there is a working day."""
    zone, country = _where(session, places, email, now)
    wall, why = email.wall_time, email.moved_why
    if zone != email.zone:
        why = f"it was {email.zone} and is {zone} now"
    free = places.free(session, email)
    reason = free(wall.date())
    if reason is not None:
        after = local_time.resolve(wall, ZoneInfo(zone))
        try:
            wall = local_time.next_at(wall.time(), ZoneInfo(zone), max(after, now), free)
        except NoWorkingDay:
            return Timing(wall, zone, country, why)
        why = f"the day it was for is free there: {reason}"
    return Timing(wall, zone, country, why)


def late(session: Session, places: Places, email: ScheduledEmail, now: datetime) -> Timing | None:
    """When a mail that is due goes: None for at once, else the morning that its sender's rule says.

    Where no day is a working day, the hours of the rule count on every day. Outside them: `NoWorkingDay`.
    """
    if email.zone_rule == Zone.NOW:
        return None
    zone = ZoneInfo(email.zone)
    if now - local_time.resolve(email.wall_time, zone) <= local_time.GRACE:
        return None
    free = places.free(session, email)
    rule = LateRule(email.late_rule)
    try:
        wall = local_time.late(email.wall_time, zone, now, rule, free)
    except NoWorkingDay:
        if local_time.late(email.wall_time, zone, now, rule) is not None:
            raise
        wall = None
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
    def anew(email: ScheduledEmail) -> None:
        timing = resolve(session, places, email, now)
        if timing.instant != email.due_at or timing.zone != email.zone:
            put_off(session, email, timing, now)
        else:
            email.resolved_at, email.rules, email.country = now, tz_release.current(), timing.country

    one_by_one(session, emails, anew)


def one_by_one(
    session: Session, emails: Sequence[ScheduledEmail], do: Callable[[ScheduledEmail], T]
) -> dict[int, T]:
    """What `do` says of each mail, by id. One that raises is held, and stops none of the others.

    The caller has locked the rows. All share one savepoint; only if one raises, each gets its own.
    """
    ids = [email.id for email in emails]
    try:
        with session.begin_nested():
            return {id_: do(email) for id_, email in zip(ids, emails, strict=True)}
    except Exception as error:
        if not _of_a_row(error):
            raise
    found: dict[int, T] = {}
    for id_, email in zip(ids, emails, strict=True):
        try:
            with session.begin_nested():
                found[id_] = do(email)
        except Exception as error:
            if not _of_a_row(error):
                raise
            _hold_back(session, email, error)
    return found


def _of_a_row(error: Exception) -> bool:
    """Whether an error may be one mail's own: a database that is away or a deadlock says nothing about a mail."""
    return not isinstance(error, DBAPIError) or isinstance(error, DataError | IntegrityError)


def _hold_back(session: Session, email: ScheduledEmail, error: Exception) -> None:
    if isinstance(error, NoWorkingDay):
        log.warning("Mail %s is held: %s", email.key, error)
        hold(session, email, NO_DAY, NO_DAY_REMEDY, "calendar")
    else:
        log.error("Mail %s is held: when it is due can't be worked out", email.key, exc_info=error)
        hold(session, email, TROUBLE, TROUBLE_REMEDY, "trouble")


def hold(session: Session, email: ScheduledEmail, reason: str, remedy: str, by: str) -> None:
    """Keep a mail back, as system work; one that is held already stays as it is."""
    if State.HELD in ARROWS[State(email.state)] and outbox.move(
        session, email, State.HELD, reason=reason, remedy=remedy, held_by=by
    ):
        outbox.record(session, email, "email.held", why=reason, guard=by)


def put_off(session: Session, email: ScheduledEmail, timing: Timing, now: datetime) -> None:
    """Give a mail another time; its state stays. The caller has locked its row."""
    before = email.due_at
    email.wall_time, email.zone, email.country = timing.wall, timing.zone, timing.country
    email.moved_why, email.due_at = timing.why, timing.instant
    email.next_at = timing.instant
    if email.zone_rule == Zone.NOW:  # no longer: from here on it has a time, and can be late for it
        email.zone_rule = Zone.FIXED.value
    email.resolved_at, email.rules = now, tz_release.current()
    email.version += 1
    session.flush()
    outbox.record(
        session, email, "email.moved", why=timing.why, wall=timing.wall.isoformat(), zone=timing.zone,
        before=before.isoformat(timespec="seconds"), due_at=timing.instant.isoformat(timespec="seconds"),
    )  # fmt: skip
