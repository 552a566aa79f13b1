"""Signing in and connecting a mailbox, by the door: the sandbox plays Google."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, text
from werkzeug.test import TestResponse

from config import rooms, teams
from config.app import create_app
from config.settings import load
from gmail_sync import oauth
from gmail_sync.sandbox import Sandbox
from tracker import mailboxes, people
from tracker.db import Sessions
from tracker.mailboxes import State
from tracker.people import Role, User

ALICE, BOB = "alice@example.com", "bob@example.com"
MakeApp = Callable[..., Flask]


@pytest.fixture
def make_app(database_url: str, sandbox: Sandbox) -> Iterator[MakeApp]:
    """Makes applications on the test's database, whose Google is the sandbox."""
    opened = []

    def make(**overrides: object) -> Flask:
        settings = load(
            **{
                "database_url": database_url, "secret_key": "k" * 40, "google_client_id": sandbox.client_id,
                "google_client_secret": sandbox.client_secret, "gmail_api_url": sandbox.url,
                "google_auth_url": f"{sandbox.url}/o/oauth2/v2/auth", "google_token_url": f"{sandbox.url}/token",
                "google_certs_url": f"{sandbox.url}/oauth2/v3/certs", **overrides,
            }
        )  # fmt: skip
        furnished = rooms.furnish(settings)
        opened.append(furnished)
        app = create_app(settings, furnished)
        app.config.update(TESTING=True, WTF_CSRF_ENABLED=False, PROPAGATE_EXCEPTIONS=False)
        return app

    yield make
    for furnished in opened:
        furnished.close()


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """The application."""
    return make_app()


def refreshed(sandbox: Sandbox, kept: Mapping[str, Any]) -> int:
    """What Google answers to whoever brings these credentials."""
    names = ("refresh_token", "client_id", "client_secret")
    data = {"grant_type": "refresh_token", **{name: kept[name] for name in names}}
    return requests.post(f"{sandbox.url}/token", data=data, timeout=5).status_code


def agree(browser: FlaskClient, answer: TestResponse, address: str) -> TestResponse:
    """On Google's page, choose this account; what our callback says."""
    assert answer.status_code == 303, answer.text
    back = requests.get(answer.headers["Location"], params={"as": address}, allow_redirects=False, timeout=10)
    parts = urlsplit(back.headers["Location"])
    return browser.get(f"{parts.path}?{parts.query}")


def sign_in(browser: FlaskClient, address: str, onwards: str = "") -> TestResponse:
    """Sign in with this account."""
    return agree(browser, browser.post("/sign-in", data={"next": onwards}), address)


def found_team(sessions: Sessions) -> None:
    with sessions() as session, session.begin():
        alice = teams.found(session, "Test team", ALICE, "Alice Archer")
        people.add_user(session, alice.team_id, BOB, name="Bob Baker")


