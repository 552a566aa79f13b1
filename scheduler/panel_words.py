"""What the panel's sections of this room say, each in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from scheduler import letters, timing
from scheduler.timing import Place
from tracker import profiles
from tracker.addresses import Address
from tracker.panel import Asked, Line

NO_SUBJECT = "(no subject)"
SURENESS = {"sure": "sure", "likely": "likely", "guess": "a guess"}


def clock(asked: Asked) -> ZoneInfo:
    """The clock of whoever looks, as pages have it; that of their mail program where they never said."""
    if asked.user.time_zone != profiles.UNKNOWN:
        return timing.own_zone(asked.user)
    try:
        return ZoneInfo(asked.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return timing.own_zone(asked.user)


def address(normalized: str) -> Address:
    """An address of which only the normal form is known."""
    return letters.address("", normalized)


def evidence(place: Place) -> Line:
    """Where somebody is, how sure that is, and how we know."""
    found = place.inferred
    told = found.evidence[0].words if found.evidence else "Nothing is known of theirs, so it is yours"
    where = f"{found.zone.replace('_', ' ')} ({SURENESS[found.confidence]})"
    return Line(where, label=place.who or "You", below=f"{told}.", icon="public")


def sentence(text: str) -> str:
    """Words as a sentence."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def sentences(notes: Sequence[str]) -> str:
    """Notes as sentences."""
    return " ".join(map(sentence, notes))
