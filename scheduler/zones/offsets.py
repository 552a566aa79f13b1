"""From the UTC offsets that somebody's mails were written with to the zone they are in, and what comes next. Pure.

A forward filter over zones, mail by mail in the order of their dates. Zones that kept the same time throughout are
one state (`zone_rules.kins`). A mail speaks for the zones that had its offset at its instant, so that a winter and
a summer narrow the choice; now and then somebody moves, the oftener the oftener they did, and rather to where they
have been before than elsewhere. What is known besides (a phone number, a place, a domain) weighs in from the
start, as do the people of each zone.

UTC itself is what servers and web mail stamp: it says little, and all of a month say it once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise

from scheduler.zones import places as zone_places
from scheduler.zones import rules as zone_rules
from scheduler.zones.rules import Kin

MATCH = 0.95  #: how likely a mail has the offset of where its sender is
STRAY = 0.01  #: how likely it has a certain other one: somebody else's machine, a wrong clock
STAMPED = 0.3  #: how likely it has +0000 elsewhere
NAMED = 0.002  #: how likely an invitation names a certain zone where its sender is not
#: Moves that are assumed, in as many mails, before any is seen.
MOVES, MAILS = 1.0, 33.0
HOME = 0.5  #: of those who move, how many go where they have been before
REPEATED = timedelta(days=30)  #: for which one +0000 speaks for all
HABIT = 2.0  #: mails by which a habit of stamping UTC is doubted
#: How far what is known besides mail is trusted, see `Hint`.
LOCATION, PHONE, DOMAIN, COLLEAGUES = 0.95, 0.9, 0.85, 0.8
OFFSETS = range(-12 * 60, 14 * 60 + 1)  #: minutes east that exist


@dataclass(frozen=True, slots=True)
class Sighting:
    """One mail: when it was written (aware), with which offset (minutes), or in which zone by its invitation."""

    at: datetime
    offset: int | None = None
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Hint:
    """What is known besides mail: the zones it speaks for, summing up to 1, and how far it is to be trusted."""

    zones: Mapping[str, float]
    trust: float


@dataclass(slots=True)
class Belief:
    """Where somebody is, as far as their mail and what else is known say. The lists are parallel to `kins`."""

    years: tuple[int, ...]  #: throughout which the zones of each kin had the same offsets
    kins: Sequence[Kin]
    prior: list[float]
    chances: list[float]  #: which sum up to 1
    past: list[float]  #: how many of the mails came from where
    moves: float  #: how likely the next mail comes from elsewhere
    number: int = 0  #: of mails

    def ahead(self) -> list[float]:
        """Where the next mail comes from."""
        return [
            (1 - self.moves) * chance + self.moves * to
            for chance, to in zip(self.chances, self.jump(), strict=True)
        ]

    def jump(self) -> list[float]:
        """Where a move leads to."""
        if not self.number:
            return self.prior
        back = HOME / self.number
        return [(1 - HOME) * chance + back * times for chance, times in zip(self.prior, self.past, strict=True)]

    def likeliest(self) -> int:
        """Which of `kins` is the likeliest."""
        return max(range(len(self.kins)), key=self.chances.__getitem__)


def usable(sightings: Iterable[Sighting]) -> list[Sighting]:
    """Those that say anything, each once, in order; absurd offsets and years are left out."""
    return sorted(
        {one for one in sightings if _says_anything(one)}, key=lambda one: (one.at, one.zone, one.offset or 0)
    )


def _says_anything(one: Sighting) -> bool:
    if one.at.tzinfo is None or not zone_rules.EARLIEST < one.at.year < zone_rules.LATEST:
        return False
    return one.zone in zone_rules.names() if one.zone else one.offset in OFFSETS


def believe(sightings: Iterable[Sighting], hints: Sequence[Hint], now: datetime) -> Belief:
    """Read the mails in the order of their dates, by what is known besides."""
    seen = usable(sightings)
    years = {zone_rules.year_of(now), *(zone_rules.year_of(one.at) for one in seen)}
    years.add(zone_rules.year_of(now + timedelta(days=366)))
    belief = _beginning(tuple(sorted(years)), hints)
    moved, spoke = MOVES, datetime.min.replace(tzinfo=UTC)
    for one in seen:
        stamp = not one.zone and one.offset == 0
        if stamp and one.at < spoke + REPEATED:
            continue
        moved += _read(belief, one)
        belief.moves = min(moved / (MAILS + belief.number), 0.5)
        spoke = one.at if stamp else spoke
    return belief


def _read(belief: Belief, one: Sighting) -> float:
    """Read one more mail; how likely its sender had moved before."""
    stay, to = 1 - belief.moves, belief.jump()
    told = _likelihoods(belief, one)
    moved = [belief.moves * chance * like for chance, like in zip(to, told, strict=True)]
    both = [stay * chance * like + by for chance, like, by in zip(belief.chances, told, moved, strict=True)]
    total = sum(both)
    belief.number += 1
    belief.chances = [chance / total for chance in both]
    belief.past = [times + chance for times, chance in zip(belief.past, belief.chances, strict=True)]
    # Who stays may as well have moved to where they are: only what leads elsewhere than most mail counts.
    return sum(by * (1 - times / belief.number) for by, times in zip(moved, belief.past, strict=True)) / total


def _likelihoods(belief: Belief, one: Sighting) -> list[float]:
    """How likely the mail is from each kin."""
    if one.zone:
        return [1.0 if one.zone in kin else NAMED for kin in belief.kins]
    elsewhere = STAMPED if one.offset == 0 else STRAY
    return [MATCH if there == one.offset else elsewhere for there in zone_rules.offsets(belief.years, one.at)]


def _beginning(years: tuple[int, ...], hints: Sequence[Hint]) -> Belief:
    kins, weights = zone_rules.kins(years), weigh(hints)
    raised = [sum(weights[name] for name in kin) for kin in kins]
    prior = [number / sum(raised) for number in raised]
    return Belief(years, kins, prior, prior, [0.0] * len(kins), MOVES / MAILS)


def weigh(hints: Sequence[Hint]) -> dict[str, float]:
    """How likely each zone is without mail: by its people, and by each hint as far as it is trusted."""
    weights = dict(_people())
    for hint in hints:
        for name, before in _people().items():
            weights[name] *= 1 - hint.trust + hint.trust * hint.zones.get(name, 0.0) / before
    return weights


@cache
def _people() -> Mapping[str, float]:
    people = {name: zone_places.people_of(name) for name in zone_rules.names()}
    total = sum(people.values())
    return {name: number / total for name, number in people.items()}


def believable(
    mails: Sequence[Sighting], invited: Sequence[Sighting], hints: Sequence[Hint], now: datetime
) -> list[Sighting]:
    """The mails that count: all, but where each says UTC only if that is what everything else says too."""
    if any(one.offset != 0 for one in mails):
        return list(mails)
    if not mails or not (hints or invited):
        return []
    belief = believe(invited, hints, now)
    zone = belief.kins[belief.likeliest()][0]
    return list(mails) if all(zone_rules.offset(zone, one.at) == 0 for one in mails) else []


def next_offset(sightings: Iterable[Sighting], hints: Sequence[Hint], at: datetime) -> int:
    """The offset that the next mail, written at `at`, is most likely to have, in minutes.

    Unlike where somebody is, this takes along that their mail program stamps UTC, if it does.
    """
    seen = [one for one in usable(sightings) if not one.zone]
    belief = believe(seen, hints, at)
    if seen and (not believable(seen, [], hints, at) or _stamps(seen, belief)):
        return 0
    found: dict[int, float] = defaultdict(float)
    for kin, chance in zip(belief.kins, belief.ahead(), strict=True):
        found[zone_rules.offset(kin[0], at)] += chance
    return max(found, key=lambda offset: (found[offset], -offset))


def _stamps(seen: Sequence[Sighting], belief: Belief) -> bool:
    """Whether the next mail is stamped with UTC, as the last was, or not, as most that followed such a one."""
    if not seen or seen[-1].offset != 0 or zone_rules.offset(belief.kins[belief.likeliest()][0], seen[-1].at) == 0:
        return False
    followed = [after.offset == 0 for one, after in pairwise(seen) if one.offset == 0]
    return sum(followed) + HABIT > len(followed) - sum(followed)
