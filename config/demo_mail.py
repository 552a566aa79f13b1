"""The demo team's outbox and templates, as `demo_mail.toml` tells them.

Where the recipients are nobody knows yet: once their mail is read, what is queued moves to their own nine.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler import outbox, rich_text, snippets, writing
from scheduler.letters import address
from scheduler.outbox import About
from scheduler.timing import Asked, Timing
from scheduler.writing import Written
from tracker import mailboxes, people
from tracker.boxes import Box
from tracker.people import User

TOLD = Path(__file__).with_suffix(".toml")


def seed(session: Session, now: datetime) -> None:
    """Queue a mail or two, and keep some templates; the mailboxes are connected already."""
    told = tomllib.loads(TOLD.read_text("utf-8"))
    for one in told["template"]:
        user = _user(session, one["by"])
        html = rich_text.from_plain(one["text"])
        snippets.add(session, people.viewer_of(user, "demo"), one["name"], one["subject"], html, shared=True)
    for one in told["mail"]:
        _queue(session, _user(session, one["by"]), one, now)


def _user(session: Session, spec: str) -> User:
    user = people.by_address(session, spec)
    assert user is not None
    return user


def _queue(session: Session, user: User, told: Mapping[str, Any], now: datetime) -> None:
    box = session.scalars(select(Box).where(Box.team_id == user.team_id, Box.name == told["box"])).one()
    contact = box.contacts[0]
    written = Written(
        to=(address(contact.name, contact.addresses[0].address),),
        subject=told["subject"],
        html=rich_text.from_plain(told["text"]),
    )
    mailbox = mailboxes.of_user(session, user.id)[0]
    asked = Timing(Asked(told["when"]), days=told.get("days", 0))
    for mail in writing.mails(session, user, mailbox, written, box, asked, now):
        about = About(box=box, contact=contact)
        outbox.queue(
            session, people.viewer_of(user, "demo"), mailbox, mail.letter, mail.planned.when, about, now=now
        )
