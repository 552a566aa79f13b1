"""The same house without Gmail's mail: mailboxes and mail are put into the database, a tenth of a sync's time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import select

from config import teams
from gmail_sync.sandbox import Sandbox
from tests.gmail_sync.addon.conftest import MakeApp
from tests.gmail_sync.addon.house import House, Mail
from tests.gmail_sync.syncing import ALICE, BOB, CHARLIE, Team
from tests.tracker.web.factories_web import _arrive, _incoming, a_mailbox, numbers
from tracker import people
from tracker.addresses import parse_addresses
from tracker.db import transaction
from tracker.messages import Copy, Message


@dataclass
class QuickHouse(House):
    """Mail that arrives is in Tracker at once."""

    def mail(self, owner: str = ALICE, *, synced: bool = True, **mailing: Any) -> Mail:
        """A mail arrives; `mailing` is `sender`, `to`, `subject`, `text`, `message_id`, `thread`."""
        assert synced
        sender = parse_addresses([mailing.pop("sender", CHARLIE)])[0]
        to = [one.address for one in parse_addresses([mailing.pop("to", owner)])]
        subject, number = mailing.pop("subject", "Hello"), next(numbers)
        made = _incoming(subject, sender=sender.address, sender_name=sender.name, to=to, **mailing)
        ids = {"gmail_id": f"{0x18F0_0000_0000_0000 + number:x}"}
        ids["gmail_thread_id"] = mailing.get("thread") or ids["gmail_id"]
        with transaction(self.sessions) as session:
            mailbox = session.merge(self.boxes[owner], load=False)
            _arrive(session, mailbox, [replace(made, copy=made.copy | ids)])
            query = select(Message.conversation_id, Message.id).join(Copy, Copy.message_id == Message.id)
            found = session.execute(query.where(Copy.mailbox_id == mailbox.id, Copy.gmail_id == ids["gmail_id"]))
            return Mail(ids["gmail_id"], ids["gmail_thread_id"], *found.one())


@pytest.fixture
def house(make_app: MakeApp, team: Team, sandbox: Sandbox) -> QuickHouse:
    """Alice is the team's admin, Bob a teammate; both have connected their mailboxes."""
    with transaction(team.sessions) as session:
        alice = teams.found(session, "Test team", ALICE, "Alice Archer")
        bob = people.add_user(session, alice.team_id, BOB, name="Bob Baker")
        boxes = {user.address: a_mailbox(session, user) for user in (alice, bob)}
    return QuickHouse(make_app(), team, sandbox, team.sessions, boxes)
