"""From what a form asks for to when each mail goes: the wall time that is stored, and why, in words.

The recipients' zones come from `time_zones`, their days off from `days_off`; what several of them have in common
from `local_time`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler import local_time, time_zones
from scheduler.calendars import days_off, team_days
from scheduler.local_time import NINE, Choice, Chosen, LateRule, NoWorkingDay, There
from scheduler.outbox import When, Zone
from scheduler.time_zones import Inferred
from tracker.addresses import Address
from tracker.contacts import Contact, ContactAddress
from tracker.db import among
from tracker.people import User

MOST_PLACES = 25  #: recipients whose zones are looked up for one mail
SOON = timedelta(minutes=1)
MOST_DAYS = 365


class Asked(StrEnum):
    """What the form offers: the choices of `local_time`, at once, and (in the demo) in a minute."""

    NINE = "nine"
    THERE = "there"
    MINE = "mine"
    TOMORROW = "tomorrow"
    MONDAY = "monday"
    DAYS = "days"
    NOW = "now"
    SOON = "soon"


class TimingError(ValueError):
    """There is no such time; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When somebody wants a mail to go."""

    asked: Asked = Asked.NINE
    at: time = NINE
    on: date | None = None
    days: int = 3
    working_days: bool = True
    late: LateRule = LateRule.MORNING


@dataclass(frozen=True, slots=True)
class Place:
    """Where a recipient is, how we know, and when nobody works there."""

    address: Address
    inferred: Inferred
    there: There
    contact_key: str = ""

    @property
    def who(self) -> str:
        """What to call them."""
        return self.address.name or self.address.address


@dataclass(frozen=True, slots=True)
class Planned:
    """When a mail goes."""

    when: When
    words: str  #: "Tue 24 Nov, 09:00 in Tokyo (your Mon 23 Nov, 18:00)"
    notes: tuple[str, ...]  #: days that are passed over, and what several recipients have in common


def places(session: Session, user: User, addresses: Sequence[Address], now: datetime) -> list[Place]:
    """Where the first of these people are; those whose zone nobody knows are where the sender is."""
    own: Mapping[date, str] = team_days.of_team(session, user.team_id)
    asked, home = addresses[:MOST_PLACES], own_zone(user).key
    known = _contacts(session, user.team_id, [one.normalized for one in asked])
    zones = time_zones.of_contacts(session, [contact_id for contact_id, _ in known.values()], now, home)
    strangers = [one.normalized for one in asked if known.get(one.normalized, (0, ""))[0] not in zones]
    others = time_zones.of_strangers(session, user.team_id, strangers, now, home)
    found = []
    for address in asked:
        contact_id, key = known.get(address.normalized, (0, ""))
        inferred = zones.get(contact_id) or others[address.normalized]
        free = days_off.days_off(inferred.country, own)
        found.append(Place(address, inferred, There(ZoneInfo(inferred.zone), "", free), key))
    return found


def _contacts(session: Session, team_id: int, normalized: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Ids and keys of the contacts with these addresses."""
    query = (
        select(ContactAddress.normalized, Contact.id, Contact.key)
        .join(Contact, Contact.id == ContactAddress.contact_id)
        .where(ContactAddress.team_id == team_id, among(ContactAddress.normalized, normalized))
    )
    return {address: (contact_id, key) for address, contact_id, key in session.execute(query)}


def at_home(user: User) -> Place:
    """Where the sender is: for a mail that has no recipient yet."""
    zone = own_zone(user)
    inferred = Inferred(zone=zone.key, confidence="guess", evidence=(), country=None)
    return Place(Address("", "", ""), inferred, There(zone, "", days_off.days_off(None)))


