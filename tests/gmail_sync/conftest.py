"""A team whose mailboxes live in the sandbox."""

from __future__ import annotations

import pytest

from gmail_sync.sandbox import Sandbox
from tests.gmail_sync.syncing import ALICE, BOB, Team, make_team
from tracker.db import Sessions


@pytest.fixture
def team(sandbox: Sandbox, sessions: Sessions) -> Team:
    """Alice and Bob have mailboxes at the sandbox; nothing is connected yet, and there is no quota."""
    sandbox.quota.concurrent_requests = 0
    for address in (ALICE, BOB):
        sandbox.add_user(address)
    return make_team(sandbox, sessions)
