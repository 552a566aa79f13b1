"""Where somebody is, with the evidence in words and how sure it is. Pure: nothing is fetched.

Everything is weighed together (`zone_offsets`), in the order in which it is listed here: invitations, the offsets
of mails, phone numbers and signatures, the Location field, the country code of the domain, colleagues. What does
not fit what was concluded is told as such, and not left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from scheduler.zones import calendars as zone_calendars
from scheduler.zones import offsets as zone_offsets
from scheduler.zones import places as zone_places
from scheduler.zones import rules as zone_rules
from scheduler.zones.calendars import Invitation
from scheduler.zones.offsets import Belief, Hint, Sighting
from scheduler.zones.places import Place

Confidence = Literal["sure", "likely", "guess"]
RECENT = 15  #: mails of which it is told how many fit
ENOUGH = 5  #: mails that make it sure
MOVED = 3  #: mails of another zone in succession before those of this that tell of a move
CLEAR = 8  #: mails that, if they all fit a zone, speak for it however few people are there


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that speaks for a zone, or against it, in words.

    kind: hand, calendar, mail, stamped, phone, signature, location, domain, colleagues or sender.
    """

    kind: str
    words: str


@dataclass(frozen=True, slots=True)
class Inferred:
    """Where somebody is.

    zone: an IANA name.
    country: ISO 3166, for public holidays; None where only the zone is known.
    """

    zone: str
    confidence: Confidence
    evidence: tuple[Evidence, ...]
    country: str | None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of somebody: the dates of their mails, and what was read elsewhere."""

    sightings: Sequence[Sighting] = ()
    invitations: Sequence[tuple[datetime, Invitation]] = ()  #: with when they were sent
    phones: Sequence[str] = ()  #: E.164
    signature: str = ""  #: the lines by which they sign
    location: str = ""
    organization: str = ""  #: where their organization is
    domains: Sequence[str] = ()
    colleagues: Mapping[str, int] | None = None  #: how many are in which zone


@dataclass(frozen=True, slots=True)
class _Told:
    """A hint that has words: what it is of, the place, and how it is said."""

    kind: str
    place: Place
    trust: float
    words: str

    def fits(self, zones: Iterable[str]) -> bool:
        """Whether it speaks for one of these zones: of a country, for one with a fifth of its people."""
        return max((self.place.zones.get(zone, 0.0) for zone in zones), default=0.0) > 0.2


def infer(known: Known, now: datetime) -> Inferred | None:
    """Where somebody is; None when nothing at all says it."""
    told = _hints(known)
    hints = [Hint(one.place.zones, one.trust) for one in told]
    invited = _invited(known.invitations)
    seen = [one for one in zone_offsets.usable(known.sightings) if one.at <= now + timedelta(days=2)]
    believed = zone_offsets.believable(seen, invited, hints, now)
    if not believed and not told and not invited:
        return None
    belief = zone_offsets.believe([*believed, *invited], hints, now)
    at = _likeliest(belief, believed)
    kin = belief.kins[at]
    named = next((one.zone for one in reversed(invited) if one.zone in kin), "")
    zone = _one_of(kin, hints, named)
    mail = _Mail.of(zone, believed, seen)
    agreeing = [one for one in told if one.fits(kin)]
    return Inferred(
        zone,
        _confidence(belief.chances[at], mail, agreeing, named=bool(named)),
        (*_of_invitations(known.invitations, zone, kin), *mail.evidence(belief), *_of_hints(told, agreeing)),
        _country(agreeing, zone if named and _is_exact(known.invitations, named) else "", kin),
    )


def _hints(known: Known) -> list[_Told]:
    """What is known besides mail, the most telling first."""
    found: list[_Told] = []
    phone = next((place for place in map(zone_places.of_phone, known.phones) if place), None)
    if phone:
        words = f"Their phone number begins with {phone.name}{_in_country(phone.country)}"
        found.append(_Told("phone", phone, zone_offsets.PHONE, words))
    signed = zone_places.of_signature(known.signature)
    if signed:
        words = f"Their signature names {signed.name}{_in_country(signed.country)}"
        found.append(_Told("signature", signed, zone_offsets.PHONE, words))
    if location := zone_places.of_location(known.location):
        words = f"Their location says {location.name}{_in_country(location.country, location.name)}"
        found.append(_Told("location", location, zone_offsets.LOCATION, words))
    elif place := zone_places.of_location(known.organization):
        words = f"Their organization is in {place.name}{_in_country(place.country, place.name)}"
        found.append(_Told("location", place, zone_offsets.COLLEAGUES, words))
    if domain := next((place for place in map(zone_places.of_domain, known.domains) if place), None):
        words = f"Their address ends with {domain.name}{_in_country(domain.country)}"
        found.append(_Told("domain", domain, zone_offsets.DOMAIN, words))
    return found + _colleagues(known.colleagues or {})


def _in_country(code: str | None, name: str = "") -> str:
    country = zone_places.country_name(code) if code else ""
    return f" ({country})" if country and country != name else ""


def _colleagues(zones: Mapping[str, int]) -> list[_Told]:
    total = sum(zones.values())
    if not total:
        return []
    zone, number = min(zones.items(), key=lambda item: (-item[1], item[0]))
    place = Place(zone, zone_places.country_of([zone]), {one: each / total for one, each in zones.items()})
    words = f"{number} of {total} colleagues whose time zone is known are in {zone}"
    if total == 1:
        words = f"A colleague of theirs is in {zone}"
    return [_Told("colleagues", place, zone_offsets.COLLEAGUES, words)]


def _invited(invitations: Sequence[tuple[datetime, Invitation]]) -> list[Sighting]:
    """Invitations as sightings: of a zone by its name, else of the offsets of the calendar's own rules."""
    found = []
    for at, one in invitations:
        if one.zone:
            found.append(Sighting(at, zone=one.zone))
            continue
        for middle, offset in zip(zone_calendars.middles(at.year - 1), (one.winter, one.summer), strict=True):
            found.append(Sighting(middle, offset))
    return zone_offsets.usable(found)


