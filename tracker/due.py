"""Due dates as people say them: "tomorrow", "next monday", "in 3 days", "24 nov". Pure."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

#: A text is read up to here, in characters.
LIMIT = 60
EXPECTED = "Expected a day such as tomorrow, next monday, in 3 days or 2026-11-24"

_WEEKDAYS = {name.lower()[:3]: number for number, name in enumerate(calendar.day_name)}
_MONTHS = {name.lower()[:3]: number for number, name in enumerate(calendar.month_name) if name}
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
_WEEKDAY = (
    r"(?P<weekday>mon(?:day)?|tue(?:s(?:day)?)?|wed(?:nesday)?|thu(?:rs(?:day)?|r)?|fri(?:day)?"
    r"|sat(?:urday)?|sun(?:day)?)"
)
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:,? (?P<year>\d{4}))?"
_PLAIN = {"today": 0, "tonight": 0, "now": 0, "tomorrow": 1, "tmr": 1, "day after tomorrow": 2, "yesterday": -1}
_FROM_NOW = re.compile(
    r"(?:in )?\+?(?P<number>\d{1,4}|an?|one|two|three|four|five|six|seven) ?"
    r"(?P<unit>d|days?|w|weeks?|m|months?|y|years?)(?: from now)?"
)
_ON_WEEKDAY = re.compile(rf"(?:(?:on|this|by) )?(?P<next>next )?{_WEEKDAY}")
_NEXT_UNIT = re.compile(r"next (?P<unit>week|month|year)")
_ISO = re.compile(r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})")
_DOTTED = re.compile(r"(?P<day>\d{1,2})\. ?(?P<month>\d{1,2})\.(?: ?(?P<year>\d{4}))?")
_NAMED = (re.compile(rf"{_DAY}\.? {_MONTH}{_YEAR}"), re.compile(rf"{_MONTH} {_DAY}{_YEAR}"))


class DueError(ValueError):
    """Not a day; the text says what would be one."""


def parse(text: str, today: date) -> date | None:
    """The day that `text` says, seen from `today`; None for an empty one. Raises `DueError`.

    "monday" is the next one, "next monday" that of the week after this one (weeks begin on Monday); a date
    without a year is the next such date. Slashes are refused: 3/4 is a day in April here and in March there.
    """
    words = " ".join(text.replace("\x00", "").lower().split())
    if not words:
        return None
    if len(words) > LIMIT:
        raise DueError(EXPECTED)
    try:
        found = _relative(words, today) or _date(words, today)
    except (ValueError, OverflowError):
        found = None
    if found is None or not 1970 <= found.year <= 2200:
        raise DueError(EXPECTED)
    return found


def _relative(words: str, today: date) -> date | None:
    if words in _PLAIN:
        return today + timedelta(days=_PLAIN[words])
    if words in ("end of week", "eow"):
        return today + timedelta(days=(4 - today.weekday()) % 7)
    if words in ("end of month", "eom"):
        return _months_on(today.replace(day=1), 1) - timedelta(days=1)
    if found := _FROM_NOW.fullmatch(words):
        number = int(_NUMBERS.get(found["number"], 0) or found["number"])
        return _later(today, number, found["unit"][0])
    if found := _NEXT_UNIT.fullmatch(words):
        if found["unit"] == "week":
            return today + timedelta(days=7 - today.weekday())
        return _later(today, 1, found["unit"][0])
    if found := _ON_WEEKDAY.fullmatch(words):
        weekday = _WEEKDAYS[found["weekday"][:3]]
        if found["next"]:
            return today + timedelta(days=7 - today.weekday() + weekday)
        return today + timedelta(days=(weekday - today.weekday() - 1) % 7 + 1)
    return None


def _later(today: date, number: int, unit: str) -> date:
    if unit in "dw":
        return today + timedelta(days=number * (7 if unit == "w" else 1))
    return _months_on(today, number * (12 if unit == "y" else 1))


def _months_on(day: date, number: int) -> date:
    """The same day so many months later, or the last of that month."""
    months = day.year * 12 + day.month - 1 + number
    year, month = months // 12, months % 12 + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def _date(words: str, today: date) -> date | None:
    for pattern in (_ISO, _DOTTED, *_NAMED):
        found = pattern.fullmatch(words.removeprefix("on ").removeprefix("by "))
        if not found:
            continue
        month = _MONTHS[found["month"][:3]] if found["month"].isalpha() else int(found["month"])
        if found["year"]:
            return date(int(found["year"]), month, int(found["day"]))
        return _next_such(today, month, int(found["day"]))
    return None


def _next_such(today: date, month: int, day: int) -> date | None:
    for year in range(today.year, today.year + 9):  # 29 February comes once in four years, or in eight
        try:
            found = date(year, month, day)
        except ValueError:
            continue
        if found >= today:
            return found
    return None


def zone(name: str) -> tzinfo:
    """The time zone of this IANA name, or UTC if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def today(zone_name: str, now: datetime) -> date:
    """Which day it is in a time zone."""
    return now.astimezone(zone(zone_name)).date()


def instant(day: date, at: time, zone_name: str) -> datetime:
    """The instant (UTC) of a wall time in a zone. In a gap it is as much later; of two, it is the first."""
    return datetime.combine(day, at, zone(zone_name)).astimezone(UTC)


def words(day: date, today: date) -> str:
    """A due date in words, seen from `today`."""
    days = (day - today).days
    near = {-1: "yesterday", 0: "today", 1: "tomorrow"}
    if days in near:
        return near[days]
    if 1 < days < 7:
        return f"{day:%A}"
    year = f" {day.year}" if day.year != today.year else ""
    return f"{day:%a} {day.day} {day:%b}{year}"