class TestSigningIn:
    def test_the_first_person_founds_the_team(self, app: Flask, sessions: Sessions) -> None:
        browser = app.test_client()
        answer = sign_in(browser, ALICE, "/pipelines/new")
        assert answer.headers["Location"] == "/pipelines/new"
        with sessions() as session:
            alice = session.scalars(select(User)).one()
            assert (alice.name, alice.role) == ("Alice Archer", Role.ADMIN)
            assert alice.google_subject
        page = browser.get("/inbox").text
        assert "Connect your mailbox" in page
        assert "Sales" in page

    def test_nobody_else_gets_in_by_themselves(self, app: Flask, sandbox: Sandbox, sessions: Sessions) -> None:
        found_team(sessions)
        sandbox.add_user("eve@elsewhere.test", "Eve")
        browser = app.test_client()
        answer = sign_in(browser, "eve@elsewhere.test")
        assert answer.status_code == 403
        assert "Nobody has invited eve@elsewhere.test" in answer.text
        assert ALICE not in answer.text
        assert browser.get("/inbox").status_code == 302

    def test_with_admins_named_only_they_found_the_team(
        self, make_app: MakeApp, sandbox: Sandbox, sessions: Sessions
    ) -> None:
        app = make_app(admins="carol@example.com")
        sandbox.add_user("carol@example.com", "Carol")
        assert sign_in(app.test_client(), ALICE).status_code == 403
        assert sign_in(app.test_client(), "carol@example.com").status_code == 302
        with sessions() as session:
            assert people.by_address(session, ALICE) is None

    def test_a_named_admin_joins_the_team_there_is(
        self, make_app: MakeApp, sandbox: Sandbox, sessions: Sessions
    ) -> None:
        found_team(sessions)
        sandbox.add_user("carol@example.com", "Carol")
        sign_in(make_app(admins="carol@example.com").test_client(), "carol@example.com")
        with sessions() as session:
            carol = people.by_address(session, "carol@example.com")
            alice = people.by_address(session, ALICE)
            assert carol is not None
            assert alice is not None
            assert (carol.team_id, carol.role) == (alice.team_id, Role.ADMIN)

    def test_the_address_alone_is_not_enough_once_google_named_the_account(
        self, app: Flask, sessions: Sessions
    ) -> None:
        found_team(sessions)
        with sessions() as session, session.begin():
            alice = people.by_address(session, ALICE)
            assert alice is not None
            alice.google_subject = "another account that had this address"
        assert sign_in(app.test_client(), ALICE).status_code == 403

    def test_the_cookie_holds_nothing_but_the_users_key_and_a_token(self, app: Flask, sessions: Sessions) -> None:
        found_team(sessions)
        browser = app.test_client()
        with browser.session_transaction() as cookie:
            cookie["planted"] = "before"
        answer = sign_in(browser, ALICE)
        with browser.session_transaction() as cookie:
            assert set(cookie) == {"user", "token", "_permanent"}
        header = answer.headers["Set-Cookie"]
        assert "HttpOnly" in header
        assert "SameSite=Lax" in header

    def test_the_cookie_is_for_https_where_the_address_is(self, make_app: MakeApp, sessions: Sessions) -> None:
        found_team(sessions)
        answer = make_app(public_url="https://tracker.example.com").test_client().post("/sign-in")
        assert "Secure" in answer.headers["Set-Cookie"]
        assert "redirect_uri=https%3A%2F%2Ftracker.example.com%2Fsign-in%2Fcallback" in answer.headers["Location"]

    @pytest.mark.parametrize("answer", ["code=x&state=forged", "error=access_denied", "code=x", ""])
    def test_an_answer_that_was_not_asked_for_is_refused(
        self, app: Flask, sessions: Sessions, answer: str
    ) -> None:
        found_team(sessions)
        browser = app.test_client()
        browser.post("/sign-in")
        assert browser.get(f"/sign-in/callback?{answer}").status_code == 400
        assert browser.get("/inbox").status_code == 302

    def test_an_answer_serves_once(self, app: Flask, sessions: Sessions) -> None:
        found_team(sessions)
        browser = app.test_client()
        begun = browser.post("/sign-in")
        back = requests.get(
            begun.headers["Location"], params={"as": ALICE}, allow_redirects=False, timeout=10
        ).headers["Location"]
        callback = re.sub(r"^https?://[^/]+", "", back)
        assert browser.get(callback).status_code == 302
        assert browser.get(callback).status_code == 400

    def test_leads_on_to_our_own_pages_only(self, app: Flask, sessions: Sessions) -> None:
        found_team(sessions)
        assert sign_in(app.test_client(), ALICE, "https://evil.test/").headers["Location"] == "/"

    def test_signing_out(self, app: Flask, sessions: Sessions) -> None:
        found_team(sessions)
        browser = app.test_client()
        sign_in(browser, ALICE)
        assert browser.get("/sign-out").status_code == 405
        browser.post("/sign-out")
        assert browser.get("/inbox").status_code == 302


