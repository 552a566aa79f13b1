"""What the tests of syncing share: a team with mailboxes at the sandbox, and what the store holds of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from config import teams
from gmail_sync import oauth, sync
from gmail_sync.check import Report
from gmail_sync.sandbox import Sandbox, SandboxMailbox
from gmail_sync.session import Busy, CursorMoved, Services
from gmail_sync.vault import Vault
from tracker import mailboxes, people
from tracker.conversations import Conversation, Thread
from tracker.db import Sessions, transaction, utc_now
from tracker.events import Event
from tracker.filing import Filing
from tracker.jobs import Again
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message
from tracker.people import User

ALICE, BOB, CHARLIE = "alice@team.example", "bob@team.example", "charlie@outside.example"
UNLIMITED = 10**9


@dataclass
class Team:
    """A team whose mailboxes live in a sandbox."""

    sandbox: Sandbox
    sessions: Sessions
    services: Services

    def connect(self, address: str) -> Mailbox:
        """Connect a sandbox user's mailbox, with a user of the team to own it."""
        kept = oauth.authorized_user(self.sandbox.credentials(address))
        with transaction(self.sessions) as session:
            user = people.by_address(session, address) or self._add(session, address)
            return mailboxes.connect(session, user, address, self.services.vault.seal(kept), utc_now())

    def _add(self, session: Session, address: str) -> User:
        team = people.first_team(session)
        if team is None:
            return teams.found(session, "Test team", address, "")
        return people.add_user(session, team.id, address)

    def sync(self, mailbox: Mailbox, *, tries: int = 20) -> None:
        """Sync as a worker would, with its patience but without its waiting, save for another worker's turn."""
        reason = ""
        deadline = time.monotonic() + 20
        while tries > 0 and time.monotonic() < deadline:
            try:
                sync.sync_mailbox(self.services, mailbox.id)
            except Again as again:
                reason = str(again)
                if isinstance(again.__cause__, Busy | CursorMoved):
                    time.sleep(0.05)
                else:
                    tries -= 1
                continue
            return
        raise AssertionError(f"The sync never came to an end: {reason}")

    def check(self, mailbox: Mailbox) -> Report:
        """Compare with Gmail."""
        report = sync.check_mailbox(self.services, mailbox.id)
        assert report is not None
        return report

    def read(self, mailbox: Mailbox) -> Mailbox:
        """The mailbox's row as it is now."""
        with self.sessions() as session:
            return session.get_one(Mailbox, mailbox.id)

    def with_services(self, **changes: Any) -> Team:
        """The same team, synced by a worker with other settings."""
        return replace(self, services=replace(self.services, **changes))


def make_team(sandbox: Sandbox, sessions: Sessions, *, units_per_minute: int = UNLIMITED) -> Team:
    """A team at a sandbox."""
    google = oauth.Google(
        api_url=sandbox.url,
        auth_url=f"{sandbox.url}/o/oauth2/v2/auth",
        token_url=f"{sandbox.url}/token",
        certs_url=f"{sandbox.url}/oauth2/v3/certs",
        client_id=sandbox.client_id,
        client_secret=sandbox.client_secret,
    )
    vault = Vault("a secret key for tests only, not for the world")
    return Team(sandbox, sessions, Services(sessions, vault, google, units_per_minute, 0, timedelta(seconds=60)))


def mail(
    sender: str = CHARLIE, to: str = ALICE, subject: str = "Hello", text: str = "How are you?", **headers: str
) -> bytes:
    """A small mail."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Date"] = headers.pop("date", "Tue, 03 Nov 2026 10:00:00 +0100")
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return message.as_bytes()


def stored(session: Session, mailbox: Mailbox) -> dict[str, tuple[str, ...]]:
    """The visible messages that the store holds of a mailbox, with their labels."""
    query = select(Copy.gmail_id, Copy.label_ids).where(Copy.mailbox_id == mailbox.id, ~Copy.hidden)
    return {gmail_id: tuple(sorted(labels)) for gmail_id, labels in session.execute(query)}


def in_gmail(box: SandboxMailbox) -> dict[str, tuple[str, ...]]:
    """The visible messages that Gmail holds, with their labels."""
    return {id_: tuple(sorted(box.label_ids(id_))) for id_ in box.message_ids()}


def grouped(session: Session, mailbox: Mailbox) -> set[frozenset[str]]:
    """A mailbox's messages as conversations group them."""
    groups: dict[int, set[str]] = {}
    query = select(Message.conversation_id, Copy.gmail_id).join(Copy).where(Copy.mailbox_id == mailbox.id)
    for conversation_id, gmail_id in session.execute(query.where(~Copy.hidden)):
        groups.setdefault(conversation_id, set()).add(gmail_id)
    return {frozenset(group) for group in groups.values()}


def story(session: Session) -> dict[str, Any]:
    """Everything that two runs of the same syncing have to agree on, without the store's own numbers."""
    names = {id_: identity.hex() for id_, identity in session.execute(select(Message.id, Message.identity))}
    groups: dict[int, set[str]] = {}
    for conversation_id, identity in session.execute(select(Message.conversation_id, Message.identity)):
        groups.setdefault(conversation_id, set()).add(identity.hex())
    copies = session.execute(
        select(Mailbox.address, Copy.gmail_id, Copy.label_ids, Copy.message_id, Copy.gmail_thread_id)
        .join(Mailbox, Mailbox.id == Copy.mailbox_id)
        .where(~Copy.hidden)
    )
    threads = session.execute(select(Thread.gmail_thread_id, Thread.conversation_id))
    arrivals = session.execute(select(Event.kind, Event.message_id).where(Event.kind.like("message.%")))
    filings = session.execute(select(Filing.conversation_id, Filing.box_id, Filing.state, Filing.reason))
    return {
        "copies": sorted((a, g, tuple(sorted(labels)), names[m], t) for a, g, labels, m, t in copies),
        "conversations": sorted(tuple(sorted(group)) for group in groups.values()),
        "threads": sorted((thread, tuple(sorted(groups.get(c, ())))) for thread, c in threads),
        "arrivals": sorted((kind, names.get(m, "deleted")) for kind, m in arrivals),
        "filings": sorted(
            (tuple(sorted(groups.get(c, ()))), str(b), state, reason) for c, b, state, reason in filings
        ),
        "counts": sorted(session.execute(select(Conversation.subject, Conversation.message_count)).all()),
    }
