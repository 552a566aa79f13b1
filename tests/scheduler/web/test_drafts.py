"""Drafts that were begun in Gmail, given a time on our pages: Gmail is the sandbox, and nothing is stubbed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from flask import Flask
from sqlalchemy import Engine

from config.app import create_app
from config.rooms import Rooms
from config.settings import load
from gmail_sync import oauth
from gmail_sync.sandbox import Sandbox
from scheduler.dispatch import Dispatcher
from scheduler.post import Post
from tests.sandbox_fixtures import Api, as_raw, mail
from tests.scheduler.sending import received
from tests.scheduler.web.conftest import DANA, MONDAY, Desk
from tests.tracker.web.factories_web import ALICE
from tracker import mailboxes
from tracker.db import Sessions

TOKYO_NINE = datetime(2026, 11, 24, 0, 0, tzinfo=UTC)


@pytest.fixture
def rooms(database_url: str, engine: Engine, sessions: Sessions, sandbox: Sandbox) -> Iterator[Rooms]:
    """What the application is handed; its Google is the sandbox."""
    settings = load(
        database_url=database_url, secret_key="k" * 40, google_client_id=sandbox.client_id,
        google_client_secret=sandbox.client_secret, gmail_api_url=sandbox.url,
        google_auth_url=f"{sandbox.url}/o/oauth2/v2/auth", google_token_url=f"{sandbox.url}/token",
        google_certs_url=f"{sandbox.url}/oauth2/v3/certs",
    )  # fmt: skip
    made = Rooms(settings, engine, sessions)
    yield made
    made.close()


@pytest.fixture
def app(rooms: Rooms) -> Flask:
    """The web application at the sandbox, in place of the one without a Google."""
    made = create_app(rooms.settings, rooms)
    made.config.update(TESTING=True, WTF_CSRF_ENABLED=False, PROPAGATE_EXCEPTIONS=False)
    return made


@dataclass(slots=True)
class Gmail:
    """Alice's Gmail, as she uses it herself."""

    api: Api
    sandbox: Sandbox
    address: str  #: of her drafts on our pages

    def draft(self, subject: str, to: str = f"Dana Okafor <{DANA}>") -> str:
        """Begin a mail and leave it; returns the draft's id."""
        raw = as_raw(mail(subject, sender=ALICE, to=to, body="Dear Dana, see you on Monday."))
        return str(self.api.post("drafts", {"message": {"raw": raw}})["id"])


@pytest.fixture
def gmail(desk: Desk, rooms: Rooms, sandbox: Sandbox) -> Gmail:
    """Alice's mailbox, connected."""
    for address in (ALICE, DANA):
        sandbox.add_user(address)
    sealed = rooms.gmail.vault.seal(oauth.authorized_user(sandbox.credentials(ALICE)))
    connected = mailboxes.connect(desk.session, desk.session.merge(desk.team.alice), ALICE, sealed, MONDAY)
    desk.session.commit()
    return Gmail(Api(sandbox, ALICE), sandbox, f"/outbox/drafts/{connected.key}")


def test_a_draft_of_gmails_is_listed_looked_at_scheduled_and_sent_at_their_nine(
    desk: Desk, gmail: Gmail, rooms: Rooms
) -> None:
    draft, nobody = gmail.draft("Begun in Gmail"), gmail.draft("For nobody", to="")
    page = desk.alice.get("/outbox/drafts").text
    assert "Begun in Gmail" in page
    assert f"To Dana Okafor &lt;{DANA}&gt; · Dear Dana, see you on Monday." in page
    assert "No recipient yet" in page
    assert page.count(f'href="{gmail.address}/{draft}"') == 2  # its name, and Schedule
    assert page.count(f'href="{gmail.address}/{nobody}"') == 1
    one = desk.alice.get(f"{gmail.address}/{draft}").text
    for words in ("<h1>Begun in Gmail</h1>", "Tue 24 Nov, 09:00 in Tokyo (your 00:00)", "location says Tokyo"):
        assert words in one, words
    form = {"when": "nine", "working_days": "1", "late": "morning", "_place": "draft"}
    assert desk.alice.post(f"{gmail.address}/{draft}", data=form).location == "/outbox"
    (email,) = desk.queued()
    assert (email.draft_id, email.due_at, email.recipients) == (draft, TOKYO_NINE, [DANA])
    assert "Queued. It goes Tue 24 Nov, 09:00 in Tokyo" in desk.alice.get("/outbox").text
    assert f'href="/outbox/{email.key}"' in desk.alice.get("/outbox/drafts").text
    again = desk.alice.post(f"{gmail.address}/{draft}", data=form)
    assert (again.status_code, "scheduled already" in again.text) == (422, True)
    assert received(gmail.sandbox, DANA) == {}
    dispatch(rooms.post, TOKYO_NINE)
    assert received(gmail.sandbox, DANA) == {"Begun in Gmail": 1}
    assert desk.queued()[0].state == "sent"


def dispatch(post: Post, at: datetime) -> None:
    """A worker looks at this instant."""
    services = replace(post.gmail, now=lambda: at, patience=0.0)
    dispatcher = Dispatcher(replace(post, gmail=services), threads=0)
    while dispatcher.step():
        pass
    dispatcher.stop()


def test_a_draft_without_a_recipient_and_one_that_is_gone_are_told_so(desk: Desk, gmail: Gmail) -> None:
    nobody, gone = gmail.draft("For nobody", to=""), gmail.draft("Thrown away")
    form = {"when": "there", "at": "10:30", "working_days": "1", "_place": "draft"}
    refused = desk.alice.post(f"{gmail.address}/{nobody}", data=form)
    assert (refused.status_code, "has no recipient yet" in refused.text) == (422, True)
    assert 'value="10:30"' in refused.text
    assert gmail.api.call("DELETE", f"drafts/{gone}").status_code < 300
    address = f"{gmail.address}/{gone}"
    for answer in (desk.alice.get(address), desk.alice.post(address, data=form)):
        assert (answer.status_code, "gone from Gmail" in answer.text) == (404, True)
    assert "Thrown away" not in desk.alice.get("/outbox/drafts").text
    assert desk.queued() == []


def test_a_mailbox_whose_access_was_taken_away_is_told_so(desk: Desk, gmail: Gmail) -> None:
    draft = gmail.draft("Begun in Gmail")
    gmail.sandbox.tokens.revoke_user(gmail.sandbox.mailbox(ALICE).user_id)
    page = desk.alice.get("/outbox/drafts")
    assert (page.status_code, "Begun in Gmail" in page.text, 'class="note' in page.text) == (200, False, True)
    assert desk.alice.get(f"{gmail.address}/{draft}").status_code == 503