def own_zone(user: User) -> ZoneInfo:
    """Where the sender's clock is; UTC where nobody knows."""
    try:
        return ZoneInfo(user.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def plan(timing: Timing, people: Sequence[Place], own_zone: ZoneInfo, now: datetime) -> Planned:
    """When one mail to these people goes; the first is its main recipient. Raises `TimingError`."""
    main = people[0]
    if timing.asked in (Asked.NOW, Asked.SOON):
        return _soon(timing, main, own_zone, now)
    if timing.asked == Asked.NINE and len({one.inferred.zone for one in people}) > 1:
        return _together(timing, people, own_zone, now)
    return _alone(timing, main, own_zone, now)


def _soon(timing: Timing, main: Place, own_zone: ZoneInfo, now: datetime) -> Planned:
    if timing.asked == Asked.NOW:
        when = When(local_time.wall_of(now, main.there.zone), main.inferred.zone, Zone.NOW, working_days=False)
        return Planned(when, "At once", (f"There it is {_clock(now, main.there.zone)} now",))
    wall = local_time.wall_of(now + SOON, own_zone)
    when = When(wall, own_zone.key, Zone.SENDER, working_days=False, late=LateRule.WORKING_HOURS)
    return Planned(when, f"In one minute, at {wall:%H:%M:%S}", ())


def _together(timing: Timing, people: Sequence[Place], own_zone: ZoneInfo, now: datetime) -> Planned:
    try:
        found = local_time.shared_hours([_there(one, timing) for one in people], now)
    except NoWorkingDay:
        raise TimingError(_NEVER) from None
    rule = Zone.FIXED if found.for_all else Zone.RECIPIENT
    when = _when(found.wall, found.zone, rule, timing, people[0])
    return Planned(when, local_time.in_words(found.instant, found.zone, "", own_zone, now), (found.words,))


_NEVER = "There is no working day within a year; switch off “only on working days”"


def _alone(timing: Timing, main: Place, own_zone: ZoneInfo, now: datetime) -> Planned:
    choice = Choice(timing.asked.value)
    picked = timing.on if choice in (Choice.THERE, Choice.MINE) else None
    if picked is not None:
        _check(picked, timing.at, own_zone if choice == Choice.MINE else main.there.zone, now)
    at = timing.at if choice in (Choice.THERE, Choice.MINE) else NINE
    there = _there(main, timing)
    try:
        chosen = local_time.choose(choice, there, own_zone, now, at=at, on=picked, days=timing.days)
    except NoWorkingDay:
        raise TimingError(_NEVER) from None
    rule = Zone.SENDER if choice == Choice.MINE else Zone.RECIPIENT
    when = _when(chosen.wall, chosen.zone, rule, timing, main, keep=picked is not None)
    words = local_time.in_words(chosen.instant, main.there.zone, "", own_zone, now)
    return Planned(when, words, tuple(_notes(chosen, there, picked)))


def _check(day: date, at: time, zone: ZoneInfo, now: datetime) -> None:
    if day > now.date() + timedelta(days=MOST_DAYS):  # before any reckoning: 9999-12-31 has no instant everywhere
        raise TimingError("That is more than a year ahead; choose an earlier day")
    long_past = day < now.date() - timedelta(days=2)
    if long_past or local_time.resolve(datetime.combine(day, at), zone) <= now:
        raise TimingError(
            f"{_day(day)}, {at:%H:%M} has passed in {local_time.place_of(zone)}; choose a later time"
        )


def _notes(chosen: Chosen, there: There, picked: date | None) -> list[str]:
    told = [f"{_day(day)} is off there ({why})" for day, why in chosen.skipped]
    reason = there.free(picked) if picked is not None else None
    if picked is not None and reason is not None:
        told.append(f"{_day(picked)} is off there ({reason}); it goes all the same, as you chose the day")
    return told


def _there(one: Place, timing: Timing) -> There:
    return one.there if timing.working_days else There(one.there.zone, one.there.place)


def _when(wall: datetime, zone: ZoneInfo, rule: Zone, timing: Timing, main: Place, *, keep: bool = False) -> When:
    """What is stored; `keep` for a day that somebody picked, which no holiday moves."""
    working = timing.working_days and not keep
    return When(wall, zone.key, rule, working, timing.late, main.inferred.country)


def _clock(now: datetime, zone: ZoneInfo) -> str:
    return f"{now.astimezone(zone):%H:%M} in {local_time.place_of(zone)}"


def _day(day: date) -> str:
    return f"{day:%a} {day.day} {day:%b}"
