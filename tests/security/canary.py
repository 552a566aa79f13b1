"""A team in which Alice keeps things to herself: what `walk` looks for as everybody else.

`MAIL` stands in every part of mail that is hers alone, `BOX` in everything of a pipeline that only she sees.
"""

# ruff: noqa: E501 - lists of names
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from config import teams
from scheduler import calendar, letters, local_time, outbox, snippets
from scheduler.letters import Letter
from scheduler.outbox import About, When, Zone
from tests.tracker.domain import NOW, a_box, pipeline
from tests.tracker.web import factories_web
from tests.tracker.web.factories_web import CHARLIE, a_mail, a_mailbox
from tracker import access, activities, boxes, contacts, people, sharing, tasks, views
from tracker.activities import ActivityKind
from tracker.addresses import Address
from tracker.boxes import Box
from tracker.conversations import Incoming
from tracker.events import Event
from tracker.imports import Import
from tracker.mailboxes import Mailbox
from tracker.messages import Message
from tracker.people import Role, User, viewer_of
from webhooks.bells.kinds import OF_MAIL, Kind
from webhooks.bells.notices import Notification
from webhooks.tracks import TrackedEmail

MAIL, BOX = "quokkamail", "quokkabox"
TYPED = "quokka"  #: how both begin; who types it may read it back
THREAD = "acme"

CALENDAR = f"""BEGIN:VCALENDAR
METHOD:REQUEST
BEGIN:VEVENT
UID:{MAIL}@clinic.test
SUMMARY:{MAIL}
LOCATION:{MAIL}
ORGANIZER;CN={MAIL}:mailto:{MAIL}@clinic.test
DTSTART:20261125T100000Z
DTEND:20261125T110000Z
END:VEVENT
END:VCALENDAR"""
ATTACHMENT = {
    "filename": f"{MAIL}.pdf", "mime_type": "application/pdf", "size": 100, "id": "a1", "attachment_id": "a1",
    "part_id": "1", "content_id": f"{MAIL}@clinic.test", "inline": False,
}  # fmt: skip
HEADERS = [["List-Id", f"<{MAIL}.clinic.test>"], ["List-Unsubscribe", f"<https://clinic.test/{MAIL}>"],
           ["Bcc", f"{MAIL}@clinic.test"], ["X-Anything", MAIL]]  # fmt: skip
BCC = [{"name": MAIL, "address": f"{MAIL}@clinic.test"}]


@dataclass(slots=True)
class House:
    """Who is there, and what walks are made of."""

    alice: User
    people: dict[str, User] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)  #: of everybody's calendar


def planted(
    subject: str = MAIL, *, sender: str, thread: str = THREAD, labels: Sequence[str] = ("INBOX",)
) -> Incoming:
    """A mail with the word in every part."""
    made = factories_web._incoming(
        f"{subject} plans", sender=sender, sender_name=f"Dr {MAIL}", to=[f"{MAIL}@team.example"],
        text=f"Dear Alice, {MAIL}.\n\n--\n{MAIL} Clinic\n+44 20 7946 0{MAIL}", html=f"<p title='{MAIL}'>{MAIL}</p>",
        thread=thread, labels=labels, message_id=f"{MAIL}.{next(factories_web.numbers)}@clinic.test",
        attachments=[ATTACHMENT],
    )  # fmt: skip
    recipients = [{**one, "name": MAIL} for one in made.recipients]
    copy = {**made.copy, "headers": HEADERS, "bcc": BCC, "calendars": [CALENDAR]}
    return replace(made, recipients=recipients, copy=copy)


def settle(session: Session) -> House:
    """Found the team and another one; commits."""
    bob = teams.found(session, "Test team", "bob@team.example", "Bob Baker")
    alice = people.add_user(session, bob.team_id, "alice@team.example", name="Alice Archer")
    carol = people.add_user(session, bob.team_id, "carol@team.example", name="Carol")
    dora = people.add_user(session, bob.team_id, "dora@team.example", name="Dora", role=Role.GUEST)
    zoe = teams.found(session, "Others", "zoe@others.example", "Zoe")
    made = House(alice, {"bob": bob, "carol": carol, "dora": dora, "zoe": zoe})
    own, bobs = a_mailbox(session, alice), a_mailbox(session, bob)
    shared = a_box(session, viewer_of(alice, "test"), "Acme", CHARLIE)
    _mail(session, alice, own, bobs)
    _work(session, made, own, shared)
    _hidden_box(session, alice)
    for name, one in [("alice", alice), *made.people.items()]:
        made.secrets[name] = calendar.make(session, viewer_of(one, "test"), NOW)
    _misdirected(session, made)
    session.commit()
    return made


