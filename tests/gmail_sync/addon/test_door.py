"""The door of the side panel: who is let in, what they are shown, and that it never falls over."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from gmail_sync.addon import events, web
from gmail_sync.sandbox import Sandbox
from gmail_sync.sandbox.addon import CLIENT_ID, SERVICE_ACCOUNT, AddOn, Seen
from tests.gmail_sync.addon.client import Panel
from tests.gmail_sync.addon.house import URL, House
from tests.gmail_sync.syncing import ALICE, BOB
from tests.tracker.web.factories_web import browser_of, counted
from tracker import mailboxes, people
from tracker import panel as panels
from tracker.mailboxes import Mailbox, State
from tracker.people import Role, User
from tracker.web import frame

TRIGGERS = ("/addon/home", "/addon/open", "/addon/compose")
NOBODY = "nobody@else.example"


def event_for(house: House, address: str = ALICE, path: str = "/addon/home", **seen: Any) -> tuple[AddOn, Any]:
    """Google's side, and an event as it would post it."""
    google = AddOn(house.sandbox)
    return google, google.event(address, URL + path, Seen(**seen))


@pytest.fixture
def client(house: House) -> FlaskClient:
    """Whoever posts to the door."""
    return house.app.test_client()


class TestWhoIsLetIn:
    def test_nobody_without_both_tokens(self, house: House, client: FlaskClient) -> None:
        for path, token in product([*TRIGGERS, "/addon/act"], ["systemIdToken", "userIdToken"]):
            _, event = event_for(house, path=path)
            del event["authorizationEventObject"][token]
            answer = client.post(path, json=event)
            assert answer.status_code == 401
            assert answer.json == {"error": {"code": 401, "message": answer.json["error"]["message"]}}
            assert "missing" in answer.json["error"]["message"]
            assert answer.headers["Cache-Control"] == "no-store"

    def test_nobody_with_a_token_for_another_door(self, house: House, client: FlaskClient) -> None:
        _, event = event_for(house, path="/addon/open")
        assert client.post("/addon/act", json=event).status_code == 401

    def test_nobody_with_a_token_that_says_something_else(self, house: House, client: FlaskClient) -> None:
        google, event = event_for(house)
        url, tokens = f"{URL}/addon/home", event["authorizationEventObject"]
        assert client.post("/addon/home", json=event).status_code == 200
        wrong: list[dict[str, str]] = [
            {"systemIdToken": google.system_token("https://elsewhere.example/addon/home")},
            {"systemIdToken": google.system_token(url, email="somebody@project.iam.gserviceaccount.com")},
            {"systemIdToken": google.system_token(url, email_verified=False)},
            {"systemIdToken": google.system_token(url, exp=1)},
            {"userIdToken": google.user_token(ALICE, aud="another-client")},
            {"userIdToken": google.user_token(ALICE, email_verified=False)},
            {"userIdToken": google.user_token(ALICE, exp=1)},
        ]
        for changes in wrong:
            changed = event | {"authorizationEventObject": tokens | changes}
            assert client.post("/addon/home", json=changed).status_code == 401

    def test_nobody_whom_another_google_vouches_for(self, house: House, make_sandbox: Any) -> None:
        other: Sandbox = make_sandbox()
        other.add_user(ALICE)
        other.keys._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        assert Panel(house.app, other, ALICE).home().status == 401

    def test_the_systems_token_may_be_in_the_header_alone(self, house: House, client: FlaskClient) -> None:
        _, event = event_for(house)
        token = event["authorizationEventObject"].pop("systemIdToken")
        answer = client.post("/addon/home", json=event, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200

    def test_a_browser_that_is_signed_in_opens_nothing(self, house: House, client: FlaskClient) -> None:
        browser = browser_of(house.app, house.user(ALICE))
        assert browser.post("/addon/home", json={}).status_code == 401

    def test_without_settings_there_is_no_door(self, make_app: Callable[..., Flask]) -> None:
        for missing in ("addon_service_account", "addon_client_id"):
            closed = make_app(**{missing: ""})
            assert closed.test_client().post("/addon/home", json={}).status_code == 404


class TestPlainCards:
    """For those to whom nothing is shown, wherever they knock."""

    @staticmethod
    def everywhere(panel: Panel, sent: str = "") -> list[Panel]:
        return [panel.home(), panel.open(sent or "19000000000a0003"), panel.compose(["dora@acme.test"])]

    def test_a_stranger_is_told_how_to_sign_in(self, house: House) -> None:
        house.sandbox.add_user(NOBODY)
        for panel in self.everywhere(house.panel(NOBODY)):
            assert f"Tracker does not know {NOBODY}" in panel.text
            assert panel.link("Sign in to Tracker") == f"{URL}/"
        assert house.panel(NOBODY).do("test.add", {"note": "eve"}).buttons == ["Sign in to Tracker"]

    def test_whoever_was_removed_is_a_stranger(self, house: House) -> None:
        sent = house.mail(BOB)
        with house.sessions() as session, session.begin():
            user = session.get_one(User, house.user(BOB).id)
            people.remove(session, house.viewer(ALICE), user, house.team.services.now())
        panel = house.panel(BOB).open(sent.gmail_id)
        assert "does not know" in panel.text

    def test_the_second_mailbox_of_somebody_says_where_the_panel_works(self, house: House) -> None:
        house.sandbox.add_user("sales@team.example")
        with house.sessions() as session, session.begin():
            mailboxes.connect(
                session, house.user(ALICE), "Sales@team.example", b"sealed", house.team.services.now()
            )
        for panel in self.everywhere(house.panel("sales@team.example")):
            assert f"sales@team.example is a mailbox of {house.user(ALICE).name}’s in Tracker" in panel.text
            assert f"signs in to Tracker with: {ALICE}" in panel.text
            assert panel.buttons == ["Open Tracker"]

    def test_an_address_that_was_given_to_another_account_is_a_stranger(self, house: House) -> None:
        with house.sessions() as session, session.begin():
            session.get_one(User, house.user(ALICE).id).google_subject = "somebody-before"
        assert "does not know" in house.panel(ALICE).home().text

    def test_a_guest_is_told_that_there_is_no_panel(self, house: House) -> None:
        house.sandbox.add_user("gina@client.example")
        with house.sessions() as session, session.begin():
            people.add_user(session, house.user().team_id, "gina@client.example", role=Role.GUEST)
        assert "Guests have no panel" in house.panel("gina@client.example").home().text

    def test_without_a_mailbox_there_is_a_button_to_connect_it(self, house: House) -> None:
        house.sandbox.add_user("carol@team.example")
        with house.sessions() as session, session.begin():
            people.add_user(session, house.user().team_id, "carol@team.example")
        for panel in self.everywhere(house.panel("carol@team.example")):
            assert panel.link("Connect this mailbox") == f"{URL}/mailboxes"

    def test_a_disconnected_mailbox_is_none(self, house: House) -> None:
        with house.sessions() as session, session.begin():
            session.get_one(Mailbox, house.boxes[ALICE].id).state = State.DISCONNECTED
        assert house.panel().home().buttons == ["Connect this mailbox"]

    def test_an_address_that_moved_to_another_users_mailbox_is_not_theirs(self, house: House) -> None:
        with house.sessions() as session, session.begin():
            session.get_one(Mailbox, house.boxes[ALICE].id).user_id = house.user(BOB).id
        assert house.panel().home().buttons == ["Connect this mailbox"]

    def test_an_empty_home_says_what_to_do(self, house: House) -> None:
        frame.of(house.app).panel = panels.Panel()
        assert "Open a mail" in house.panel().home().text


class TestManners:
    def test_no_cookie_is_read_or_set(self, house: House) -> None:
        _, event = event_for(house)
        client = house.app.test_client()
        client.set_cookie("tracker_session", "whatever")
        answer = client.post("/addon/home", json=event)
        assert answer.status_code == 200
        assert "Set-Cookie" not in answer.headers
        assert "Cookie" not in answer.headers.get("Vary", "")

    def test_large_bodies_are_not_read(self, house: House, client: FlaskClient) -> None:
        answer = client.post("/addon/home", data=b"{" + b" " * events.SIZE_LIMIT, content_type="application/json")
        assert (answer.status_code, answer.json) == (
            400,
            {"error": {"code": 400, "message": "The event is too large"}},
        )

    def test_the_keys_are_fetched_once(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        verifier = house.app.extensions[web.EXTENSION].verifier
        fetched: list[str] = []
        fetch = verifier.keys._fetch
        monkeypatch.setattr(verifier.keys, "_fetch", lambda url: fetched.append(url) or fetch(url))
        for _ in range(5):
            house.panel().home()
        assert len(fetched) == 1

    def test_few_questions_are_asked_of_the_database(self, house: House, engine: Engine) -> None:
        frame.of(house.app).panel = panels.Panel()
        sent = house.mail()
        house.panel().open(sent.gmail_id, sent.thread_id)
        with counted(engine) as statements:
            house.panel().open(sent.gmail_id, sent.thread_id)
        assert len(statements) <= 6, statements

    def test_the_sandbox_signs_events_for_others_too(self, house: House, client: FlaskClient) -> None:
        """As the preview in the demo asks it to, which is another process."""
        sent = house.mail(subject="Chairs")
        wanted = {"user": ALICE, "url": f"{URL}/addon/open", "message_id": sent.gmail_id}
        event = requests.post(f"{house.sandbox.url}/sandbox/addon", json=wanted, timeout=10).json()
        assert "Chairs" in client.post("/addon/open", json=event).text
        told = requests.get(f"{house.sandbox.url}/sandbox/", timeout=10).json()
        assert (told["addon_service_account"], told["addon_client_id"]) == (SERVICE_ACCOUNT, CLIENT_ID)


class TestFuzzing:
    """Whatever is posted, the answer is JSON, and none of ours says 5xx."""

    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    anything = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(body=st.binary(max_size=200) | anything.map(lambda one: json.dumps(one).encode()))
    def test_bodies(self, house: House, body: bytes) -> None:
        client = house.app.test_client()
        for path in (*TRIGGERS, "/addon/act"):
            answer = client.post(path, data=body, content_type="application/json")
            assert answer.status_code in (400, 401)
            assert answer.json["error"]["code"] == answer.status_code

    fields = st.sampled_from(
        ["commonEventObject", "gmail", "draftMetadata", "parameters", "formInputs", "timeZone", "messageId",
         "threadId", "toRecipients", "do", "_at", "id", "stringInputs", "dateInput", "msSinceEpoch"]
    )  # fmt: skip

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(data=st.data())
    def test_signed_events(self, house: House, data: st.DataObject) -> None:
        """Signed by Google, with anything in them."""
        house.app.extensions[web.EXTENSION].pace._free_at.clear()
        path = data.draw(st.sampled_from([*TRIGGERS, "/addon/act"]))
        _, event = event_for(house, path=path)
        for part in ("commonEventObject", "gmail", "draftMetadata"):
            if data.draw(st.booleans()):
                event[part] = data.draw(st.dictionaries(self.fields, self.anything, max_size=4))
        answer = house.app.test_client().post(path, json=event)
        assert answer.status_code in (200, 400), answer.text
        assert isinstance(answer.json, dict)
