"""Wall time and instants: the next nine o'clock somewhere, what is late, and how both are told. Pure.

What a person means is a wall time (a naive `datetime`) in a zone; the instant (aware, UTC) is worked out late,
because zones change their rules. Gaps and overlaps are read as RFC 5545 §3.3.5 says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

NINE = time(9)
MORNING_ENDS = time(12)
CLOSES = time(17)
SEARCHED = timedelta(days=400)  #: a free day is looked for so far ahead
TOGETHER = timedelta(days=7)  #: and an hour that suits several people so far
GRACE = timedelta(minutes=15)  #: what goes out so much later than asked is not late

#: Why nobody works on a day ("Saturday", "Thanksgiving Day"), or None on a working day.
Free = Callable[[date], str | None]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class NoWorkingDay(ValueError):
    """No day within `SEARCHED` is a working day, or the calendar ends before it."""


def every_day(_: date) -> str | None:
    """The `Free` of somebody who works every day."""
    return None


def resolve(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant (UTC) of a naive wall time in a zone (RFC 5545 §3.3.5).

    A wall time that the clock jumps over is read with the offset before the gap (02:30 becomes 03:30); of two, it
    is the first.
    """
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def wall_of(instant: datetime, zone: ZoneInfo) -> datetime:
    """The naive wall time of an instant in a zone."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def next_at(at: time, zone: ZoneInfo, after: datetime, free: Free = every_day) -> datetime:
    """The wall time (naive) at which the clock there next shows `at` on a working day, strictly after `after`.

    Raises `NoWorkingDay`.
    """
    return on_or_after(wall_of(after, zone).date(), at, zone, after, free)


def on_or_after(first: date, at: time, zone: ZoneInfo, after: datetime, free: Free = every_day) -> datetime:
    """As `next_at`, but not before the day `first` there."""
    for days in range(SEARCHED.days):
        try:
            wall = datetime.combine(first + timedelta(days=days), at)
            instant = resolve(wall, zone)
        except OverflowError:
            break
        # A gap may carry a time over midnight: the day on which it happens has to be a working day too.
        if instant > after and free(wall.date()) is None and free(wall_of(instant, zone).date()) is None:
            return wall
    raise NoWorkingDay(f"No working day within {SEARCHED.days} days")


def skipped(first: date, wall: datetime, free: Free) -> list[tuple[date, str]]:
    """The days off from `first` up to the day of `wall`, each with its reason."""
    days = [first + timedelta(days=number) for number in range((wall.date() - first).days)]
    return [(day, why) for day in days if (why := free(day)) is not None]


# -- what can be chosen


class Choice(StrEnum):
    """When a mail may be asked to go."""

    NINE = "nine"  #: at nine there, the next time it is nine on a working day
    THERE = "there"  #: at another time there, on a day if one is said
    MINE = "mine"  #: at a time of the sender's own clock
    TOMORROW = "tomorrow"  #: tomorrow as it is there
    MONDAY = "monday"  #: the next Monday there
    DAYS = "days"  #: in so many days, if no answer comes


@dataclass(frozen=True, slots=True)
class There:
    """Where somebody is: their zone, what to call it, and when they don't work."""

    zone: ZoneInfo
    place: str = ""
    free: Free = every_day


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is to be stored: a wall time and the zone that it is meant in; and the days off passed over."""

    wall: datetime
    zone: ZoneInfo
    skipped: tuple[tuple[date, str], ...] = ()

    @property
    def instant(self) -> datetime:
        """When that is, by the rules of today."""
        return resolve(self.wall, self.zone)


def choose(
    choice: Choice,
    there: There,
    own_zone: ZoneInfo,
    now: datetime,
    *,
    at: time = NINE,
    on: date | None = None,
    days: int = 0,
) -> Chosen:
    """What a choice means for a recipient who is `there`; `at` is the wall time, `on` the day if one was picked.

    A day that was picked is kept even if it is a day off; what is past is the next such time instead. Raises
    `NoWorkingDay`.
    """
    zone = own_zone if choice == Choice.MINE else there.zone
    if choice == Choice.NINE:
        at, on = NINE, None
    today = wall_of(now, zone).date()
    if on is not None and choice in (Choice.THERE, Choice.MINE):
        return Chosen(on_or_after(max(on, today), at, zone, now), zone)
    first = today + timedelta(days=_days_on(choice, today, days))
    wall = on_or_after(first, at, zone, now, there.free)
    return Chosen(wall, zone, tuple(skipped(first, wall, there.free)))


def _days_on(choice: Choice, today: date, days: int) -> int:
    if choice == Choice.TOMORROW:
        return 1
    if choice == Choice.MONDAY:
        return 7 - today.weekday()
    return min(max(days, 0), SEARCHED.days) if choice == Choice.DAYS else 0


# -- several recipients


@dataclass(frozen=True, slots=True)
class Together:
    """When one mail goes to several people."""

    wall: datetime
    zone: ZoneInfo  #: the main recipient's
    for_all: bool  #: it is within everybody's working hours
    words: str

    @property
    def instant(self) -> datetime:
        """When that is, by the rules of today."""
        return resolve(self.wall, self.zone)


def shared_hours(people: Sequence[There], after: datetime) -> Together:
    """When the working hours (9–17) of all these people next begin to overlap, strictly after `after`.

    The first is the main recipient: if the others' hours never meet theirs within a week, it is the nine of
    theirs. For people in one zone it is their nine. Raises `NoWorkingDay`.
    """
    main = people[0]
    opens = _first_start(people, after)
    if opens is not None:
        return Together(wall_of(opens, main.zone), main.zone, True, _suits_all(people, opens))
    wall = next_at(NINE, main.zone, after, main.free)
    words = f"No hour is between 9 and 17 for everybody, so it goes at 09:00 in {_place(main)}"
    return Together(wall, main.zone, False, words)


def _suits_all(people: Sequence[There], opens: datetime) -> str:
    told = {_place(one): f"{wall_of(opens, one.zone):%H:%M} in {_place(one)}" for one in people}
    return f"Within working hours for everybody: {', '.join(told.values())}"


def _first_start(people: Sequence[There], after: datetime) -> datetime | None:
    common = _hours(people[0], after)
    for one in people[1:]:
        hours = _hours(one, after)
        common = [
            (max(a, c), min(b, d)) for a, b in common for c, d in hours if max(a, c) < min(b, d)
        ]  # fmt: skip
    return min((start for start, _ in common if start > after), default=None)


def _hours(one: There, after: datetime) -> list[tuple[datetime, datetime]]:
    """Somebody's working hours from the day before `after` on, as instants."""
    first = wall_of(after, one.zone).date() - timedelta(days=1)
    days = [first + timedelta(days=number) for number in range(TOGETHER.days + 2)]
    return [
        (resolve(datetime.combine(day, NINE), one.zone), resolve(datetime.combine(day, CLOSES), one.zone))
        for day in days
        if one.free(day) is None
    ]


