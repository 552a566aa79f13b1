"""From an iCalendar text to the days off that it holds. Pure.

A day off is an event of whole days (RFC 5545 §3.6.1, VALUE=DATE). Repetitions are read as far as people use them
for days off: every so many days, weeks, months or years, on weekdays ("MO"), or on one of a month ("4TH", "-1MO").
A rule that says more counts for its first day only, and is told.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from scheduler.calendars import ics

LONGEST = 62  #: days of one event
MOST_CANDIDATES = 50_000  #: days that are looked at, of all repetitions of a calendar
MOST_PROBLEMS = 5
_WEEKDAYS = {name: number for number, name in enumerate(("MO", "TU", "WE", "TH", "FR", "SA", "SU"))}
_READ = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYMONTH", "BYMONTHDAY", "WKST"}


@dataclass(frozen=True, slots=True)
class Days:
    """Days off with their reasons, and what could not be read, in words."""

    days: Mapping[date, str]
    problems: tuple[str, ...]


class _Beyond(Exception):
    """A rule that we don't read."""


def read(text: str, first: date, last: date) -> Days:
    """The days off from `first` to `last`. Raises `ics.Unreadable`."""
    events = [event for event in ics.events(text) if event.text("STATUS").upper() != "CANCELLED"]
    moved = {(event.text("UID"), event.when("RECURRENCE-ID")) for event in events if event.all("RECURRENCE-ID")}
    found: dict[date, str] = {}
    problems: list[str] = []
    budget = _Budget(MOST_CANDIDATES)
    for event in events:
        start = event.when("DTSTART")
        if start is None or isinstance(start, datetime):
            continue  # hours off are no days off
        name, length = event.text("SUMMARY", 100) or "A day off", _length(event, start)
        try:
            starts = list(_starts(event, start, first - timedelta(days=LONGEST), last, budget))
        except _Beyond:
            starts = [start]
            problems.append(f"“{name}” repeats in a way that is not understood: only {start.isoformat()} counts")
        for day in starts:
            if (event.text("UID"), day) in moved and not event.all("RECURRENCE-ID"):
                continue
            _take(found, name, day, length, first, last)
    if not found and not problems:
        problems.append("It holds no event of whole days in the next year: nothing is a day off by it")
    return Days(found, tuple(problems[:MOST_PROBLEMS]))


def _take(found: dict[date, str], name: str, start: date, length: int, first: date, last: date) -> None:
    for number in range(length):
        if start > date.max - timedelta(days=LONGEST + 1):
            return
        day = start + timedelta(days=number)
        if first <= day <= last:
            found.setdefault(day, name)


def _length(event: ics.Event, start: date) -> int:
    """How many days an event lasts: DTEND is the day behind its last."""
    end, duration = event.when("DTEND"), event.duration()
    days = (end - start).days if end is not None and not isinstance(end, datetime) else 0
    return min(max(days or (duration.days if duration else 1), 1), LONGEST)


