"""Attacks on the sign-in: each is refused with a plain page, and nobody is signed in. The sandbox plays Google."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from config import teams
from gmail_sync import joining, oauth
from gmail_sync.joining import House
from gmail_sync.oauth import Identity
from gmail_sync.sandbox import Sandbox, keys
from gmail_sync.sandbox.oauth import OAuth
from tests.gmail_sync.test_web_sign_in import ALICE, BOB, MakeApp, agree, found_team, sign_in
from tests.gmail_sync.test_web_sign_in import app as app
from tests.gmail_sync.test_web_sign_in import make_app as make_app
from tracker import invitations, leaving, mailboxes, people
from tracker import sessions as tracker_sessions
from tracker.attempts import Attempts
from tracker.db import Sessions, transaction, utc_now
from tracker.people import Role, User
from tracker.sessions import SignIn

Claims = dict[str, Any]
Tamper = Callable[[Callable[[Claims], Claims]], None]


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Tamper:
    """Has Google's tokens claim something else."""

    def tamper(change: Callable[[Claims], Claims]) -> None:
        claims = OAuth._claims
        monkeypatch.setattr(OAuth, "_claims", lambda *given: change(claims(*given)))

    return tamper


def nobody_is_in(browser: FlaskClient, sessions: Sessions) -> bool:
    with sessions() as session:
        return browser.get("/inbox").status_code == 302 and session.scalar(select(SignIn.id)) is None


def callback(browser: FlaskClient, address: str = ALICE) -> str:
    """Begin, agree at Google, and catch the address that leads back to us."""
    begun = browser.post("/sign-in")
    back = requests.get(begun.headers["Location"], params={"as": address}, allow_redirects=False, timeout=10)
    return re.sub(r"^https?://[^/]+", "", back.headers["Location"])


WRONG: dict[str, Callable[[Claims], Claims]] = {
    "another nonce": lambda claims: claims | {"nonce": "x" * 32},
    "no nonce": lambda claims: {name: value for name, value in claims.items() if name != "nonce"},
    "another audience": lambda claims: claims | {"aud": "another.apps.example", "azp": "another.apps.example"},
    "an audience beside us": lambda claims: claims | {"aud": [claims["aud"], "another.apps.example"]},
    "made for another": lambda claims: claims | {"azp": "another.apps.example"},
    "another issuer": lambda claims: claims | {"iss": "https://accounts.evil.test"},
    "expired": lambda claims: claims | {"iat": 1_000_000_000, "exp": 1_000_003_600},
    "endless": lambda claims: {name: value for name, value in claims.items() if name != "exp"},
    "unverified": lambda claims: claims | {"email_verified": False},
    "verified in words": lambda claims: claims | {"email_verified": "true"},
    "no address": lambda claims: claims | {"email": ""},
}


@pytest.mark.parametrize("how", WRONG)
def test_a_token_that_is_not_for_this_sign_in_is_refused(
    app: Flask, sessions: Sessions, google: Tamper, how: str
) -> None:
    found_team(sessions)
    google(WRONG[how])
    browser = app.test_client()
    answer = sign_in(browser, ALICE)
    assert answer.status_code == 400
    assert "Sign in with Google" in answer.text
    assert nobody_is_in(browser, sessions)


