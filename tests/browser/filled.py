"""A team that has been at work: for the tests that walk through the pages, with some of everything on each.

Alice is its admin, Bob a teammate, Dana and Charlie write from outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from playwright.sync_api import BrowserContext
from sqlalchemy import select
from sqlalchemy.orm import Session

from config import teams
from gmail_sync import oauth
from gmail_sync.sandbox import Sandbox
from scheduler.web import base as web_base
from tests.browser.conftest import Served
from tests.sandbox_fixtures import Api, as_raw, mail
from tests.tracker.domain import a_box
from tests.tracker.web.factories_web import ALICE, BOB, a_mail, a_mailbox, browser_of
from tracker import access_requests, activities, boxes, contacts, fields, links, mailboxes, people, sharing, tasks
from tracker.activities import ActivityKind
from tracker.addresses import Address, normalize
from tracker.boxes import Box
from tracker.contacts import Contact
from tracker.conversations import Conversation
from tracker.mailboxes import Backfill, Mailbox
from tracker.messages import Message
from tracker.people import User

DANA, CHARLIE = "dana@acme.test", "charlie@kestrel.test"
HTML = "<p>Dear Alice,</p><p>please find the <b>offer</b> attached.</p>"


@dataclass(slots=True)
class Filled:
    """What the addresses of pages are made of: keys."""

    alice: User
    box: str
    other_box: str
    pipeline: str
    stage: str
    contact: str
    organization: str
    conversation: str
    unfiled: str
    bob: str = ""
    message: str = ""  #: of the conversation that Bob asks to see
    mailbox: str = ""  #: Alice's, once it is connected
    draft: str = ""  #: in it, in Gmail

    def keys(self) -> dict[str, str]:
        """Those that addresses are made of, by name."""
        return {name: value for name in self.__slots__ if isinstance(value := getattr(self, name), str)}


def fill(session: Session) -> Filled:
    """Found the team and let it work for some weeks; commits."""
    now = datetime.now(UTC)
    alice = teams.found(session, "Test team", ALICE, "Alice Archer")
    bob = people.add_user(session, alice.team_id, BOB, name="Bob Baker")
    viewer = people.viewer_of(alice, "test")
    mailbox, reading = a_mailbox(session, alice), a_mailbox(session, bob)
    mailbox.synced_at = mailbox.checked_at = now
    reading.backfill, reading.fetch_trouble = Backfill.LISTING.value, "Gmail did not hand out 2 messages"
    contacts.ensure(session, viewer, Address("Dana Okafor", DANA, normalize(DANA)))
    box = a_box(session, viewer, "Acme: two cold rooms", DANA, now=now - timedelta(days=30))
    other = a_box(session, viewer, "Kestrel", CHARLIE, at="Lead", now=now - timedelta(days=5))
    for number, stage in enumerate(("Prospect", "Lead", "Won", "Lost & Rejected"), 1):
        a_box(
            session,
            viewer,
            f"Deal {number}",
            f"p{number}@deal{number}.test",
            at=stage,
            now=now - timedelta(days=number),
        )
    a_box(session, viewer, "Warm introduction", "intro@acme.test", into="Connections", now=now)
    boxes.assign(session, viewer, other, bob)
    for field in fields.of_pipeline(session, box.pipeline_id):
        if field.type == "money":
            boxes.set_value(session, viewer, box, field, {"amount": "12500", "currency": "EUR"})
    _work(session, viewer, box, other, bob, now)
    filed, unfiled = _mail(session, mailbox, now)
    message = _asked_for(session, viewer, people.viewer_of(bob, "test"), filed, now)
    session.commit()
    contact = session.scalars(select(Contact).where(Contact.name == "Dana Okafor")).one()
    assert contact.organization is not None
    return Filled(
        alice=alice, box=box.key, other_box=other.key, pipeline=box.pipeline.key, stage=other.stage.key,
        contact=contact.key, organization=contact.organization.key, conversation=filed.key, unfiled=unfiled.key,
        bob=bob.key, message=message.key,
    )  # fmt: skip


def _asked_for(
    session: Session, alice: people.Viewer, bob: people.Viewer, conversation: Conversation, now: datetime
) -> Message:
    """Alice shares no more than that a conversation is there, and Bob asks to see it."""
    sharing.set_rule(session, alice, conversation=conversation, outside=sharing.Level.EXISTENCE, inside=0)
    sharing.grant(session, alice, bob.user_id or 0, address="eve@new.test")
    sharing.private_add(session, alice, "bank.example")
    mail = select(Message).where(Message.conversation_id == conversation.id).order_by(Message.id)
    message = session.scalars(mail.limit(1)).one()
    access_requests.ask(session, bob, message.id, now)
    return message


def _work(session: Session, viewer: people.Viewer, box: Box, other: Box, bob: User, now: datetime) -> None:
    tasks.create(
        session, viewer, "Call about the delivery", box=box, due_on=(now - timedelta(days=1)).date(), now=now
    )
    tasks.create(session, viewer, "Send the offer", box=box, due_on=now.date(), assignee_id=bob.id, now=now)
    tasks.create(session, viewer, "Tidy up the pipeline", due_on=(now + timedelta(days=3)).date(), now=now)
    done = tasks.create(session, viewer, "Find out who decides", box=box, now=now)
    tasks.complete(session, viewer, done, now)
    activities.add(session, viewer, box, ActivityKind.NOTE, "They need it by May.", people=[bob], now=now)
    activities.add(session, viewer, box, ActivityKind.CALL, "Asked for two variants.", minutes=12, now=now)
    links.link(session, viewer, box, other)


def _mail(session: Session, mailbox: Mailbox, now: datetime) -> tuple[Conversation, Conversation]:
    clip = [
        {"part": "1", "filename": "offer.pdf", "mime_type": "application/pdf", "size": 48_000, "content_id": None}
    ]
    filed = a_mail(session, mailbox, "Cold rooms: the offer", sender=DANA, sender_name="Dana Okafor", html=HTML,
                   text="Dear Alice,\n\nplease find the offer attached.\n\n> What would two cost?\n> Alice",
                   at=now - timedelta(days=2), attachments=clip, thread="filed")  # fmt: skip
    a_mail(session, mailbox, "Re: Cold rooms", sender=ALICE, sender_name="Alice Archer", to=[DANA],
           text="Thank you.", at=now - timedelta(days=1), thread="filed", labels=("SENT",))  # fmt: skip
    unfiled = a_mail(session, mailbox, "A question", sender="eve@new.test", sender_name="Eve Näslund", at=now,
                     text="Do you ship to Norway?", labels=("INBOX", "UNREAD"))  # fmt: skip
    for number in range(4):
        sender = f"news{number}@list.test"
        a_mail(session, mailbox, f"Newsletter {number}", sender=sender, at=now - timedelta(hours=number + 1))
    return filed, unfiled


def begin_a_draft(session: Session, served: Served, sandbox: Sandbox, team: Filled) -> None:
    """Connect Alice's mailbox at the sandbox, and leave a draft in it; commits."""
    sandbox.add_user(ALICE)
    post = served.app.extensions[web_base.EXTENSION].post
    sealed = post.gmail.vault.seal(oauth.authorized_user(sandbox.credentials(ALICE)))
    mailbox = mailboxes.connect(session, session.merge(team.alice), ALICE, sealed, datetime.now(UTC))
    session.commit()
    raw = mail("Begun in Gmail", sender=ALICE, to=f"Dana Okafor <{DANA}>", body="Dear Dana, about the rooms:")
    made = Api(sandbox, ALICE).post("drafts", {"message": {"raw": as_raw(raw)}})
    team.mailbox, team.draft = mailbox.key, made["id"]


def sign_in(context: BrowserContext, served: Served, user: User) -> None:
    """Give a browser the cookie of this user; through the sandbox's consent page it would take a second."""
    client = browser_of(served.app, user)
    name = served.app.config["SESSION_COOKIE_NAME"]
    cookie = client.get_cookie(name)
    assert cookie is not None
    context.add_cookies([{"name": name, "value": cookie.value, "url": served.url}])
