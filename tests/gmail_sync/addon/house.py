"""What the tests of the side panel share: a team whose mail lies in the sandbox and is synced, and its Gmail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from gmail_sync.sandbox import Sandbox
from tests.gmail_sync.addon.client import Panel
from tests.gmail_sync.syncing import ALICE, Team, mail
from tracker.conversations import Conversation
from tracker.db import Sessions
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message
from tracker.people import User, Viewer, viewer_of
from tracker.web import frame

URL = "https://tracker.example"


@dataclass(frozen=True)
class Mail:
    """A mail that arrived: its ids in Gmail, and what it is in Tracker."""

    gmail_id: str
    thread_id: str
    conversation_id: int
    message_id: int


@dataclass
class House:
    """Alice is the team's admin, Bob a teammate; both have connected their mailboxes."""

    app: Flask
    team: Team
    sandbox: Sandbox
    sessions: Sessions
    boxes: dict[str, Mailbox]

    def panel(self, address: str = ALICE, **options: Any) -> Panel:
        """The side panel in this person's Gmail."""
        return Panel(self.app, self.sandbox, address, **options)

    def mail(self, owner: str = ALICE, *, synced: bool = True, **mailing: Any) -> Mail:
        """A mail arrives in a mailbox, and is synced; `mailing` is `tests.gmail_sync.syncing.mail`'s."""
        box = self.sandbox.mailbox(owner)
        gmail_id = box.insert(mail(to=mailing.pop("to", owner), **mailing), label_ids=["INBOX"])
        thread_id = next(thread for thread, held in box.threads().items() if gmail_id in held)
        if not synced:
            return Mail(gmail_id, thread_id, 0, 0)
        self.team.sync(self.boxes[owner])
        query = select(Message.conversation_id, Message.id).join(Copy, Copy.message_id == Message.id)
        query = query.where(Copy.mailbox_id == self.boxes[owner].id, Copy.gmail_id == gmail_id)
        with self.sessions() as session:
            return Mail(gmail_id, thread_id, *session.execute(query).one())

    def user(self, address: str = ALICE) -> User:
        """The user with this address."""
        with self.sessions() as session:
            return session.scalars(select(User).where(User.address == address)).one()

    def viewer(self, address: str = ALICE) -> Viewer:
        """Their viewer."""
        return viewer_of(self.user(address), "test")

    def conversation(self, session: Session, sent: Mail) -> Conversation:
        """A mail's conversation."""
        return session.get_one(Conversation, sent.conversation_id)

    def at(self, now: datetime) -> None:
        """Stop the application's clock there."""
        frame.of(self.app).now = lambda: now