class TestMailboxes:
    def connected(self, app: Flask, sessions: Sessions, account: str = ALICE) -> tuple[FlaskClient, TestResponse]:
        found_team(sessions)
        browser = app.test_client()
        sign_in(browser, ALICE)
        return browser, agree(browser, browser.post("/mailboxes/connect"), account)

    def test_is_connected_with_sealed_credentials_and_woken(self, app: Flask, sessions: Sessions) -> None:
        browser, answer = self.connected(app, sessions)
        assert answer.headers["Location"] == "/mailboxes"
        with sessions() as session:
            mailbox = mailboxes.by_address(session, ALICE)
            assert mailbox is not None
            assert mailbox.wanted_by == "connected"
            kept = app.extensions["gmail_sync"].services.vault.open(mailbox.credentials)
            assert kept["refresh_token"]
            assert kept["refresh_token"].encode() not in (mailbox.credentials or b"")
            jobs = session.execute(text("SELECT task_name, args FROM procrastinate_jobs")).all()
            assert [(name, args) for name, args in jobs] == [("gmail_sync.sync", {"mailbox_id": mailbox.id})]
        page = browser.get("/mailboxes").text
        assert "Reading the mailbox for the first time" in page
        assert "<progress" in page

    def test_of_somebody_else_is_refused(self, app: Flask, sessions: Sessions) -> None:
        self.connected(app, sessions)
        bob = app.test_client()
        sign_in(bob, BOB)
        answer = agree(bob, bob.post("/mailboxes/connect"), ALICE)
        assert answer.status_code == 409
        assert "somebody else" in answer.text

    def test_saying_no_changes_nothing(self, app: Flask, sessions: Sessions) -> None:
        found_team(sessions)
        browser = app.test_client()
        sign_in(browser, ALICE)
        browser.post("/mailboxes/connect")
        answer = browser.get("/mailboxes/callback?error=access_denied")
        assert answer.status_code == 400
        assert "nothing was changed" in answer.text
        with sessions() as session:
            assert mailboxes.everywhere(session) == []

    def test_a_sign_in_is_no_connection(self, app: Flask, sessions: Sessions) -> None:
        found_team(sessions)
        browser = app.test_client()
        sign_in(browser, ALICE)
        begun = browser.post("/sign-in")
        back = requests.get(begun.headers["Location"], params={"as": ALICE}, allow_redirects=False, timeout=10)
        query = urlsplit(back.headers["Location"]).query
        assert browser.get(f"/mailboxes/callback?{query}").status_code == 400

    def test_sync_check_and_disconnect(self, app: Flask, sessions: Sessions) -> None:
        browser, _ = self.connected(app, sessions)
        with sessions() as session:
            mailbox = mailboxes.by_address(session, ALICE)
            assert mailbox is not None
            key = mailbox.key
        browser.post(f"/mailboxes/{key}/sync")
        browser.post(f"/mailboxes/{key}/check")
        with sessions() as session:
            found = set(session.scalars(text("SELECT task_name FROM procrastinate_jobs")))
            assert found == {"gmail_sync.sync", "gmail_sync.check"}
        assert (
            "Disconnected; no mail is read"
            in browser.post(f"/mailboxes/{key}/disconnect", follow_redirects=True).text
        )
        with sessions() as session:
            mailbox = mailboxes.by_address(session, ALICE)
            assert mailbox is not None
            assert (mailbox.state, mailbox.credentials) == (State.DISCONNECTED, None)
        agree(browser, browser.post("/mailboxes/connect"), ALICE)
        with sessions() as session:
            mailbox = mailboxes.by_address(session, ALICE)
            assert mailbox is not None
            assert mailbox.state == State.CONNECTED

    def test_disconnecting_ends_our_access_at_google(
        self, app: Flask, sessions: Sessions, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        browser, _ = self.connected(app, sessions)
        with sessions() as session:
            mailbox = mailboxes.by_address(session, ALICE)
            assert mailbox is not None
            key, kept = mailbox.key, app.extensions["gmail_sync"].services.vault.open(mailbox.credentials)
        assert refreshed(sandbox, kept) == 200
        revoke, open_ones = oauth.revoke, []

        def watched(kept: Mapping[str, Any], **options: float) -> bool:
            with sessions() as session:
                idle = "state = 'idle in transaction' AND datname = current_database()"
                open_ones.append(session.scalar(text(f"SELECT count(*) FROM pg_stat_activity WHERE {idle}")))
                found = mailboxes.by_address(session, ALICE)
                assert found is not None
                assert found.state == State.DISCONNECTED  # whatever Google says
            return revoke(kept, **options)

        monkeypatch.setattr(oauth, "revoke", watched)
        page = browser.post(f"/mailboxes/{key}/disconnect", follow_redirects=True).text
        assert "is disconnected; what was read stays" in page
        assert "Google did not confirm" not in page
        assert open_ones == [0]
        assert refreshed(sandbox, kept) == 400
        browser.post(f"/mailboxes/{key}/disconnect")
        assert open_ones == [0]  # there is nothing to end any more

    @pytest.mark.parametrize("fault", [requests.Timeout("slow"), KeyError("token_uri")])
    def test_google_in_trouble_keeps_nobody_from_disconnecting(
        self, app: Flask, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, fault: Exception
    ) -> None:
        browser, _ = self.connected(app, sessions)
        key = re.findall(r'id="mailbox-([^"]+)"', browser.get("/mailboxes").text)[0]

        def fails(kept: Mapping[str, Any], *, timeout: float) -> bool:
            assert timeout <= 5
            raise fault

        monkeypatch.setattr(oauth, "revoke", fails)
        page = browser.post(f"/mailboxes/{key}/disconnect", follow_redirects=True).text
        assert "is disconnected; what was read stays. Google did not confirm that our access ended" in page
        with sessions() as session:
            mailbox = mailboxes.by_address(session, ALICE)
            assert mailbox is not None
            assert (mailbox.state, mailbox.credentials) == (State.DISCONNECTED, None)

    def test_trouble_that_leaves_mail_coming_in_is_told_once(self, app: Flask, sessions: Sessions) -> None:
        browser, _ = self.connected(app, sessions)
        assert 'class="note"' not in browser.get("/mailboxes").text
        with sessions() as session, session.begin():
            mailbox = mailboxes.by_address(session, ALICE)
            assert mailbox is not None
            key = mailbox.key
            mailbox.push_trouble = "Gmail can't reach this server <yet>."
            mailbox.fetch_trouble = "Gmail does not hand out 1 message."
        page = browser.get("/mailboxes").text
        assert "Gmail can&#39;t reach this server &lt;yet&gt;." in page
        assert page.count("Gmail does not hand out 1 message.") == 1
        assert "Gmail can&#39;t reach" in browser.get(f"/mailboxes/{key}/line").text
        browser.post(f"/mailboxes/{key}/disconnect")
        assert "Gmail can&#39;t reach" not in browser.get("/mailboxes").text

    def test_members_see_and_touch_their_own_only(self, app: Flask, sessions: Sessions) -> None:
        browser, _ = self.connected(app, sessions)
        key = re.findall(r'id="mailbox-([^"]+)"', browser.get("/mailboxes").text)[0]
        bob = app.test_client()
        sign_in(bob, BOB)
        assert f"mailbox-{key}" not in bob.get("/mailboxes").text
        assert bob.post(f"/mailboxes/{key}/disconnect").status_code == 404
        assert bob.get(f"/mailboxes/{key}/line").status_code == 404
        assert browser.get(f"/mailboxes/{key}/line").status_code == 200

    def test_no_transaction_is_open_while_google_is_asked(
        self, app: Flask, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from gmail_sync import oauth

        finish, idle = oauth.finish, []

        def watched(*arguments: object, **options: object) -> object:
            with sessions() as session:
                open_ones = (
                    "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' "
                    "AND datname = current_database()"
                )
                idle.append(session.scalar(text(open_ones)))
            return finish(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(oauth, "finish", watched)
        self.connected(app, sessions)
        assert idle == [0, 0]
