"""What of a reading is worth telling, once each. Pure: what was told is handed in, and handed back with it.

Told is the first likely read, a view after a week of silence, and each sitting with clicks; never what a machine
did, and nothing twice: what is told later is younger, or comes to more sittings, than what was told before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from webhooks.tracks import Confidence
from webhooks.verdicts.facts import Reading

SILENCE = timedelta(days=7)
READ, CLICKED = "email.read", "email.clicked"


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of a mail so far."""

    confidence: str = ""
    at: datetime | None = None  #: when the last of it happened
    sittings: int = 0


@dataclass(frozen=True, slots=True)
class News:
    """One thing to tell."""

    kind: str
    at: datetime
    first: bool
    again_after_days: int | None = None
    link: int | None = None


def news(reading: Reading, told: Told) -> tuple[list[News], Told]:
    """What is to be told now, and what was told with it."""
    made = [*_reads(reading, told), *_clicks(reading, told)]
    if not made:
        return [], told
    ranks = [Confidence(told.confidence)] if told.confidence else []
    best = max([*ranks, reading.confidence], key=lambda one: one.rank)
    at = max([one.at for one in made] + ([told.at] if told.at else []))
    return made, Told(best.value, at, max(told.sittings, len(reading.sittings)))


def _reads(reading: Reading, told: Told) -> list[News]:
    views = reading.views
    if not views:
        return []
    if not told.confidence:
        # A view that began with a click is told as the click.
        return [] if views[0].clicked else [News(READ, views[0].first, first=True)]
    newest = views[-1]
    before = max((view.last for view in views[:-1]), default=told.at)
    if newest.clicked or before is None or (told.at is not None and newest.first <= told.at):
        return []
    silent = newest.first - before
    return [News(READ, newest.first, first=False, again_after_days=silent.days)] if silent >= SILENCE else []


def _clicks(reading: Reading, told: Told) -> list[News]:
    if len(reading.sittings) <= told.sittings:
        return []
    newest = reading.sittings[-1]
    return [News(CLICKED, newest.at, first=told.sittings == 0, link=newest.link)]
