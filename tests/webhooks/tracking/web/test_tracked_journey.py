"""From the form to the recipient's mailbox, by way of Gmail, where its writer changes the draft."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import Engine, select

from config.app import create_app
from config.rooms import Rooms
from config.settings import load
from gmail_sync import oauth
from gmail_sync.sandbox import Sandbox
from scheduler import looking, preparing
from scheduler.dispatch import Dispatcher
from scheduler.post import Post
from tests.sandbox_fixtures import Api, as_raw
from tests.scheduler.web.conftest import DANA, MONDAY, Desk
from tests.tracker.web.factories_web import ALICE
from tests.webhooks.tracking.got import URL, Got, newest
from tracker import mailboxes
from tracker.db import Sessions
from webhooks.tracks import TrackedEmail, TrackedLink

BODY = '<div>Dear Dana, <a href="https://example.com/offer">our offer</a></div>'
TOKYO_NINE = datetime(2026, 11, 24, 0, 0, tzinfo=UTC)


@pytest.fixture
def rooms(database_url: str, engine: Engine, sessions: Sessions, sandbox: Sandbox) -> Iterator[Rooms]:
    """What the application is handed; its Google is the sandbox."""
    settings = load(
        database_url=database_url, secret_key="k" * 40, google_client_id=sandbox.client_id,
        google_client_secret=sandbox.client_secret, gmail_api_url=sandbox.url,
        google_token_url=f"{sandbox.url}/token", google_certs_url=f"{sandbox.url}/oauth2/v3/certs", public_url=URL,
    )  # fmt: skip
    made = Rooms(settings, engine, sessions)
    yield made
    made.close()


@pytest.fixture
def app(rooms: Rooms) -> Flask:
    """The web application at the sandbox."""
    made = create_app(rooms.settings, rooms)
    made.config.update(TESTING=True, WTF_CSRF_ENABLED=False, PROPAGATE_EXCEPTIONS=False)
    return made


def at(post: Post, when: datetime) -> Post:
    """A worker's post at this instant."""
    return replace(post, gmail=replace(post.gmail, now=lambda: when, patience=0.0))


def dispatch(post: Post) -> None:
    dispatcher = Dispatcher(post, threads=0)
    while dispatcher.step():
        pass
    dispatcher.stop()


def test_from_the_form_to_their_mailbox_by_way_of_a_change_in_gmail(
    desk: Desk, rooms: Rooms, sandbox: Sandbox
) -> None:
    for address in (ALICE, DANA):
        sandbox.add_user(address)
    sealed = rooms.gmail.vault.seal(oauth.authorized_user(sandbox.credentials(ALICE)))
    mailbox = mailboxes.connect(desk.session, desk.session.merge(desk.team.alice), ALICE, sealed, MONDAY)
    desk.session.commit()
    gmail = Api(sandbox, ALICE)
    chosen = {"tracking": "1", "track_opens": "1", "track_clicks": "1"}
    assert desk.alice.post("/compose", data=desk.write(body=BODY, rich="1", **chosen)).status_code == 303
    preparing.prepare_mailbox(at(rooms.post, MONDAY), mailbox.id)
    (email,) = desk.queued()
    assert "You are told when it is read, and when" in desk.alice.get(f"/outbox/{email.key}").text
    box = sandbox.mailbox(ALICE)
    draft = Got(box.messages.raw(box.drafts.message(email.draft_id or "")))
    assert (len(draft.pixels), len(draft.links)) == (1, 1)

    changed = draft.raw.replace(b"Dear Dana", b"Dearest Dana")  # in Gmail, pixel and all
    assert gmail.call("PUT", f"drafts/{email.draft_id}", {"message": {"raw": as_raw(changed)}}).status_code == 200
    looking.look(at(rooms.post, MONDAY + timedelta(minutes=5)), mailbox.id)
    (email,) = desk.queued()
    assert email.only_in_gmail
    page = desk.alice.get(f"/outbox/{email.key}/edit").text
    assert "Dearest Dana" in page
    assert "https://example.com/offer" in page
    assert "/l/" + draft.links[0] not in page

    edited = desk.write(
        body=BODY.replace("Dear", "My dear"), rich="1", when="keep", version=str(email.version), **chosen
    )
    assert desk.alice.post(f"/outbox/{email.key}/edit", data=edited).status_code == 303
    preparing.prepare_mailbox(at(rooms.post, MONDAY + timedelta(minutes=6)), mailbox.id)
    dispatch(at(rooms.post, TOKYO_NINE))
    got = newest(sandbox, DANA)
    assert "My dear Dana" in got.body("plain")
    assert (got.pixels, got.links) == (draft.pixels, draft.links)
    row = desk.session.scalars(select(TrackedEmail)).one()
    link = desk.session.scalars(select(TrackedLink)).one()
    assert (row.token, row.recipients, row.box_id) == (got.pixels[0], [DANA], desk.box.id)
    assert (link.token, link.url) == (got.links[0], "https://example.com/offer")
    assert row.sent_at is not None
