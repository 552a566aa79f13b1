"""What of a reading is worth telling, once each. Pure: what was told is handed in, and handed back with it.

Told is the first likely read, a view after a week of silence, and each sitting with clicks; never what a machine
did, and nothing twice: what is told later is younger than what of its kind was told before. What was told and no
longer stands (a scanner's first click, one's own view that was reported later) is told no more, so that the true
one after it is told as the first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from webhooks.tracks import Confidence
from webhooks.verdicts.facts import Reading

SILENCE = timedelta(days=7)
#: A click on a mail that nobody had opened waits for so long, whether others come so fast that it is a scanner.
HOLD = timedelta(seconds=1.2)
READ, CLICKED = "email.read", "email.clicked"


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of a mail so far."""

    confidence: str = ""  #: of what still stands
    at: datetime | None = None  #: when the last of it happened, whether it stands or not
    sittings: int = 0  #: of what still stands
    clicked_at: datetime | None = None  #: as `at`, of clicks alone


@dataclass(frozen=True, slots=True)
class News:
    """One thing to tell."""

    kind: str
    at: datetime
    first: bool
    again_after_days: int | None = None
    link: int | None = None


def news(reading: Reading, told: Told, now: datetime) -> tuple[list[News], Told]:
    """What is to be told now, and what was told with it. Clicks that are held (`held_until`) come later."""
    told = _standing(reading, told)
    reads, clicks = _reads(reading, told), _clicks(reading, told, now)
    made = [*reads, *clicks]
    if not made:
        return [], told
    ranks = [Confidence(told.confidence)] if told.confidence else []
    best = max([*ranks, reading.confidence], key=lambda one: one.rank)
    at = max([one.at for one in made] + ([told.at] if told.at else []))
    sittings, clicked_at = told.sittings, told.clicked_at
    if clicks:
        sittings, clicked_at = len(reading.sittings), clicks[0].at
    return made, Told(best.value, at, sittings, clicked_at)


def held_until(reading: Reading, told: Told, now: datetime) -> datetime | None:
    """When to ask again for a click that is held; None if there is none."""
    newest = reading.sittings[-1] if reading.sittings else None
    if newest is None or not newest.cold or not _is_after(newest.at, told.clicked_at):
        return None
    until = newest.at + HOLD
    return until if until > now else None


def _standing(reading: Reading, told: Told) -> Told:
    confidence = told.confidence if reading.views else ""
    return replace(told, confidence=confidence, sittings=min(told.sittings, len(reading.sittings)))


def _is_after(at: datetime, before: datetime | None) -> bool:
    return before is None or at > before


def _reads(reading: Reading, told: Told) -> list[News]:
    fresh = [view for view in reading.views if _is_after(view.first, told.at)]
    if not fresh:
        return []
    if not told.confidence:
        # A view that began with a click is told as the click.
        return [] if fresh[0].clicked else [News(READ, fresh[0].first, first=True)]
    newest = reading.views[-1]
    before = max((view.last for view in reading.views[:-1]), default=told.at)
    if newest.clicked or before is None:
        return []
    silent = newest.first - before
    return [News(READ, newest.first, first=False, again_after_days=silent.days)] if silent >= SILENCE else []


def _clicks(reading: Reading, told: Told, now: datetime) -> list[News]:
    newest = reading.sittings[-1] if reading.sittings else None
    if newest is None or not _is_after(newest.at, told.clicked_at) or held_until(reading, told, now):
        return []
    return [News(CLICKED, newest.at, first=told.sittings == 0, link=newest.link)]
