"""Reading iCalendar (RFC 5545) that strangers wrote. Pure; bounded in time and memory.

Only what we read is handed to the parser: events, and of those a few properties. VTIMEZONE is left out, because a
hostile one can ask for a change every second for ever, and because libraries keep it for the next calendar; a
TZID is looked up among the IANA's zones and Windows' names, or read by its plain standard offset.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from icalendar import Calendar
from icalendar.prop import vBroken
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON as WINDOWS

MOST_BYTES = 1_000_000
MOST_EVENTS = 5_000
LONGEST_LINE = 2_000  # characters, of what is kept
_KEPT = frozenset(
    ("UID", "SEQUENCE", "DTSTART", "DTEND", "DURATION", "RRULE", "EXDATE", "RECURRENCE-ID", "SUMMARY", "STATUS",
     "LOCATION", "ORGANIZER", "ATTENDEE", "DTSTAMP")
)  # fmt: skip
_MOST_OF_ONE = 200  # EXDATE and ATTENDEE lines of one event
_NAME = re.compile(r"[A-Za-z0-9-]{1,40}(?=[:;])")
_OFFSET = re.compile(r"TZOFFSETTO:([+-])(\d\d)(\d\d)(?:\d\d)?\s*$", re.IGNORECASE)


class Unreadable(ValueError):
    """It is no iCalendar, or more than we take; the text says which."""


@dataclass(frozen=True, slots=True)
class Event:
    """One VEVENT: its parsed component, and the zones of its calendar."""

    component: Any
    method: str  #: of the calendar, in capitals; "" without one
    offsets: Mapping[str, tzinfo]  #: zones that only this calendar knows, by TZID

    def text(self, name: str, limit: int = 500) -> str:
        """A property's text on one line, without control characters."""
        value = self._one(name)
        words = "".join(one if one.isprintable() else " " for one in str(value if value is not None else ""))
        return " ".join(words.split())[:limit]

    def number(self, name: str) -> int:
        """A whole number; 0 for anything else."""
        value = self._one(name)
        return min(max(int(value), 0), 2**31 - 1) if isinstance(value, int) else 0

    def when(self, name: str) -> date | datetime | None:
        """A date, or an instant (aware UTC), of a property; a time without a zone is read as UTC."""
        return self.instant(self._one(name))

    def instant(self, prop: Any) -> date | datetime | None:
        """A parsed date or time as a date or an instant; None where it makes no sense."""
        value = getattr(prop, "dt", None)
        if not isinstance(value, datetime):
            return value if isinstance(value, date) else None
        try:
            if value.tzinfo is None:
                value = value.replace(tzinfo=self._zone(str(prop.params.get("TZID", ""))))
            return value.astimezone(UTC)
        except (OverflowError, ValueError):
            return None

    def duration(self) -> timedelta | None:
        """DURATION, if it is one."""
        value = getattr(self._one("DURATION"), "dt", None)
        return value if isinstance(value, timedelta) else None

    def all(self, name: str) -> list[Any]:
        """All values of a property that make sense."""
        found = self.component.get(name)
        values = found if isinstance(found, list) else [] if found is None else [found]
        return [one for one in values if not isinstance(one, vBroken)]

    def _one(self, name: str) -> Any:
        return next(iter(self.all(name)), None)

    def _zone(self, tzid: str) -> tzinfo:
        return self.offsets.get(tzid) or zone_of(tzid) or UTC


def zone_of(tzid: str) -> ZoneInfo | None:
    """The zone that a TZID means: an IANA name, one of Windows', or one at the end of a path."""
    name = WINDOWS.get(tzid, tzid)
    for known in (name, "/".join(name.split("/")[-2:])):
        try:
            return ZoneInfo(known)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return None


def events(text: str) -> list[Event]:
    """The events of an iCalendar text. Raises `Unreadable`."""
    if len(text) > MOST_BYTES:
        raise Unreadable(f"The calendar is larger than {MOST_BYTES // 1_000_000} MB")
    lines = list(_unfolded(text))
    if not any(line.strip().upper() == "BEGIN:VCALENDAR" for line in lines[:200]):
        raise Unreadable("That is no iCalendar: it does not begin with BEGIN:VCALENDAR")
    offsets, method = _offsets(lines), _method(lines)
    reduced = "\r\n".join(["BEGIN:VCALENDAR", *_reduced(lines), "END:VCALENDAR", ""])
    try:
        calendar = Calendar.from_ical(reduced)
    except Exception as error:  # the library raises what it likes on what it did not foresee
        raise Unreadable(f"The calendar can't be read ({type(error).__name__})") from None
    return [Event(component, method, offsets) for component in calendar.subcomponents]


def _unfolded(text: str) -> Iterator[str]:
    """The content lines (RFC 5545 §3.1), each cut where nobody reads on."""
    kept: list[str] = []
    size = 0
    for line in text.replace("\x00", "").lstrip("\ufeff").splitlines():
        if line[:1] in (" ", "\t"):
            if size < LONGEST_LINE:
                kept.append(line[1:])
                size += len(line)
            continue
        if kept:
            yield "".join(kept)[:LONGEST_LINE]
        kept, size = [line], len(line)
    if kept:
        yield "".join(kept)[:LONGEST_LINE]


def _reduced(lines: list[str]) -> Iterator[str]:
    """The events, with what we read of them and nothing within them."""
    number, inside, counts = 0, [], dict[str, int]()
    for line in lines:
        word = line.strip().upper()
        if word.startswith("BEGIN:"):
            inside.append(word[6:])
            if inside == ["VCALENDAR", "VEVENT"]:
                number, counts = number + 1, {}
                if number > MOST_EVENTS:
                    raise Unreadable(f"The calendar holds more than {MOST_EVENTS:,} events")
                yield "BEGIN:VEVENT"
        elif word.startswith("END:"):
            if inside == ["VCALENDAR", "VEVENT"]:
                yield "END:VEVENT"
            if inside:
                inside.pop()
        elif inside == ["VCALENDAR", "VEVENT"] and (name := _NAME.match(line)):
            known = name[0].upper()
            counts[known] = counts.get(known, 0) + 1
            if known in _KEPT and counts[known] <= _MOST_OF_ONE:
                yield line
    if inside[:2] == ["VCALENDAR", "VEVENT"]:  # cut off in the middle
        yield "END:VEVENT"


def _method(lines: list[str]) -> str:
    found = next((line for line in lines[:200] if line[:7].upper() == "METHOD:"), "")
    return found[7:].strip().upper()[:20]


def _offsets(lines: list[str]) -> dict[str, tzinfo]:
    """The standard offsets of the calendar's own zones, for those that have no other name."""
    found: dict[str, tzinfo] = {}
    tzid, standard = "", False
    for line in lines[:MOST_EVENTS]:
        word = line.strip().upper()
        if word.startswith("BEGIN:"):
            tzid, standard = ("" if word == "BEGIN:VTIMEZONE" else tzid), word == "BEGIN:STANDARD"
        elif word.startswith("TZID:"):
            tzid = line.strip()[5:]
        elif standard and tzid and (offset := _OFFSET.match(line.strip())) and zone_of(tzid) is None:
            minutes = int(offset[2]) % 24 * 60 + int(offset[3]) % 60
            found[tzid] = timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes))
    return found
