"""The zone that an invitation was written in (RFC 5545, RFC 5546). Pure.

Only content lines are read, one at a time: a whole-calendar parser would expand the recurrence rules of a
stranger's VTIMEZONE, and keep them under the stranger's name for everybody who comes after.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from icalendar.parser import Contentline, Contentlines
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from scheduler.zones import rules as zone_rules
from tracker.addresses import normalize

#: Characters and lines of a calendar that are read: its zones stand at the beginning.
_READ = 64 * 1024
_LINES = 1_000
_NOT_THEIRS = frozenset(("REPLY", "COUNTER", "REFRESH"))  #: written by who was invited, in the other's zone
_WINDOWS = {name.casefold(): zone for name, zone in WINDOWS_TO_OLSON.items()}


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a calendar says of where it was written.

    zone: the zone (IANA) of its events, or "".
    exact: the zone was named as such, and not by Microsoft's names, which several countries share.
    winter, summer: the offsets in January and July by the calendar's own rules, in minutes, where it says them.
    organizer: the address of who invites, in its normal form, or "".
    """

    zone: str
    exact: bool
    winter: int | None
    summer: int | None
    organizer: str


def read(text: str) -> Invitation | None:
    """Read a calendar; None when it is an answer, or says nothing. Never raises."""
    found = _Found()
    for line in _lines(text):
        try:
            name, parameters, value = line.parts()
            found.take(name.upper(), {key.upper(): str(one) for key, one in parameters.items()}, value.strip())
        except Exception:  # noqa: S112 - a line that is none says nothing; what strangers write has no other end
            continue
    return found.invitation()


def _lines(text: str) -> Iterator[Contentline]:
    try:
        lines = Contentlines.from_ical(text[:_READ].rpartition("\n")[0])  # type: ignore[no-untyped-call]
    except Exception:
        return
    yield from (line for line in lines[:_LINES] if line)


class _Found:
    """What was found so far, line by line."""

    def __init__(self) -> None:
        self.method = ""
        self.organizer = ""
        self.told: Counter[str] = Counter()  #: TZID of events
        self.defined: list[str] = []  #: TZID of VTIMEZONE
        self.calendars = ""  #: X-WR-TIMEZONE
        self.stack: list[str] = []
        self.rules: list[dict[str, str]] = []  #: STANDARD and DAYLIGHT

    def take(self, name: str, parameters: dict[str, str], value: str) -> None:
        """One content line."""
        if name == "BEGIN":
            self.stack.append(value.upper())
            if value.upper() in ("STANDARD", "DAYLIGHT"):
                self.rules.append({"KIND": value.upper()})
        elif name == "END":
            self.stack = self.stack[:-1]
        elif self.stack[-1:] in (["STANDARD"], ["DAYLIGHT"]):
            self.rules[-1].setdefault(name, value)
        elif name == "TZID":
            self.defined.append(value)
        elif name in ("X-WR-TIMEZONE", "METHOD", "ORGANIZER"):
            self._note(name, value)
        elif name == "DTSTART" and "TZID" in parameters:
            self.told[parameters["TZID"]] += 1

    def _note(self, name: str, value: str) -> None:
        if name == "X-WR-TIMEZONE":
            self.calendars = self.calendars or value
        elif name == "METHOD":
            self.method = self.method or value.upper()
        elif not self.organizer:
            self.organizer = normalize(re.sub(r"^mailto:", "", value, flags=re.IGNORECASE)[:320])

    def invitation(self) -> Invitation | None:
        """All of it together: the events' own zone before the calendar's, and that before those it describes."""
        names = [name for name, _ in self.told.most_common()] + [self.calendars, *self.defined]
        zone, exact = next((found for found in map(zone_named, names) if found[0]), ("", False))
        winter, summer = _seasons(self.rules[-40:])
        if self.method in _NOT_THEIRS or (not zone and winter is None):
            return None
        return Invitation(zone, exact, winter, summer, self.organizer)


def zone_named(name: str) -> tuple[str, bool]:
    """The zone that a TZID means, and whether it was named as such; ("", False) for none.

    Outlook writes Windows' names, others a path that ends with the zone's name.
    """
    name = name.strip().strip('"')[:200]
    if name.casefold() in _WINDOWS:
        return zone_rules.current(_WINDOWS[name.casefold()]), False
    parts = name.split("/")
    for start in range(len(parts) - 1):
        if zone := zone_rules.current("/".join(parts[start:])):
            return zone, True
    return "", False


def _seasons(rules: list[dict[str, str]]) -> tuple[int | None, int | None]:
    """The offsets in January and July by a calendar's own rules, of which those that began last hold."""
    found = {rule["KIND"]: rule for rule in sorted(rules, key=lambda rule: rule.get("DTSTART", ""))}
    standard = _minutes(found.get("STANDARD", {}).get("TZOFFSETTO", ""))
    daylight = _minutes(found.get("DAYLIGHT", {}).get("TZOFFSETTO", ""))
    if standard is None or daylight is None:
        return standard, standard
    northern = _month(found["DAYLIGHT"]) <= 6
    return (standard, daylight) if northern else (daylight, standard)


def _minutes(value: str) -> int | None:
    match = re.fullmatch(r"([+-])(\d{2})(\d{2})(?:\d{2})?", value)
    if match is None:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    return -minutes if match[1] == "-" else minutes


def _month(rule: dict[str, str]) -> int:
    told = re.search(r"BYMONTH=(\d{1,2})(?!\d)", rule.get("RRULE", "").upper())
    month = told[1] if told else rule.get("DTSTART", "")[4:6]
    return int(month) if month.isascii() and month.isdigit() else 1


def middles(year: int) -> tuple[datetime, datetime]:
    """The middle of January and of July of a year: instants of which `winter` and `summer` speak."""
    return datetime(year, 1, 15, 12, tzinfo=UTC), datetime(year, 7, 15, 12, tzinfo=UTC)