def _misdirected(session: Session, made: House) -> None:
    """Everybody has notifications of each kind about what is Alice's alone, whoever may have put them there."""
    mail = session.scalars(select(Message.id).where(Message.subject.contains(MAIL)).order_by(Message.id)).all()
    box = session.scalars(select(Box.id).where(Box.name.contains(BOX))).one()
    event = session.scalars(select(Event.id).where(Event.box_id == box).order_by(Event.id)).first()
    assert mail
    for user in made.people.values():
        own = {"team_id": user.team_id, "user_id": user.id, "event_id": event, "at": NOW, "listed": True}
        for number, kind in enumerate(Kind):
            about = {"message_id": mail[number % len(mail)]} if kind in OF_MAIL else {}
            session.add(Notification(**own, kind=kind.value, thing=f"forged:{kind}", box_id=box, **about))


def _mail(session: Session, alice: User, own: Mailbox, bobs: Mailbox) -> None:
    who = viewer_of(alice, "test")
    sharing.private_add(session, who, "clinic.test")
    people.own_address(session, alice.team_id, f"{MAIL}@team.example", None)
    a_mail(session, own, "Offer", thread=THREAD, text="An offer for all of us.")
    a_mail(session, bobs, "Bob's own", to=["bob@team.example"], thread="bobs")
    sent = factories_web._incoming("Re: Offer", sender=alice.address, to=[CHARLIE], thread=THREAD, labels=["SENT"])
    sent = replace(sent, copy={**sent.copy, "bcc": BCC, "headers": HEADERS[2:3]})
    mails = [
        sent,
        planted(sender=f"{MAIL}@clinic.test"),  # on her private list, in a shared box
        planted(sender=alice.address),  # purely internal, in a shared box
        planted(sender=f"{MAIL}@nobody.test", thread="unfiled"),  # in no box
        planted(sender=alice.address, labels=["DRAFT"]),
        planted(sender=f"{MAIL}@bad.test", labels=["SPAM"]),
        planted(sender=f"{MAIL}@bin.test", labels=["TRASH"]),
    ]
    for one in mails:
        factories_web._arrive(session, own, [one])


def _queued(session: Session, alice: User, own: Mailbox) -> None:
    """A mail of hers that waits, and what its pixel would tell."""
    there = [letters.address(MAIL, f"{MAIL}@clinic.test")]
    letter = Letter(letters.address(alice.name, alice.address), tuple(there), subject=MAIL, text=MAIL)
    when = When(local_time.wall_of(NOW + timedelta(days=1), ZoneInfo("UTC")), "UTC", Zone.FIXED)
    email = outbox.queue(session, viewer_of(alice, "test"), own, letter, when, About(), now=NOW)
    told = {"user_id": alice.id, "mailbox_id": own.id, "scheduled_email_id": email.id, "sent_at": NOW}
    session.add(TrackedEmail(team_id=alice.team_id, recipients=[f"{MAIL}@clinic.test"], **told))


def _work(session: Session, made: House, own: Mailbox, shared: Box) -> None:
    bob, alices = made.people["bob"], viewer_of(made.alice, "test")
    who = viewer_of(bob, "test")
    sales = pipeline(session, bob.team_id)
    snippets.add(session, alices, "Hers", MAIL, f"<p>{MAIL}</p>", shared=False)
    views.save(session, alices, sales, f"Of {MAIL}", {"q": MAIL}, shared=False)
    kept = {"header": [MAIL], "rows": [[2, [MAIL]]], "filename": f"{MAIL}.csv", "pipeline_id": sales.id,
            "mapping": {"columns": {}}}  # fmt: skip
    session.add(Import(team_id=bob.team_id, user_id=made.alice.id, **kept))
    _queued(session, made.alice, own)
    about = {"kind": Kind.TASK.value, "event_id": 1, "at": NOW, "listed": True}
    session.add(Notification(team_id=bob.team_id, user_id=made.alice.id, thing="task:1", **about))
    tasks.create(session, who, "Call them", box=shared, assignee_id=bob.id, now=NOW)
    activities.add(session, who, shared, ActivityKind.NOTE, "A note", now=NOW)


def _hidden_box(session: Session, alice: User) -> None:
    who, where = viewer_of(alice, "test"), pipeline(session, alice.team_id, "Connections")
    # Two who may be one, of whom one is in it: everybody may know them, and that there is a deal nobody.
    dana, _ = (
        contacts.ensure(session, who, Address("Dana Okafor", address, address))
        for address in ("dana@acme.test", "dana@okafor.test")
    )
    hidden = boxes.create(session, who, where, f"{BOX} deal", contacts=[dana], now=NOW)
    access.open_to(session, who, hidden, access.PEOPLE)
    tasks.create(session, who, f"{BOX} call", box=hidden, assignee_id=alice.id, now=NOW)
    activities.add(session, who, hidden, ActivityKind.NOTE, f"{BOX} note", now=NOW)