def _likeliest(belief: Belief, believed: Sequence[Sighting]) -> int:
    """The likeliest kin; when there is enough mail and all of it fits some, the likeliest of those.

    What few people keep (Cuba's clock changes, Lord Howe's half hour) would else have to fight New York.
    """
    told = [one for one in believed if one.offset != 0]
    fitting: Sequence[int] = range(len(belief.kins)) if len(told) >= CLEAR else ()
    for one in told:
        offsets = zone_rules.offsets(belief.years, one.at)
        fitting = [at for at in fitting if offsets[at] == one.offset]
    return max(fitting, key=belief.chances.__getitem__, default=belief.likeliest())


def _one_of(kin: Sequence[str], hints: Sequence[Hint], named: str) -> str:
    """The zone by whose name a kin is called: an invitation's, else where most people are, by the hints."""
    weights = zone_offsets.weigh(hints)
    return named or max(kin, key=lambda zone: (weights[zone], zone))


def _is_exact(invitations: Sequence[tuple[datetime, Invitation]], zone: str) -> bool:
    return any(one.exact and one.zone == zone for _, one in invitations)


def _country(agreeing: Sequence[_Told], named: str, kin: Sequence[str]) -> str | None:
    ranked = sorted(agreeing, key=lambda one: -one.trust)
    found = next((one.place.country for one in ranked if one.place.country and one.kind != "colleagues"), None)
    return zone_places.country_of([named]) if named else found or zone_places.country_of(kin)


def _confidence(chance: float, mail: _Mail, agreeing: Sequence[_Told], *, named: bool) -> Confidence:
    recent, fitting = len(mail.recent), mail.fitting
    backed = named or mail.both_seasons or bool(agreeing) or (mail.one_offset and chance >= 0.99)
    if fitting >= ENOUGH and fitting >= 0.8 * recent and chance >= 0.95 and backed:
        return "sure"
    if named and fitting and fitting >= 0.8 * recent:
        return "sure"
    strong = named or any(one.kind != "colleagues" and max(one.place.zones.values()) > 0.9 for one in agreeing)
    if chance >= 0.6 and (strong or (fitting >= 2 and fitting > recent / 2)):
        return "likely"
    return "guess"


def _of_invitations(
    invitations: Sequence[tuple[datetime, Invitation]], zone: str, kin: Sequence[str]
) -> tuple[Evidence, ...]:
    """The newest invitation, in words."""
    if not invitations:
        return ()
    at, newest = max(invitations, key=lambda one: one[0])
    if not newest.zone:
        told = " and ".join(dict.fromkeys(utc(one) for one in (newest.winter, newest.summer) if one is not None))
        return (Evidence("calendar", f"Their invitation of {day(at)} was written in a zone of {told}"),)
    fits = "" if newest.zone in kin else ", which their mail does not bear out"
    return (Evidence("calendar", f"Their invitation of {day(at)} was written in {newest.zone}{fits}"),)


def _of_hints(told: Sequence[_Told], agreeing: Sequence[_Told]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(one.kind, one.words if one in agreeing else f"{one.words}, which does not fit") for one in told
    )


