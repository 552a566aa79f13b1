"""Two teams in one browser: what a secret or a sign-in opens is not looked at with the other person's eyes."""

# ruff: noqa: F811 - fixtures are imported
from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from config import teams
from gmail_sync.sandbox import Sandbox
from scheduler import calendar
from tests.gmail_sync.test_web_sign_in import agree, app, found_team, make_app, sign_in  # noqa: F401
from tests.tracker.domain import NOW
from tests.tracker.web.factories_web import a_mailbox, browser_of
from tests.webhooks.bells.ringing import tracked_mail
from tests.webhooks.bells.services import PushService
from tracker import people, row_security, tasks
from tracker.db import TEAM, Sessions, transaction
from tracker.people import User
from webhooks import live
from webhooks.bells import subscriptions
from webhooks.bells.subscriptions import PushSubscription

ALICE, ZOE = "alice@example.com", "zoe@others.test"


@pytest.fixture
def zoe(sessions: Sessions, sandbox: Sandbox) -> User:
    """The admin of the second team."""
    sandbox.add_user(ZOE, "Zoe")
    found_team(sessions)
    with transaction(sessions) as session:
        return teams.found(session, "Others", ZOE, "Zoe")


@pytest.fixture
def browser(app: Flask, zoe: User) -> FlaskClient:
    """A browser, as it asks for pages, in which Alice is signed in."""
    made = app.test_client()
    made.environ_base["HTTP_ACCEPT"] = "text/html"
    assert sign_in(made, ALICE).status_code == 302
    return made


def test_a_second_tab_signs_in_as_somebody_of_another_team(browser: FlaskClient, zoe: User) -> None:
    assert "Test team" in browser.get("/team").text
    assert sign_in(browser, ZOE).headers["Location"] == "/"
    page = browser.get("/team").text
    assert "Others" in page
    assert "Test team" not in page


def test_who_is_signed_in_reads_another_teams_feed(
    app: Flask, browser: FlaskClient, zoe: User, sessions: Sessions
) -> None:
    now = app.extensions["tracker"].now()
    with transaction(sessions) as session:
        who = people.viewer_of(zoe, "test")
        tasks.create(session, who, "Feed the heron", due_on=now.date(), now=now)
        secret = calendar.make(session, who, now)
    feed = browser.get(f"/calendar/{secret}.ics")
    assert feed.status_code == 200
    assert "Feed the heron" in feed.text
    assert "Test team" in browser.get("/team").text  # she is who she was


def test_who_is_signed_in_opens_a_mails_privacy_page(
    app: Flask, browser: FlaskClient, zoe: User, sessions: Sessions
) -> None:
    with transaction(sessions) as session:
        mail = tracked_mail(session, zoe, a_mailbox(session, zoe), to=("a@x.test", "b@x.test"))
        mail.clicks = False
        token = mail.token

    def page(one: FlaskClient, token: str) -> str:
        answer = one.get(f"/privacy/{token}", headers={"Accept": "text/html"})
        assert answer.status_code == 200
        return re.sub(r'value="[^"]*"|nonce="[^"]*"', "", answer.text)

    stranger = app.test_client()
    assert page(browser, token) == page(stranger, token) != page(stranger, "x" * len(token))
    asked = browser.post(f"/privacy/{token}", data={"address": "a@x.test"}, headers={"Accept": "text/html"})
    assert asked.status_code == 200


def test_an_account_that_another_team_connected_is_refused_in_words(
    app: Flask, browser: FlaskClient, zoe: User, sessions: Sessions, sandbox: Sandbox
) -> None:
    with transaction(sessions) as session:
        a_mailbox(session, session.get_one(User, zoe.id))
    answer = agree(browser, browser.post("/mailboxes/connect"), ZOE)
    assert answer.status_code == 409
    assert f"{ZOE} is connected by somebody else already" in answer.text


def test_a_browser_rings_for_whoever_switched_it_on_last(
    browser: FlaskClient, zoe: User, sessions: Sessions
) -> None:
    with PushService() as service:
        keys = service.browser().keys
        with transaction(sessions) as session:
            alice = people.by_address(session, ALICE)
            assert alice is not None
        for user in (zoe, alice):
            with row_security.opened(sessions, user.team_id) as session:
                subscriptions.subscribe(session, user, label="Test", private=True, now=NOW, **keys)
                session.commit()
    with sessions() as session:
        assert [one.user_id for one in session.scalars(select(PushSubscription))] == [alice.id]


def test_the_stream_asks_behind_the_lock(
    app: Flask, zoe: User, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    look = live.sight.watchable
    monkeypatch.setattr(
        live.sight,
        "watchable",
        lambda session, asked: (seen.append(session.info.get(TEAM)), look(session, asked))[1],
    )
    client = browser_of(app, zoe)
    client.get("/team")
    cookie = client.get_cookie("session") or next(iter(client._cookies.values()))  # type: ignore[attr-defined]
    found = live.signed_in(app)(f"{cookie.key}={cookie.value}", "inbox")
    assert found is not None
    assert found.topics == "inbox"
    assert seen == [zoe.team_id]
