"""What the tests of the pages build with: mail in mailboxes, a signed-in browser, and a count of queries.

Alice is the team's admin, Bob a teammate, Charlie writes from outside.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW
from tracker import autobox, conversations, mailboxes, moving, people, sessions
from tracker.addresses import normalize
from tracker.conversations import Conversation, Incoming
from tracker.db import transaction
from tracker.mailboxes import Backfill, Mailbox
from tracker.people import User
from tracker.web import frame

numbers = itertools.count(1)
ALICE, BOB, CHARLIE = "alice@team.example", "bob@team.example", "charlie@acme.test"


def a_mailbox(session: Session, user: User) -> Mailbox:
    """A connected mailbox whose first reading is done."""
    mailbox = mailboxes.connect(session, user, user.address, b"sealed", NOW)
    mailbox.backfill, mailbox.synced_at = Backfill.DONE.value, NOW
    session.flush()
    return mailbox


def a_mail(session: Session, mailbox: Mailbox, subject: str = "Hello", **more: Any) -> Conversation:
    """A mail arrives in a mailbox, and the rules look at it. more: see `_incoming`."""
    return session.get_one(Conversation, _arrive(session, mailbox, [_incoming(subject, **more)]).pop())


def some_mail(session: Session, mailbox: Mailbox, mails: Iterable[Mapping[str, Any]]) -> None:
    """Mails arrive as one batch, as they do while a mailbox is read first: much faster than one by one."""
    _arrive(session, mailbox, [_incoming(**mail) for mail in mails])


def _incoming(
    subject: str,
    *,
    sender: str = CHARLIE,
    sender_name: str = "",
    to: Sequence[str] = (ALICE,),
    text: str = "Good morning.",
    html: str | None = None,
    at: datetime | None = None,
    thread: str = "",
    labels: Sequence[str] = ("INBOX",),
    attachments: Sequence[dict[str, Any]] = (),
    message_id: str = "",
) -> Incoming:
    number = next(numbers)
    at = at or NOW - timedelta(minutes=number)
    message_id = message_id or f"m{number}@mail.test"
    message = {
        "identity": hashlib.sha256(f"{message_id}{text}".encode()).digest(),
        "rfc822_message_id": message_id,
        "kin": hashlib.sha256(message_id.encode()).digest(),
        "sent_at": at,
        "sender_name": sender_name,
        "sender_address": sender,
        "sender_normalized": normalize(sender),
        "subject": subject,
        "snippet": text[:120],
        "text": text,
        "html": html,
        "automatic": None,
        "auto_reply": False,
        "attachment_count": len(attachments),
        "defects": [],
        "unreadable": False,
    }
    recipients = [{"kind": "to", "name": "", "address": one, "normalized": normalize(one)} for one in to]
    copy = {
        "gmail_id": f"g{number}",
        "gmail_thread_id": thread or f"t{number}",
        "label_ids": sorted(labels),
        "history_id": number,
        "internal_date": at,
        "size_estimate": len(text),
        "headers": [],
        "bcc": [],
        "attachments": list(attachments),
        "calendars": [],
    }
    return Incoming(message, recipients, copy)


def _arrive(session: Session, mailbox: Mailbox, mails: Sequence[Incoming]) -> set[int]:
    taken = conversations.take_in(session, mailbox.team_id, mailbox.id, mails)
    own = people.own_addresses(session, mailbox.team_id)
    conversations.record_arrivals(session, mailbox.team_id, mailbox.id, taken.new_message_ids, own)
    autobox.consider(session, mailbox.team_id, own, taken.conversation_ids, connected_at=NOW, now=NOW)
    moving.move_by_mail(session, mailbox.team_id, own, taken.new_message_ids, NOW)
    return taken.conversation_ids


def browser_of(app: Flask, user: User) -> FlaskClient:
    """A browser in which this user is signed in."""
    client = app.test_client()
    made = frame.of(app)
    with transaction(made.sessions) as session:
        found = session.get_one(User, user.id)
        token = sessions.begin(session, found, address="127.0.0.1", agent="Firefox/140.0 Linux", now=made.now())
    with client.session_transaction() as cookie:
        cookie[frame.USER], cookie[frame.TOKEN] = user.key, token
    return client


@contextmanager
def counted(engine: Engine) -> Iterator[list[str]]:
    """The statements that are executed within the block."""
    statements: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if not statement.startswith("SELECT set_config("):  # the lock between teams: one on every page
            statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)
