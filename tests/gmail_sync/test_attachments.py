"""Attachments, by the address that opens them: whose mailbox, whose right, and what a browser is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from config.app import create_app
from config.rooms import Rooms
from config.settings import load
from gmail_sync import attachments
from gmail_sync.budget import Units
from gmail_sync.sandbox.faults import Fault
from tests.gmail_sync.syncing import ALICE, BOB, CHARLIE, Team
from tests.tracker.domain import a_box
from tests.tracker.web.factories_web import browser_of
from tracker import mailboxes, people, sharing
from tracker.conversations import Conversation
from tracker.db import Sessions, transaction
from tracker.mailboxes import Mailbox, State
from tracker.messages import Copy, Message
from tracker.reading_log import MailReading
from tracker.sharing import Level
from tracker.web import frame

PDF = b"%PDF-1.7 forty seats"
HTML = b"<script>alert(1)</script>"


def with_files(*files: tuple[str, str, bytes], to: str = ALICE) -> bytes:
    """A mail of Charlie's with these files: name, type, content."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = CHARLIE, to, "The plan"
    message["Message-ID"], message["Date"] = "<plan@outside.example>", "Tue, 03 Nov 2026 10:00:00 +0100"
    message.set_content("Here is the plan.")
    for name, kind, content in files:
        main, sub = kind.split("/")
        message.add_attachment(content, maintype=main, subtype=sub, filename=name)
    return message.as_bytes()


@dataclass
class Place:
    """Alice's mail with files in a shared box; Bob was never CC'd."""

    app: Flask
    team: Team
    alice: Mailbox
    key: str

    def browser(self, address: str) -> FlaskClient:
        """Somebody's browser."""
        with self.team.sessions() as session:
            user = people.by_address(session, address)
            assert user is not None
        return browser_of(self.app, user)

    def open(self, address: str, number: int = 1) -> TestResponse:
        """Somebody opens a file."""
        return self.browser(address).get(f"/messages/{self.key}/files/{number}")

    def asked(self, mailbox: Mailbox) -> set[str]:
        """What a mailbox's budget was charged for."""
        with self.team.sessions() as session:
            return set(session.scalars(select(Units.method).where(Units.mailbox_id == mailbox.id)))


@pytest.fixture
def place(team: Team, database_url: str, engine: Engine, sessions: Sessions) -> Iterator[Place]:
    """The place, served by the application."""
    raw = with_files(("plan.pdf", "application/pdf", PDF), ("page.html", "text/html", HTML))
    team.sandbox.deliver(raw, [ALICE])
    alice = team.connect(ALICE)
    with transaction(sessions) as session:
        people.add_user(session, alice.team_id, BOB, name="Bob")
        viewer = people.viewer_of(session.get_one(people.User, alice.user_id), "test")
        a_box(session, viewer, "Outside", CHARLIE)
    team.sync(alice)
    furnished = Rooms(load(database_url=database_url, secret_key="k" * 40), engine, sessions)
    furnished.__dict__["gmail"] = team.services
    app = create_app(furnished.settings, furnished)
    app.config.update(TESTING=True, WTF_CSRF_ENABLED=False, PROPAGATE_EXCEPTIONS=False)
    with sessions() as session:
        key = session.scalars(select(Message.key)).one()
    yield Place(app, team, alice, key)
    furnished.close()


def test_a_teammate_opens_a_file_out_of_its_owners_mailbox(place: Place) -> None:
    answer = place.open(BOB)
    assert (answer.status_code, answer.data) == (200, PDF)
    assert answer.headers["Content-Type"] == "application/pdf"
    assert answer.headers["Content-Disposition"] == "attachment; filename=plan.pdf"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert "allow" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert {"messages.get", "messages.attachments.get"} <= place.asked(place.alice)
    with place.team.sessions() as session:
        (noted,) = session.scalars(select(MailReading)).all()
        assert noted.door == "file"


def test_what_could_run_is_only_bytes(place: Place) -> None:
    answer = place.open(ALICE, 2)
    assert answer.data == HTML
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_ones_own_mailbox_comes_first(place: Place) -> None:
    raw = with_files(("plan.pdf", "application/pdf", PDF), ("page.html", "text/html", HTML))
    place.team.sandbox.deliver(raw, [BOB])
    bob = place.team.connect(BOB)
    place.team.sync(bob)
    with transaction(place.team.sessions) as session:
        mailboxes.move(session, place.alice.id, State.DISCONNECTED, reason=None, now=place.team.services.now())
    assert place.open(BOB).data == PDF
    assert "messages.attachments.get" in place.asked(bob)