# -- late mail


class LateRule(StrEnum):
    """What happens to mail that could not go when it should have (an outage)."""

    MORNING = "morning"  #: at once if it is still morning there, else at the next nine
    WORKING_HOURS = "hours"  #: at once within working hours there, else at the next nine
    NEXT_NINE = "nine"  #: at the next nine in any case


def late(
    due_wall: datetime, zone: ZoneInfo, now: datetime, rule: LateRule, free: Free = every_day
) -> datetime | None:
    """When mail goes that was due at `due_wall`: None for at once, else the naive wall time of the next nine.

    What is not yet due keeps its time, and some minutes are no delay. A day off that was chosen stays chosen.
    """
    due = resolve(due_wall, zone)
    if now < due:
        return due_wall
    if now - due <= GRACE:
        return None
    there = wall_of(now, zone)
    works = free(there.date()) is None or there.date() == due_wall.date()
    ends = {LateRule.MORNING: MORNING_ENDS, LateRule.WORKING_HOURS: CLOSES}.get(rule, NINE)
    return None if works and NINE <= there.time() < ends else next_at(NINE, zone, now, free)


# -- in words


def in_words(
    instant: datetime, zone: ZoneInfo, place: str, own_zone: ZoneInfo, now: datetime | None = None
) -> str:
    """An instant as it is there and here: "Tue 24 Nov, 09:00 in Tokyo (your Mon 23 Nov, 18:00)".

    The years are named where they are not that of `now`, or differ from one another.
    """
    there, here = instant.astimezone(zone), instant.astimezone(own_zone)
    year = now.astimezone(own_zone).year if now is not None else here.year
    with_year = there.year != year or here.year != year
    told = f"{_day(there.date(), with_year)}, {there:%H:%M} in {place or place_of(zone)}"
    if there.replace(tzinfo=None) == here.replace(tzinfo=None):
        return told
    mine = f"{here:%H:%M}" if here.date() == there.date() else f"{_day(here.date(), with_year)}, {here:%H:%M}"
    return f"{told} (your {mine})"


def place_of(zone: ZoneInfo) -> str:
    """What to call a zone where no place is known: its city."""
    return zone.key.rsplit("/", 1)[-1].replace("_", " ")


def _place(one: There) -> str:
    return one.place or place_of(one.zone)


def _day(day: date, with_year: bool) -> str:
    year = f" {day.year}" if with_year else ""
    return f"{_DAYS[day.weekday()]} {day.day} {_MONTHS[day.month - 1]}{year}"