class _Budget:
    """How much work the repetitions of one calendar may still make."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, days: int) -> None:
        self.left -= days
        if self.left < 0:
            raise _Beyond


def _starts(event: ics.Event, start: date, first: date, last: date, budget: _Budget) -> Iterator[date]:
    rule = next(iter(event.all("RRULE")), None)
    if rule is None:
        yield start
        return
    without = {event.instant(day) for one in event.all("EXDATE") for day in getattr(one, "dts", [])}
    until, count = _until(rule), _whole(rule, "COUNT", 0)
    for number, day in enumerate(_repeated(rule, start, min(last, until or last), first, budget)):
        if count and number >= count:
            return
        if day >= first and day not in without:
            yield day


def _repeated(rule: Any, start: date, last: date, first: date, budget: _Budget) -> Iterator[date]:
    """The days of a rule up to `last`, in order, the start among them."""
    step, frequency = _whole(rule, "INTERVAL", 1), str(next(iter(rule.get("FREQ", [""]))))
    cost, choose = _chooser(rule, frequency, start)
    period = _period(frequency, start)
    if not rule.get("COUNT") and frequency in ("DAILY", "WEEKLY") and first > start:
        # Nobody counts them: those before what is asked for need not be gone through.
        days = step * (7 if frequency == "WEEKLY" else 1)
        period += timedelta(days=max((first - period).days // days - 1, 0) * days)
    while period <= last:
        budget.spend(cost)
        yield from (day for day in choose(period) if start <= day <= last)
        try:
            period = _next(period, frequency, step)
        except (OverflowError, ValueError):
            return


def _period(frequency: str, start: date) -> date:
    """The first day of the period in which the start is."""
    if frequency == "WEEKLY":
        return start - timedelta(days=start.weekday())
    if frequency == "MONTHLY":
        return start.replace(day=1)
    return start.replace(month=1, day=1) if frequency == "YEARLY" else start


def _next(period: date, frequency: str, step: int) -> date:
    if frequency in ("DAILY", "WEEKLY"):
        return period + timedelta(days=step * (7 if frequency == "WEEKLY" else 1))
    months = period.year * 12 + period.month - 1 + step * (12 if frequency == "YEARLY" else 1)
    return date(months // 12, months % 12 + 1, 1)


def _chooser(rule: Any, frequency: str, start: date) -> tuple[int, Callable[[date], Iterable[date]]]:
    """How many days of a period are looked at, and from its first day to the rule's in it. Raises `_Beyond`."""
    if set(map(str, rule)) - _READ or frequency not in ("DAILY", "WEEKLY", "MONTHLY", "YEARLY"):
        raise _Beyond
    by_day = {_by_day(str(one)) for one in rule.get("BYDAY", [])}
    months = {_within(one, 1, 12) for one in rule.get("BYMONTH", [])} or {start.month}
    days = {_within(one, -31, 31) for one in rule.get("BYMONTHDAY", [])} or {start.day}
    if frequency == "DAILY" and not (by_day or rule.get("BYMONTH") or rule.get("BYMONTHDAY")):
        return 1, lambda period: [period]
    if frequency == "WEEKLY" and not (rule.get("BYMONTH") or rule.get("BYMONTHDAY") or any(n for n, _ in by_day)):
        weekdays = sorted({weekday for _, weekday in by_day}) or [start.weekday()]
        return len(weekdays), lambda period: [
            period + timedelta(days=one) for one in weekdays if period <= date(9998, 1, 1)
        ]
    if frequency not in ("MONTHLY", "YEARLY") or (by_day and rule.get("BYMONTHDAY")):
        raise _Beyond
    if by_day and (not all(n for n, _ in by_day) or (frequency == "YEARLY" and not rule.get("BYMONTH"))):
        raise _Beyond
    if frequency == "MONTHLY" and rule.get("BYMONTH"):
        raise _Beyond

    def choose(period: date) -> Iterable[date]:
        of = {period.month} if frequency == "MONTHLY" else months
        made = {
            day
            for month in of
            for day in ([_nth(period.year, month, *one) for one in by_day] or _of_month(period.year, month, days))
        }
        return sorted(day for day in made if day is not None)

    return len(by_day or days) * (1 if frequency == "MONTHLY" else len(months)), choose


def _of_month(year: int, month: int, days: Iterable[int]) -> list[date | None]:
    last = calendar.monthrange(year, month)[1]
    exact = [day if day > 0 else last + 1 + day for day in days]
    return [date(year, month, day) if 1 <= day <= last else None for day in exact]


def _nth(year: int, month: int, number: int, weekday: int) -> date | None:
    """The so-manieth weekday of a month, from its end if negative."""
    begins, last = calendar.monthrange(year, month)
    found = range(1 + (weekday - begins) % 7, last + 1, 7)
    if abs(number) > len(found):
        return None
    return date(year, month, found[number - 1 if number > 0 else number])


def _by_day(written: str) -> tuple[int, int]:
    weekday = _WEEKDAYS.get(written[-2:].upper())
    if weekday is None:
        raise _Beyond
    return _within(written[:-2], -5, 5) if written[:-2] else 0, weekday


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise _Beyond from None


def _within(value: Any, least: int, most: int) -> int:
    number = _number(value)
    if not number or not least <= number <= most:
        raise _Beyond
    return number


def _whole(rule: Any, name: str, default: int) -> int:
    values = rule.get(name)
    number = _number(next(iter(values))) if values else default
    if values and not 1 <= number <= 10_000:
        raise _Beyond
    return number


def _until(rule: Any) -> date | None:
    value = next(iter(rule.get("UNTIL", [])), None)
    return value.date() if isinstance(value, datetime) else value if isinstance(value, date) else None
