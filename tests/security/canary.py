"""A team in which Alice keeps things to herself, and a walk through everything that answers.

`MAIL` stands in every part of mail that is hers alone, `BOX` in everything of a pipeline that only she sees.
"""

# ruff: noqa: E501 - lists of names
from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session
from werkzeug.routing import Rule

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
from tracker.imports import Import
from tracker.mailboxes import Mailbox
from tracker.people import Role, User, viewer_of
from webhooks.bells.kinds import Kind
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
    secret: str = ""  #: of Bob's calendar


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
    made.secret = calendar.make(session, viewer_of(bob, "test"), NOW)
    session.commit()
    return made


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
    kept = {"header": [MAIL], "rows": [[2, [MAIL]]], "filename": f"{MAIL}.csv", "pipeline_id": sales.id}
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


# -- the walk

#: Which table's keys a route's `<key>` is, by where its address begins; the longest that fits.
KEYS = {
    "/b/": "boxes", "/p/": "pipelines", "/c/": "conversations", "/m/": "messages", "/messages/": "messages",
    "/contacts/": "contacts", "/organizations/": "organizations", "/outbox/": "scheduled_emails",
    "/bell/": "notifications", "/bell/browsers/": "push_subscriptions", "/mailboxes/": "mailboxes",
    "/reads/": "tracked_emails", "/templates/": "mail_templates", "/filings/": "filings",
    "/sequences/": "sequence_runs", "/sequences/plans/": "sequence_plans", "/pipelines/": "pipelines",
    "/sequences/after/": "scheduled_emails", "/team/": "users", "/team/invitations/": "invitations",
    "/outbox/of/": "boxes",
    "/sharing/conversations/": "conversations", "/sharing/grants/": "sharing_grants",
    "/sharing/mailboxes/": "mailboxes", "/sharing/pipelines/": "pipelines",
    "/sharing/requests/": "access_requests", "/me/sessions/": "sign_ins", "/me/keys/": "api_keys", "/tracking/mailboxes/": "mailboxes",
}  # fmt: skip
#: And of other names in addresses.
NAMES = {
    "activity": "activities", "task": "tasks", "field": "fields", "stage": "stages", "view": "saved_views",
    "made": "imports", "mailbox": "mailboxes", "conversation": "conversations", "contact": "contacts",
    "box": "boxes", "other": "boxes", "at": "stages", "message": "messages", "user": "users", "person": "users",
    "pipeline": "pipelines",
}  # fmt: skip
#: What is no key.
PLAIN = {
    "filename": ["app.css"], "number": ["0", "1"], "column": ["name"], "kind": ["note", "box", "contact"],
    "name": ["contacts", "timeline", "tasks", "fields", "mail", "conversations", "stage"], "draft": ["r1"],
    "token": ["unknown"],
}  # fmt: skip


#: Where all that there is goes through the walk; of the rest one each is enough.
PRIVATE = ("messages", "conversations", "boxes", "contacts", "organizations", "notifications", "pipelines")
#: Pages that tell the most, to which a short walk goes with what is shared and with what is not.
MAIN = ("/b/<key>", "/c/<key>", "/p/<key>", "/p/<key>/table", "/contacts/<key>", "/m/<key>")
#: What of it comes first, where a walk goes to a few of each only: what Alice keeps to herself.
FIRST = {
    "messages": f"subject LIKE '%{MAIL}%' DESC",
    "conversations": f"id IN (SELECT conversation_id FROM messages WHERE subject LIKE '%{MAIL}%') DESC",
    "boxes": f"name LIKE '%{BOX}%' DESC",
    "contacts": "name = 'Dana Okafor' DESC",
}