@dataclass(frozen=True, slots=True)
class _Mail:
    """The mails beside a zone: which fit it, which don't, and which were stamped by a server."""

    zone: str
    recent: Sequence[Sighting]  #: the last that count
    earlier: Sequence[Sighting]  #: those before
    stamped: int
    came: int  #: the place of the first mail since they moved, in order; 0 if they did not

    @classmethod
    def of(cls, zone: str, believed: Sequence[Sighting], seen: Sequence[Sighting]) -> _Mail:
        """Tell stamps of UTC from mails, and those of before a move from those since."""
        counted = [one for one in believed if one.offset != 0 or zone_rules.offset(zone, one.at) == 0]
        fits = [zone_rules.offset(zone, one.at) == one.offset for one in counted]
        came = _moved(fits)
        recent = max(came, len(counted) - RECENT)
        return cls(zone, counted[recent:], counted[:recent], len(seen) - len(counted), came)

    def fits(self, one: Sighting) -> bool:
        """Whether a mail has the zone's offset."""
        return zone_rules.offset(self.zone, one.at) == one.offset

    @property
    def fitting(self) -> int:
        """How many of the last mails fit."""
        return sum(map(self.fits, self.recent))

    @property
    def offsets(self) -> Counter[int]:
        """The offsets of all mails that fit."""
        return Counter(one.offset or 0 for one in (*self.earlier, *self.recent) if self.fits(one))

    @property
    def both_seasons(self) -> bool:
        """Whether mails of summer and of winter fit."""
        return len(self.offsets) > 1

    @property
    def one_offset(self) -> bool:
        """Whether clocks are left alone there."""
        return not self.recent or zone_rules.keeps_one_offset(self.zone, zone_rules.year_of(self.recent[-1].at))

    def evidence(self, belief: Belief) -> tuple[Evidence, ...]:
        """What the mails say, in words."""
        found = []
        if self.recent:
            found.append(Evidence("mail", self._count()))
        if moved := self._moved():
            found.append(Evidence("mail", moved))
        if self.fitting and not self.both_seasons and not self.one_offset:
            rivals = sum(
                len(kin) for kin, chance in zip(belief.kins, belief.chances, strict=True) if chance > 0.02
            )
            season = "summer" if zone_rules.is_summer(self.zone, self.recent[-1].at) else "winter"
            if rivals > 1:
                found.append(
                    Evidence("mail", f"Only mail of one {season} so far, so the place is what is likeliest")
                )
        if self.stamped:
            words = "one mail is" if self.stamped == 1 else f"{self.stamped} mails are"
            found.append(Evidence("stamped", f"{words.capitalize()} stamped UTC, as servers do: not believed"))
        return tuple(found)

    def _count(self) -> str:
        number, fitting = len(self.recent), [one for one in self.recent if self.fits(one)]
        last = f"their last {number} mails" if number > 1 else "their only mail"
        if not fitting:
            other = Counter(one.offset or 0 for one in self.recent).most_common(1)[0][0]
            return f"{utc(other)} in {last}, which does not fit"
        if number > 1:
            last = f"{'all' if len(fitting) == number else len(fitting)} of {last}"
        told = Counter(one.offset or 0 for one in fitting).most_common()
        if len(told) > 1:
            return f"{' and '.join(f'{utc(one)} in {self._season(one)}' for one, _ in told[:2])} in {last}"
        others = [one for one in self.offsets if one != told[0][0]]
        words = f"{utc(told[0][0])} in {last}"
        return f"{words}, {utc(others[0]).removeprefix('UTC')} in {self._season(others[0])}" if others else words

    def _season(self, offset: int) -> str:
        mails = (one for one in (*self.recent[::-1], *self.earlier[::-1]) if self.fits(one))
        at = next(one.at for one in mails if one.offset == offset)
        return "summer" if zone_rules.is_summer(self.zone, at) else "winter"

    def _moved(self) -> str:
        if not self.came:
            return ""
        before, first = [*self.earlier, *self.recent][self.came - 1 : self.came + 1]
        return f"Before {day(first.at)} it was {utc(before.offset or 0)}: they seem to have moved"


def _moved(fits: Sequence[bool]) -> int:
    """The place of the first mail behind the last run of strays that is long enough to tell of a move, or 0.

    Where most of what came before fits as well, it was a journey.
    """
    came, run = 0, 0
    for number, fit in enumerate(fits):
        run = 0 if fit else run + 1
        came = number + 1 if run >= MOVED else came
    return came if came < len(fits) and 2 * sum(fits[:came]) < came else 0


def utc(offset: int) -> str:
    """An offset as people say it: UTC+2, UTC−3:30, UTC+0."""
    hours, minutes = divmod(abs(offset), 60)
    return f"UTC{'−' if offset < 0 else '+'}{hours}" + (f":{minutes:02}" if minutes else "")


def day(at: datetime) -> str:
    """A day in words: 3 Nov 2026."""
    return f"{at.day} {at:%b %Y}"
