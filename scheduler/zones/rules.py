"""What the tz database says: which zones there are, their offsets, and which of them keep the same time.

Pure. Offsets are whole minutes east of UTC. Zones that kept the same offsets throughout some years can't be told
apart by mail of those years: they make one `Kin`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

from tracker import profiles

_WEEK = 7 * 86_400  # seconds; no zone changed its clocks there and back within one
EARLIEST, LATEST = 1990, 2100  # the years that a Date header is believed for
#: Old names of zones that have a newer one.
_OLD = ("US/", "Canada/", "Brazil/", "Mexico/", "Chile/")
_OLDER = ("Arctic/", "Atlantic/Jan_Mayen", "Asia/Calcutta", "Asia/Saigon", "Europe/Kiev")

Kin = tuple[str, ...]


@cache
def names() -> Kin:
    """The zones that a person may be in, by the alphabet, without old names and UTC's."""
    return tuple(name for name in profiles.zones() if not name.startswith((*_OLD, *_OLDER, "Etc/")))


def is_zone(name: object) -> bool:
    """Whether a zone of this name can be chosen."""
    return isinstance(name, str) and name in _choosable()


@cache
def _choosable() -> frozenset[str]:
    return frozenset(profiles.zones())


@lru_cache(maxsize=2048)  # strangers' calendars name zones, too
def current(name: str) -> str:
    """The zone as `names` calls it: America/Los_Angeles for "US/Pacific"; "" for UTC and for none."""
    if not is_zone(name) or name.startswith("Etc/"):
        return ""
    if name in names():
        return name
    linked = _links().get(name, "")
    return linked if linked in names() else ""


@cache
def _links() -> dict[str, str]:
    """Other names of zones, by the tz database's own list of links ("L target name")."""
    lines = (resources.files("tzdata") / "zoneinfo" / "tzdata.zi").read_text("utf-8").splitlines()
    return {
        name: target for kind, target, name in (line.split() for line in lines if line.startswith("L ")) if kind
    }


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def offset(zone: str, at: datetime) -> int:
    """The zone's offset at an instant (aware), in minutes."""
    return _offset(zone, at.timestamp())


def _offset(zone: str, seconds: float) -> int:
    found = datetime.fromtimestamp(seconds, _zone(zone)).utcoffset()
    return int(found.total_seconds() // 60) if found is not None else 0


def is_summer(zone: str, at: datetime) -> bool:
    """Whether clocks are put forward there at an instant.

    By the offsets of the year and not by `dst()`: in the tz database Ireland has a winter time instead.
    """
    around = {offset for _, offset in _year(zone, year_of(at))}
    return len(around) > 1 and offset(zone, at) == max(around)


def year_of(at: datetime) -> int:
    """The year of an instant, within those that are looked at."""
    return min(max(at.astimezone(UTC).year, EARLIEST), LATEST)


@lru_cache(maxsize=20_000)
def _year(zone: str, year: int) -> tuple[tuple[int, int], ...]:
    """The offsets of a zone in a year (of UTC), each with the instant from which it holds, in seconds."""
    start, end = (int(datetime(each, 1, 1, tzinfo=UTC).timestamp()) for each in (year, year + 1))
    found = [(start, _offset(zone, start))]
    for early in range(start, end, _WEEK):
        late = min(early + _WEEK, end - 1)
        if _offset(zone, late) != found[-1][1]:
            found.append((_change(zone, early, late), _offset(zone, late)))
    return tuple(found)


def _change(zone: str, early: int, late: int) -> int:
    """The first instant of the offset that holds at `late` and not at `early`."""
    wanted = _offset(zone, late)
    while late - early > 1:
        middle = (early + late) // 2
        early, late = (early, middle) if _offset(zone, middle) == wanted else (middle, late)
    return late


def keeps_one_offset(zone: str, year: int) -> bool:
    """Whether a zone's clocks are not changed in a year."""
    return len(_year(zone, year)) == 1


@lru_cache(maxsize=64)
def kins(years: tuple[int, ...]) -> tuple[Kin, ...]:
    """The zones, those together that had the same offsets throughout these years."""
    found: dict[tuple[tuple[tuple[int, int], ...], ...], list[str]] = {}
    for name in names():
        found.setdefault(tuple(_year(name, year) for year in years), []).append(name)
    return tuple(tuple(members) for members in found.values())


@lru_cache(maxsize=4096)
def offsets(years: tuple[int, ...], at: datetime) -> tuple[int, ...]:
    """The offset of each of `kins(years)` at an instant."""
    return tuple(offset(kin[0], at) for kin in kins(years))