def forged(sandbox: Sandbox, claims: Claims, how: str) -> str:
    """A token with the right claims, and the right key's name, that Google did not sign."""
    header = {"alg": {"unsigned": "none", "public key": "HS256"}.get(how, "RS256"), "kid": sandbox.keys.key_id}
    signed = ".".join(keys.b64(json.dumps(part).encode()) for part in (header, claims))
    if how == "unsigned":
        return f"{signed}."
    if how == "public key":  # as a shared secret, for whoever takes the algorithm from the token
        secret = json.dumps(sandbox.keys.jwks()["keys"][0]).encode()
        return f"{signed}.{keys.b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return f"{signed}.{keys.b64(other.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


@pytest.mark.parametrize("how", ["another key", "unsigned", "public key", "no token"])
def test_a_token_that_google_did_not_sign_is_refused(
    app: Flask, sandbox: Sandbox, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    found_team(sessions)
    made = (lambda _: "") if how == "no token" else (lambda claims: forged(sandbox, claims, how))
    monkeypatch.setattr(sandbox.keys, "sign", made)
    browser = app.test_client()
    assert sign_in(browser, ALICE).status_code == 400
    assert nobody_is_in(browser, sessions)


class TestTheWayThere:
    def test_says_state_nonce_and_pkce(self, app: Flask) -> None:
        asked = parse_qs(urlsplit(app.test_client().post("/sign-in").headers["Location"]).query)
        assert asked["code_challenge_method"] == ["S256"]
        assert len(asked["code_challenge"][0]) == 43
        assert len(asked["state"][0]) >= 20
        assert len(asked["nonce"][0]) >= 32
        again = parse_qs(urlsplit(app.test_client().post("/sign-in").headers["Location"]).query)
        assert {again[one][0] == asked[one][0] for one in ("state", "nonce", "code_challenge")} == {False}

    def test_another_browsers_answer_is_refused(self, app: Flask, sessions: Sessions) -> None:
        """Whoever lures somebody to the end of their own flow would have them signed in as themselves."""
        found_team(sessions)
        attacker, victim = app.test_client(), app.test_client()
        lure = callback(attacker, BOB)
        assert victim.get(lure).status_code == 400
        victim.post("/sign-in")
        assert victim.get(lure).status_code == 400
        assert nobody_is_in(victim, sessions)

    def test_a_stolen_code_opens_nothing_without_its_verifier(self, app: Flask, sessions: Sessions) -> None:
        found_team(sessions)
        victim, thief = app.test_client(), app.test_client()
        code = parse_qs(urlsplit(callback(victim)).query)["code"][0]
        state = parse_qs(urlsplit(thief.post("/sign-in").headers["Location"]).query)["state"][0]
        answer = thief.get("/sign-in/callback?" + urlencode({"code": code, "state": state}))
        assert answer.status_code == 400
        assert nobody_is_in(thief, sessions)

    def test_a_replayed_answer_is_refused(self, app: Flask, sessions: Sessions) -> None:
        found_team(sessions)
        browser = app.test_client()
        answer = callback(browser)
        assert browser.get(answer).status_code == 302
        browser.post("/sign-out")
        assert browser.get(answer).status_code == 400
        assert browser.get("/inbox").status_code == 302

    def test_an_answer_that_took_too_long_is_refused(
        self, app: Flask, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found_team(sessions)
        browser = app.test_client()
        answer = callback(browser)
        with browser.session_transaction() as cookie:
            cookie["flow"] = {**cookie["flow"], "at": "2001-01-01T00:00:00+00:00"}
        assert browser.get(answer).status_code == 400


class TestSessions:
    def test_signing_in_takes_a_new_token_and_ends_the_old(self, app: Flask, sessions: Sessions) -> None:
        """Fixation: a cookie that somebody planted before is no session after."""
        found_team(sessions)
        attacker = app.test_client()
        sign_in(attacker, BOB)
        name = app.config["SESSION_COOKIE_NAME"]
        planted = attacker.get_cookie(name)
        assert planted is not None
        victim = app.test_client()
        victim.set_cookie(name, planted.value)
        sign_in(victim, ALICE)
        assert "alice@example.com" in victim.get("/me").text
        assert attacker.get("/me").status_code == 302
        with sessions() as session:
            tokens = session.scalars(select(SignIn.token_hash).order_by(SignIn.id)).all()
            assert len(set(tokens)) == 2

    def test_a_person_of_another_team_signs_in_over_ones_session(self, app: Flask, sessions: Sessions) -> None:
        found_team(sessions)
        with transaction(sessions) as session:
            other = teams.found(session, "Others", "carol@example.com", "Carol")
        browser = app.test_client()
        sign_in(browser, ALICE)
        with transaction(sessions) as session:
            session.get_one(User, other.id).address = BOB
            found = people.by_address(session, BOB)
            assert found is not None
            found.normalized, session.get_one(User, other.id).normalized = "gone@example.com", BOB
            session.flush()
        assert sign_in(browser, BOB).status_code == 302
        assert "Carol" in browser.get("/me").text


def wrong_code(browser: FlaskClient, headers: dict[str, str] | None = None) -> TestResponse:
    """Begin, and come back with what Google does not accept."""
    begun = browser.post("/sign-in", headers=headers)
    state = parse_qs(urlsplit(begun.headers["Location"]).query)["state"][0]
    return browser.get(f"/sign-in/callback?code=x&state={state}", headers=headers)


class TestLimits:
    def test_who_fails_too_often_waits(self, app: Flask, sessions: Sessions) -> None:
        found_team(sessions)
        browser = app.test_client()
        for _ in range(20):
            assert wrong_code(browser).status_code == 400
        answer = browser.get("/sign-in/callback?code=x&state=y")
        assert answer.status_code == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 600
        assert "Too many tries" in answer.text
        assert browser.post("/sign-in").status_code == 429
        elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
        assert browser.post("/sign-in", environ_base=elsewhere).status_code == 303

    @pytest.mark.parametrize("begun", [False, True])
    def test_what_any_page_may_have_a_browser_ask_locks_nobody_out(self, app: Flask, begun: bool) -> None:
        browser = app.test_client()
        for number in range(25):
            if begun:
                browser.post("/sign-in")
            query = "code=x&state=y" if number % 2 else "error=access_denied"
            assert browser.get(f"/sign-in/callback?{query}").status_code == 400
        assert browser.post("/sign-in").status_code == 303

    def test_another_address_in_a_header_of_ones_own_is_no_way_round(self, app: Flask, sessions: Sessions) -> None:
        browser = app.test_client()
        for number in range(20):
            wrong_code(browser, {"X-Forwarded-For": f"192.0.2.{number}"})
        assert browser.post("/sign-in", headers={"X-Forwarded-For": "192.0.2.99"}).status_code == 429

    def test_time_passes(self) -> None:
        at = [0.0]
        tries = Attempts(2, 60, lambda: at[0])
        for _ in range(2):
            assert tries.wait("192.0.2.1") == 0
            tries.note("192.0.2.1")
        assert tries.wait("192.0.2.1") == 60
        at[0] = 59.5
        assert (tries.wait("192.0.2.1"), tries.wait("192.0.2.2")) == (1, 0)
        at[0] = 60
        assert tries.wait("192.0.2.1") == 0

    def test_what_is_kept_is_bounded_and_networks_count_as_one(self) -> None:
        tries = Attempts(1, 60)
        tries.note("2001:db8::1")
        assert tries.wait("2001:db8::ffff") > 0
        assert tries.wait("2001:db8:0:1::1") == 0
        for number in range(20_000):
            tries.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        assert len(tries._kept) == 10_000


class TestJoining:
    def test_whom_an_admin_invited_joins_once(self, app: Flask, sandbox: Sandbox, sessions: Sessions) -> None:
        found_team(sessions)
        sandbox.add_user("dora@else.test", "Dora Dent")
        invite(sessions, "Dora@Else.test", Role.GUEST)
        assert sign_in(app.test_client(), "dora@else.test").status_code == 302
        with sessions() as session:
            dora = people.by_address(session, "dora@else.test")
            assert dora is not None
            assert (dora.name, dora.role) == ("Dora Dent", Role.GUEST)
            assert invitations.to_address(session, "dora@else.test", utc_now()) == []

    @pytest.mark.parametrize("why", ["withdrawn", "expired"])
    def test_an_invitation_that_is_over_lets_nobody_in(
        self, app: Flask, sandbox: Sandbox, sessions: Sessions, why: str
    ) -> None:
        found_team(sessions)
        sandbox.add_user("dora@else.test", "Dora Dent")
        made = invite(sessions, "dora@else.test", Role.MEMBER)
        with transaction(sessions) as session:
            made = session.merge(made)
            if why == "withdrawn":
                made.withdrawn_at = utc_now()
            else:
                made.expires_at = utc_now()
        answer = sign_in(app.test_client(), "dora@else.test")
        assert answer.status_code == 403
        assert "Nobody has invited" in answer.text

    def test_invited_by_several_teams_one_chooses(self, app: Flask, sandbox: Sandbox, sessions: Sessions) -> None:
        found_team(sessions)
        sandbox.add_user("dora@else.test", "Dora")
        invite(sessions, "dora@else.test", Role.MEMBER)
        with transaction(sessions) as session:
            other = teams.found(session, "The others", "zoe@other.test", "Zoe")
        theirs = invite(sessions, "dora@else.test", Role.MEMBER, by=other)
        browser = app.test_client()
        page = sign_in(browser, "dora@else.test")
        assert page.status_code == 200
        assert "Join The others" in page.text
        stranger = app.test_client()
        assert stranger.post("/sign-in/join", data={"team": theirs.key}).status_code == 400
        assert browser.post("/sign-in/join", data={"team": theirs.key}).status_code == 302
        assert "Dora" in browser.get("/me").text
        assert browser.post("/sign-in/join", data={"team": theirs.key}).status_code == 400  # once
        with sessions() as session:
            dora = people.by_address(session, "dora@else.test")
            assert dora is not None
            assert dora.team_id == other.team_id

    @pytest.mark.parametrize(
        ("hd", "status"), [("else.test", 302), ("ELSE.test", 302), ("evil.test", 403), ("", 403), (None, 403)]
    )
    def test_an_allowed_domain_is_what_google_says_it_is(
        self, app: Flask, sandbox: Sandbox, sessions: Sessions, google: Tamper, hd: str | None, status: int
    ) -> None:
        found_team(sessions)
        sandbox.add_user("dora@else.test", "Dora")
        with transaction(sessions) as session:
            alice = people.by_address(session, ALICE)
            assert alice is not None
            invitations.allow(session, people.system_viewer(alice.team_id, "test"), "else.test")
        google(lambda claims: claims | ({} if hd is None else {"hd": hd}))
        assert sign_in(app.test_client(), "dora@else.test").status_code == status

    def test_a_domain_that_two_teams_would_have_needs_an_invitation(
        self, app: Flask, sandbox: Sandbox, sessions: Sessions, google: Tamper
    ) -> None:
        found_team(sessions)
        sandbox.add_user("dora@else.test", "Dora")
        with transaction(sessions) as session:
            other = teams.found(session, "The others", "zoe@other.test", "Zoe")
            alice = people.by_address(session, ALICE)
            assert alice is not None
            for team_id in (other.team_id, alice.team_id):
                invitations.allow(session, people.system_viewer(team_id, "test"), "else.test")
        google(lambda claims: claims | {"hd": "else.test"})
        assert sign_in(app.test_client(), "dora@else.test").status_code == 403

    @pytest.mark.parametrize("way", ["domain", "named admin", "neither"])
    def test_who_was_removed_comes_back_by_invitation_only_and_as_a_newcomer(
        self, make_app: MakeApp, sandbox: Sandbox, sessions: Sessions, google: Tamper, way: str
    ) -> None:
        found_team(sessions)
        app = make_app(admins=BOB if way == "named admin" else "")
        google(lambda claims: claims | {"hd": "example.com"})
        assert sign_in(app.test_client(), BOB).status_code == 302
        with transaction(sessions) as session:
            bob = remove_bob(session, allow=way == "domain")
        assert sign_in(app.test_client(), BOB).status_code == 403
        invite(sessions, BOB, Role.MEMBER)
        assert sign_in(app.test_client(), BOB).status_code == 302
        with sessions() as session:
            again = people.by_address(session, BOB)
            assert again is not None
            assert again.id != bob.id
            assert again.role == Role.MEMBER


class TestAccounts:
    """Google's subject is who somebody is; their address may go to another account, or another to theirs."""

    def test_an_account_that_was_made_anew_is_let_in_by_an_admin(self, app: Flask, sessions: Sessions) -> None:
        found_team(sessions)
        alice, bob = app.test_client(), app.test_client()
        assert (sign_in(alice, ALICE).status_code, sign_in(bob, BOB).status_code) == (302, 302)
        with transaction(sessions) as session:
            found = people.by_address(session, BOB)
            assert found is not None
            found.google_subject = "the account that was deleted"
        answer = sign_in(app.test_client(), BOB)
        assert answer.status_code == 403
        assert "Let them sign in anew" in answer.text
        assert bob.post(f"/team/{found.key}/google").status_code == 403
        assert "Let them sign in anew" in alice.get("/team").text
        assert alice.post(f"/team/{found.key}/google").status_code == 303
        assert bob.get("/me").status_code == 302
        assert sign_in(bob, BOB).status_code == 302

    def test_an_account_with_another_address_is_the_same_person(
        self, app: Flask, sandbox: Sandbox, sessions: Sessions
    ) -> None:
        found_team(sessions)
        sign_in(app.test_client(), BOB)
        sandbox.add_user("robert@example.com", "Bob Baker")
        with transaction(sessions) as session:
            bob = people.by_address(session, BOB)
            assert bob is not None
        with transaction(sessions) as session:
            user_id = sandbox.mailbox("robert@example.com").user_id
            session.get_one(User, bob.id).google_subject = f"1{user_id:020d}"  # the account's, under its old name
        browser = app.test_client()
        assert sign_in(browser, "robert@example.com").status_code == 302
        with sessions() as session:
            again = people.by_address(session, "robert@example.com")
            assert again is not None
            assert again.id == bob.id
            assert {BOB, "robert@example.com"} <= people.own_addresses(session, bob.team_id)

    @pytest.mark.parametrize("what", ["removed", "guest"])
    def test_no_mailbox_is_connected_by_who_is_removed_while_they_are_at_google(
        self, app: Flask, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        found_team(sessions)
        browser, finish = app.test_client(), oauth.finish
        sign_in(browser, BOB)

        def meanwhile(*given: Any, **options: Any) -> Any:
            with transaction(sessions) as session:
                alice, bob = people.by_address(session, ALICE), people.by_address(session, BOB)
                assert alice is not None
                assert bob is not None
                viewer = people.viewer_of(alice, "test")
                if what == "removed":
                    leaving.leave(session, viewer, bob, leaving.Choice(), utc_now())
                else:
                    people.change_role(session, viewer, bob, Role.GUEST)
            return finish(*given, **options)

        monkeypatch.setattr(oauth, "finish", meanwhile)
        answer = agree(browser, browser.post("/mailboxes/connect"), BOB)
        assert answer.status_code == 403
        assert ("not in the team any more" if what == "removed" else "Guests connect no mailbox") in answer.text
        with sessions() as session:
            assert mailboxes.by_address(session, BOB) is None

    def test_who_is_removed_while_they_sign_in_reads_why(
        self, app: Flask, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found_team(sessions)

        def refuse(*_: object, **__: object) -> str:
            raise PermissionError

        monkeypatch.setattr(tracker_sessions, "begin", refuse)
        answer = sign_in(app.test_client(), BOB)
        assert answer.status_code == 403
        assert "just removed" in answer.text

    def test_no_invitation_is_left_to_come_back_by(self, sessions: Sessions) -> None:
        found_team(sessions)
        with transaction(sessions) as session:
            alice = people.by_address(session, ALICE)
            assert alice is not None
            viewer = people.viewer_of(alice, "test")
            invitations.invite(session, viewer, "dora@else.test", Role.MEMBER, now=utc_now())
            dora = people.add_user(session, alice.team_id, "dora@else.test")
            assert invitations.to_address(session, dora.normalized, utc_now()) == []
            late = invitations.Invitation(
                team_id=alice.team_id, address=dora.address, normalized=dora.normalized, role="member",
                created_at=utc_now(), expires_at=utc_now() + invitations.LASTS,
            )  # fmt: skip
            session.add(late)
            session.flush()
            leaving.leave(session, viewer, dora, leaving.Choice(), utc_now())
            assert invitations.to_address(session, dora.normalized, utc_now()) == []

    @pytest.mark.parametrize("same", [False, True])
    def test_two_who_are_first_at_once_are_one_team(self, sessions: Sessions, same: bool) -> None:
        house = House(lambda session, address, name: teams.found(session, "Us", address, name), frozenset())
        entered = []

        def enter(number: int) -> None:
            who = Identity(f"sub{0 if same else number}", f"a{0 if same else number}@x.test", "A")
            with transaction(sessions) as session:
                entered.append(joining.admit(session, house, who, utc_now()) is not None)
                time.sleep(0.2)

        threads = [threading.Thread(target=enter, args=(number,)) for number in (1, 2)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert sorted(entered) == ([True, True] if same else [False, True])
        with sessions() as session:
            assert session.scalar(select(func.count(people.Team.id))) == 1


def remove_bob(session: Session, *, allow: bool) -> User:
    alice, bob = people.by_address(session, ALICE), people.by_address(session, BOB)
    assert alice is not None
    assert bob is not None
    viewer = people.viewer_of(alice, "test")
    if allow:
        alice.workspace = "example.com"
        invitations.allow(session, viewer, "example.com")
    people.remove(session, viewer, bob, utc_now())
    return bob


def invite(sessions: Sessions, address: str, role: Role, *, by: User | None = None) -> invitations.Invitation:
    with transaction(sessions) as session:
        admin = by or people.by_address(session, ALICE)
        assert admin is not None
        return invitations.invite(session, people.viewer_of(admin, "test"), address, role, now=utc_now())