@dataclass(slots=True)
class Walk:
    """Every address that the URL map knows, filled in from what there is."""

    app: Flask
    keys: dict[str, list[str]]
    secret: str = ""
    most: int = 9  #: addresses of one route
    asks: int = 2  #: of the questions that pages take

    def rules(self, method: str) -> list[Rule]:
        """The routes that take this method."""
        found = [one for one in self.app.url_map.iter_rules() if method in (one.methods or ())]
        return sorted((one for one in found if "static" not in one.endpoint), key=lambda one: one.rule)

    def filled(self, rule: Rule) -> list[str]:
        """Its addresses. Raises `LookupError` with the name of what nobody knows how to fill in."""
        names = sorted(rule.arguments)
        choices = [self._values(rule, name) for name in names]
        adapter = self.app.url_map.bind("localhost")
        found = itertools.islice(itertools.product(*choices), max(self.most, 2 * (rule.rule in MAIN)))
        return [adapter.build(rule.endpoint, dict(zip(names, one, strict=True))) for one in found]

    def _values(self, rule: Rule, name: str) -> Sequence[Any]:
        if name == "secret":
            return [self.secret]
        if name in PLAIN:
            return [int(one) for one in PLAIN[name]] if "int:" + name in rule.rule else PLAIN[name]
        table = NAMES.get(name) or _longest(rule.rule)
        if table is None:
            raise LookupError(f"{rule.endpoint} ({rule.rule}): nothing is known to fill in for <{name}>")
        found = self.keys.get(table) or ["nothing-there"]
        return found if table in PRIVATE else found[:1]

    def questions(self) -> Iterator[str]:
        """Query strings with what pages take from them, for each of the things that are Alice's alone."""
        yield ""
        columns = ("messages", "conversations", "contacts", "boxes")
        rows = itertools.zip_longest(*(self.keys[one] for one in columns), fillvalue="")
        for message, conversation, contact, box in itertools.islice(rows, 0, 4 * self.asks, 4):
            asked = {
                "q": TYPED, "typed": TYPED, "name": TYPED, "to": TYPED, "reply": message, "all": "1",
                "message": message, "conversation": conversation, "conversations": conversation, "key": conversation,
                "only": conversation, "contact": contact, "box": box, "show": "all",
            }  # fmt: skip
            yield "?" + urlencode(asked)


def _longest(rule: str) -> str | None:
    fitting = [one for one in KEYS if rule.startswith(one)]
    return KEYS[max(fitting, key=len)] if fitting else None


def all_keys(session: Session, team_id: int) -> dict[str, list[str]]:
    """The keys of everything of a team, by table."""
    query = text(
        "SELECT table_name FROM information_schema.columns WHERE column_name IN ('id', 'key', 'team_id') "
        "AND table_schema = 'public' GROUP BY 1 HAVING count(*) = 3"
    )
    return {
        table: list(
            session.scalars(
                text(f"SELECT key FROM {table} WHERE team_id = :t ORDER BY {FIRST.get(table, 'id')}, id"),
                {"t": team_id},
            )
        )
        for table in session.scalars(query).all()
    }


def form(walk: Walk, turn: int) -> Mapping[str, str]:
    """What forms take, all in one: each route reads what it knows."""

    def key(table: str) -> str:
        found = walk.keys.get(table) or [""]
        return found[turn % len(found)]

    return {
        "q": TYPED, "typed": TYPED, "name": "Something", "title": "Something", "text": "Something", "subject": "Re: this",
        "to": CHARLIE, "address": CHARLIE, "box": key("boxes"), "chosen": key("boxes"), "key": key("conversations"),
        "conversation": key("conversations"), "conversations": key("conversations"), "only": key("conversations"),
        "choice": f"{key('conversations')} {key('boxes')}", "contact": key("contacts"), "contacts": key("contacts"),
        "message": key("messages"), "reply": key("messages"), "all": "1", "stage": key("stages"),
        "pipeline": key("pipelines"), "pipelines": key("pipelines"), "scope": "pipeline", "level": "1", "inside": "1",
        "grant": key("sharing_grants"), "mailbox": key("mailboxes"), "loser": key("boxes"), "survivor": key("boxes"),
        "other": key("boxes"), "user": key("users"), "owner": key("users"), "until": "tomorrow", "due": "tomorrow",
        "value": TYPED, "what": "look", "action": "archive",
    }  # fmt: skip
