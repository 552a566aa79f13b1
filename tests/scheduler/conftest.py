"""Fixtures of the scheduler's tests."""

from __future__ import annotations

import pytest

from tests.gmail_sync.syncing import ALICE, Team
from tests.scheduler.sending import Office, make_office
from tracker.mailboxes import Mailbox


@pytest.fixture
def office(team: Team) -> Office:
    """A team at the sandbox, where Dora outside has a mailbox too. It is eight in London; time stands still."""
    team.sandbox.add_user("dora@outside.example")
    return make_office(team)


@pytest.fixture
def alices(office: Office) -> Mailbox:
    """Alice's mailbox, connected."""
    return office.team.connect(ALICE)