def test_rights_are_asked_when_the_file_is(place: Place) -> None:
    said(place, Level.SUBJECT)
    assert place.open(BOB).status_code == 404
    assert place.open(ALICE).status_code == 200
    said(place, Level.FULL)
    assert place.open(BOB).status_code == 200
    for number in (0, 3, 10**12):
        assert place.open(BOB, number).status_code == 404
    assert place.browser(BOB).get("/messages/made-up/files/1").status_code == 404
    assert place.app.test_client().get(f"/messages/{place.key}/files/1").status_code == 302  # to the sign-in


def test_what_was_taken_back_meanwhile_is_not_handed_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = attachments.fetch

    def slow(*given: object) -> bytes:
        data = fetch(*given)  # type: ignore[arg-type]
        said(place, Level.NOTHING)
        return data

    monkeypatch.setattr(attachments, "fetch", slow)
    assert place.open(BOB).status_code == 404


def said(place: Place, level: Level) -> None:
    """Alice says at which level the conversation is shared."""
    with transaction(place.team.sessions) as session:
        viewer = people.viewer_of(session.get_one(people.User, place.alice.user_id), "test")
        (conversation,) = session.scalars(select(Conversation)).all()
        sharing.set_rule(session, viewer, conversation=conversation, outside=level, inside=level)


def test_nothing_of_the_database_is_held_while_gmail_is_asked(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_at: list[bool] = []
    browser, fetch = place.browser(BOB), attachments.fetch

    def looked(*given: object) -> bytes:
        open_at.append(frame.db().in_transaction())
        return fetch(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(attachments, "fetch", looked)
    assert browser.get(f"/messages/{place.key}/files/1").status_code == 200
    assert open_at == [False]


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (Fault("status", "attachments.get", status=400, reason="badRequest"), 503, "just now"),
        (Fault("status", "messages.get", status=404, reason="notFound"), 410, "deleted in Gmail"),
        (Fault("status", "*", status=401, reason="authError"), 503, "Ask its owner"),
    ],
)
def test_says_plainly_when_gmail_is_away(place: Place, fault: Fault, status: int, words: str) -> None:
    place.team.sandbox.faults.add(fault)
    answer = place.open(BOB)
    assert answer.status_code == status
    assert words in answer.text
    assert "Back to the mail" in answer.text


def test_says_plainly_when_the_mailbox_or_the_file_is_not_there(place: Place) -> None:
    with transaction(place.team.sessions) as session:
        mailboxes.move(session, place.alice.id, State.ATTENTION, reason="revoked", now=place.team.services.now())
    answer = place.open(BOB)
    assert (answer.status_code, "not connected" in answer.text) == (503, True)


def test_another_part_is_never_handed_out_for_it(place: Place) -> None:
    with transaction(place.team.sessions) as session:
        changed = session.scalars(select(Copy)).one()
        files = [{**one, "part_id": "9"} for one in changed.attachments]
        session.execute(update(Copy).values(attachments=files))
    assert place.open(BOB).status_code == 410


def test_what_is_too_large_is_not_fetched(place: Place) -> None:
    with transaction(place.team.sessions) as session:
        files = session.scalars(select(Copy)).one().attachments
        large = [{**one, "size": attachments.LARGEST + 1} for one in files]
        session.execute(update(Copy).values(attachments=large))
    answer = place.open(BOB)
    assert (answer.status_code, "25 MB" in answer.text) == (413, True)
    assert "messages.attachments.get" not in place.asked(place.alice)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("plan.pdf", "plan.pdf"),
        ("../../etc/passwd", "etc passwd"),
        ("a\r\nSet-Cookie: x=1.txt", "a Set-Cookie x=1.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ('"quoted".pdf', "quoted .pdf"),
        (".bashrc", "bashrc"),
        ("", "file"),
        ("Angebot für Jürgen.pdf", "Angebot für Jürgen.pdf"),
    ],
)
def test_names_are_safe_anywhere(given: str, kept: str) -> None:
    assert attachments.safe_name(given) == kept
    assert len(attachments.safe_name("x" * 500 + ".pdf")) <= attachments.LONGEST_NAME
    assert attachments.safe_name("x" * 500 + ".pdf").endswith(".pdf")


def test_the_pages_lead_to_it(place: Place, session: Session) -> None:
    conversation = session.scalars(select(Conversation)).one()
    page = place.browser(BOB).get(f"/c/{conversation.key}").text
    assert f'href="/messages/{place.key}/files/1"' in page
    assert f'href="/messages/{place.key}/files/2"' in page
