"""Days off: weekends and public holidays by country, and the team's own days, each with its reason."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from types import MappingProxyType

import holidays

from scheduler.local_time import Free

WEEKEND = frozenset({calendar.SATURDAY, calendar.SUNDAY})
LANGUAGE = "en_US"


def days_off(country: str | None, team_days: Mapping[date, str] = MappingProxyType({})) -> Free:
    """Why nobody works on a day in a country (ISO 3166-1 alpha-2), or None on a working day.

    Where the country is not known, Saturday and Sunday are off and there are no holidays but the team's.
    """
    code = (country or "").strip().upper()
    code = code if code in countries() else ""

    def why(day: date) -> str | None:
        known = _year(code, day.year)
        weekend = day.weekday() in known.weekend and day not in known.worked
        return team_days.get(day) or known.named.get(day) or (f"{day:%A}" if weekend else None)

    return why


@lru_cache
def countries() -> frozenset[str]:
    """The codes of the countries whose holidays are known."""
    return frozenset(code for code in holidays.list_supported_countries() if len(code) == 2)


class _Year:
    """A country's year: its holidays, its weekend, and the weekend days that are worked instead of others."""

    __slots__ = ("named", "weekend", "worked")

    def __init__(self, named: Mapping[date, str], weekend: frozenset[int], worked: frozenset[date]) -> None:
        self.named, self.weekend, self.worked = named, weekend, worked


# The library fills its own mapping as it is asked, which two threads must not do at once: what is kept here is
# made once and only read.
@lru_cache(maxsize=2048)
def _year(country: str, year: int) -> _Year:
    if not country:
        return _Year({}, WEEKEND, frozenset())
    made = holidays.country_holidays(country, years=year, language=_language(country))
    # A country's weekend has changed at times, and the library gives the last year's that it filled in.
    return _Year(dict(made), frozenset(made.weekend), frozenset(made.weekend_workdays))


@lru_cache
def _language(country: str) -> str | None:
    """English, where the library has the names in English; else the country's own."""
    known = holidays.country_holidays(country).supported_languages
    return LANGUAGE if LANGUAGE in known else next((one for one in known if one.startswith("en")), None)
