"""An office whose mail is tracked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.gmail_sync.syncing import Team
from tests.scheduler.conftest import alices  # noqa: F401
from tests.scheduler.sending import Office, make_office
from tests.webhooks.tracking.got import URL


@pytest.fixture
def office(team: Team) -> Office:
    """A team at the sandbox, where Dora outside has a mailbox too; others reach its Tracker."""
    team.sandbox.add_user("dora@outside.example")
    made = make_office(team)
    return replace(made, post=replace(made.post, tracks_at=URL))
