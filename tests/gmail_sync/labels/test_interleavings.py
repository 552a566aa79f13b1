"""Any interleaving of label changes in Gmail and in Tracker settles, the later wins, and nothing is lost."""

from __future__ import annotations

import logging
import os
import random
import time

import pytest

from tests.gmail_sync.labels import lanes
from tests.gmail_sync.syncing import Team
from tests.tracker.domain import a_team
from tracker.db import transaction

log = logging.getLogger(__name__)
LANES, STEPS = 40, 7


def _play(team: Team, seeds: range) -> int:
    with transaction(team.sessions) as session:
        user = a_team(session)
    played = 0
    for seed in seeds:
        played += lanes.play(team.sessions, team.services, user, seed, lanes=LANES, steps=STEPS)
        log.info("%d interleavings, seed %d", played, seed)
    return played


def test_interleavings_settle(team: Team) -> None:
    first = int(os.environ.get("TRACKER_SEED", random.randrange(10**9)))
    assert _play(team, range(first, first + 3)) == 120


def test_a_box_without_its_label_that_gets_another_s_by_a_merge(team: Team) -> None:
    """The label was deleted in Gmail; what was agreed on with it is not agreed on with the one that follows."""
    assert _play(team, range(500_015, 500_016)) == LANES


@pytest.mark.soak
def test_ten_thousand_interleavings_settle(team: Team) -> None:
    number = int(os.environ.get("TRACKER_INTERLEAVINGS", "10000"))
    first = int(os.environ.get("TRACKER_SEED", "0"))
    began = time.monotonic()
    played = _play(team, range(first, first + number // LANES))
    print(f"\n{played} interleavings in {time.monotonic() - began:.0f} s")  # noqa: T201
    assert played == number
