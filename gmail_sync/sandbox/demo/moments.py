"""When a thing of the story happened, told from the start of the demo."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_WORKING_DAY = re.compile(r"(\d+) (\d\d:\d\d)")
_AGO = re.compile(r"(\d+)([mh])")
_SATURDAY = 5
#: 18:00 on the west coast of America is 02:00 UTC of the next day: a day this far back is over everywhere.
_OVER_EVERYWHERE = timedelta(hours=26)


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment before *now*.

    Either *working_day* days (Monday to Friday) before the last working day that is over, at the wall time
    *clock* of whoever writes; or simply *ago*, for what machines send at any hour.
    """

    working_day: int = 0
    clock: time = time(9)
    ago: timedelta | None = None

    @classmethod
    def parse(cls, text: str) -> Moment:
        """Read ``"12 10:40"`` (twelve working days back, at 10:40), ``"45m"`` or ``"3h"``.

        Raises ValueError for anything else.
        """
        if match := _WORKING_DAY.fullmatch(text):
            return cls(int(match[1]), time.fromisoformat(match[2]))
        if match := _AGO.fullmatch(text):
            minutes = int(match[1]) * (60 if match[2] == "h" else 1)
            return cls(ago=timedelta(minutes=minutes))
        raise ValueError(f"not a moment: {text!r}")

    def resolve(self, now: datetime, zone: ZoneInfo) -> datetime:
        """The aware local time in *zone* (to the second), for a demo that starts at *now* (aware)."""
        if self.ago is not None:
            return (now - self.ago).astimezone(zone).replace(microsecond=0)
        day = working_days_before(last_working_day(now), self.working_day)
        return datetime.combine(day, self.clock, zone)


def last_working_day(now: datetime) -> date:
    """The latest Monday-to-Friday date that is over in every time zone of the story."""
    day = (now.astimezone(UTC) - _OVER_EVERYWHERE).date()
    return day - timedelta(days=max(0, day.weekday() - _SATURDAY + 1))


def working_days_before(day: date, count: int) -> date:
    """The date *count* working days before *day*, itself a working day."""
    weeks, rest = divmod(count, 5)
    back = rest + (2 if rest > day.weekday() else 0)
    return day - timedelta(weeks=weeks, days=back)


def working_days_after(day: date, count: int) -> date:
    """The date *count* working days after *day*, itself a working day."""
    weeks, rest = divmod(count, 5)
    forward = rest + (2 if day.weekday() + rest >= _SATURDAY else 0)
    return day + timedelta(weeks=weeks, days=forward)
