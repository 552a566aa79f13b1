"""A phone for the tests of labels."""

from __future__ import annotations

import pytest

from tests.gmail_sync.labels.world import Phone
from tests.gmail_sync.syncing import Team


@pytest.fixture
def phone(team: Team) -> Phone:
    """Alice's mailbox, with labels off."""
    return Phone(team)
