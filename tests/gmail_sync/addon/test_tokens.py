"""Tokens: whose are believed, and how seldom Google is asked for its keys."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from gmail_sync.addon.tokens import LEAST, PAUSE, STALE, Keys, Person, TokenError, Verifier
from gmail_sync.addon.tokens import fetch as fetch_keys
from gmail_sync.sandbox import Sandbox
from gmail_sync.sandbox.addon import CLIENT_ID, SERVICE_ACCOUNT, AddOn
from gmail_sync.sandbox.keys import b64

URL = "https://tracker.example/addon/open"
ALICE = "alice@example.com"


class Certs:
    """Google's key set, with a count of how often it was asked for."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.answer: Any = sandbox.keys.jwks()
        self.asked, self.now, self.seconds = 0, 1000.0, 3600.0
        self.before: Callable[[], None] = lambda: None

    def fetch(self, _: str) -> tuple[Any, float]:
        self.asked += 1
        self.before()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer, self.seconds

    def clock(self) -> float:
        return self.now


@pytest.fixture
def certs(sandbox: Sandbox) -> Certs:
    return Certs(sandbox)


@pytest.fixture
def keys(certs: Certs) -> Keys:
    return Keys("https://keys.example", certs.fetch, certs.clock)


@pytest.fixture
def verifier(keys: Keys) -> Verifier:
    return Verifier(keys, SERVICE_ACCOUNT, CLIENT_ID)


@pytest.fixture
def google(sandbox: Sandbox) -> AddOn:
    return AddOn(sandbox)


class TestTheSystemsToken:
    def test_of_our_service_account_for_this_address_is_believed(self, verifier: Verifier, google: AddOn) -> None:
        verifier.system(google.system_token(URL), URL)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"aud": "https://tracker.example/addon/act"}, "made for somebody else"),
            ({"aud": CLIENT_ID}, "made for somebody else"),
            ({"aud": [URL, "https://elsewhere.example"]}, "made for somebody else"),
            ({"aud": None}, "not valid"),
            ({"iss": "https://accounts.example"}, "made for somebody else"),
            ({"email": "other@gcp-sa-gsuiteaddons.iam.gserviceaccount.com"}, "service account"),
            ({"email": None}, "service account"),
            ({"email_verified": False}, "service account"),
            ({"email_verified": None}, "service account"),
            ({"exp": int(time.time()) - 60}, "expired"),
            ({"exp": None}, "not valid"),
            ({"iat": int(time.time()) + 86_400}, "not valid"),
        ],
    )  # fmt: skip
    def test_that_says_anything_else_is_refused(
        self, verifier: Verifier, google: AddOn, changes: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(TokenError, match=words):
            verifier.system(google.system_token(URL, **changes), URL)

    def test_from_a_clock_that_is_a_little_ahead_is_believed(self, verifier: Verifier, google: AddOn) -> None:
        verifier.system(google.system_token(URL, iat=int(time.time()) + 3), URL)

    @pytest.mark.parametrize("token", ["", "x", "a.b.c", "é.é.é", "a" * 8000, "eyJhbGciOiJub25lIn0.e30."])
    def test_that_is_none_is_refused(self, verifier: Verifier, token: str) -> None:
        with pytest.raises(TokenError):
            verifier.system(token, URL)

    def test_signed_by_somebody_else_under_googles_key_id_is_refused(
        self, verifier: Verifier, google: AddOn, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        verifier.system(google.system_token(URL), URL)
        known, other = sandbox.keys.key_id, rsa.generate_private_key(public_exponent=65537, key_size=2048)
        monkeypatch.setattr(sandbox.keys, "_key", other)
        monkeypatch.setattr(type(sandbox.keys), "key_id", known)
        with pytest.raises(TokenError, match="not valid"):
            verifier.system(google.system_token(URL), URL)


class TestTheUsersToken:
    def test_says_who_looks(self, verifier: Verifier, google: AddOn, sandbox: Sandbox) -> None:
        subject = f"1{sandbox.mailbox(ALICE).user_id:020d}"
        assert verifier.user(google.user_token(ALICE)) == Person(subject, ALICE)

    @pytest.mark.parametrize(
        "changes",
        [
            {"aud": "another-client"}, {"email_verified": False}, {"email_verified": "true"}, {"email": None},
            {"email": ""}, {"email": ["a@b.c"]}, {"email": "a" * 400}, {"sub": None}, {"sub": ""},
            {"sub": "1" * 300}, {"exp": int(time.time()) - 60},
        ],
    )  # fmt: skip
    def test_that_says_anything_else_is_refused(
        self, verifier: Verifier, google: AddOn, changes: dict[str, Any]
    ) -> None:
        with pytest.raises(TokenError):
            verifier.user(google.user_token(ALICE, **changes))

    def test_the_systems_is_none(self, verifier: Verifier, google: AddOn) -> None:
        with pytest.raises(TokenError):
            verifier.user(google.system_token(URL))


class TestKeys:
    def test_are_fetched_once_for_many_events(self, verifier: Verifier, google: AddOn, certs: Certs) -> None:
        for _ in range(50):
            verifier.system(google.system_token(URL), URL)
            verifier.user(google.user_token(ALICE))
        assert certs.asked == 1

    def test_are_fetched_again_when_they_are_old(self, keys: Keys, certs: Certs, sandbox: Sandbox) -> None:
        keys.find(sandbox.keys.key_id)
        certs.now += certs.seconds + 1
        keys.find(sandbox.keys.key_id)
        assert certs.asked == 2

    def test_are_kept_a_minute_even_if_google_says_less(self, keys: Keys, certs: Certs, sandbox: Sandbox) -> None:
        certs.seconds = 0
        for _ in range(3):
            keys.find(sandbox.keys.key_id)
            certs.now += LEAST / 4
        assert certs.asked == 1

    def test_a_new_key_is_found_at_once(self, keys: Keys, certs: Certs, sandbox: Sandbox) -> None:
        keys.find(sandbox.keys.key_id)
        certs.now += PAUSE
        certs.answer = {"keys": [*certs.answer["keys"], {**certs.answer["keys"][0], "kid": "new"}]}
        assert keys.find("new") is not None

    def test_made_up_key_ids_do_not_make_us_ask_each_time(
        self, keys: Keys, certs: Certs, sandbox: Sandbox
    ) -> None:
        keys.find(sandbox.keys.key_id)
        for number in range(100):
            certs.now += 1.0
            with pytest.raises(TokenError):
                keys.find(f"made-up-{number}")
        assert certs.asked <= 1 + 100 / PAUSE
        keys.find(sandbox.keys.key_id)

    def test_old_ones_stay_good_while_google_does_not_answer_but_not_for_ever(
        self, keys: Keys, certs: Certs, sandbox: Sandbox
    ) -> None:
        keys.find(sandbox.keys.key_id)
        certs.answer = requests.ConnectionError("away")
        certs.now += certs.seconds + 1
        for _ in range(10):
            keys.find(sandbox.keys.key_id)
        assert certs.asked == 2
        certs.now += STALE
        with pytest.raises(TokenError):
            keys.find(sandbox.keys.key_id)

    @pytest.mark.parametrize(
        "answer",
        [
            {}, [], None, {"keys": {}}, {"keys": []}, {"keys": [1, None, {}]},
            {"keys": [{"kty": "RSA", "kid": "k", "n": "!", "e": "AQAB"}]},
            {"keys": [{"kty": "oct", "kid": "k", "k": b64(b"secret")}]},
        ],
    )  # fmt: skip
    def test_what_is_no_key_set_brings_none(self, keys: Keys, certs: Certs, answer: Any) -> None:
        certs.answer = answer
        with pytest.raises(TokenError):
            keys.find("k")

    def test_only_one_thread_waits_for_new_ones(self, keys: Keys, certs: Certs, sandbox: Sandbox) -> None:
        keys.find(sandbox.keys.key_id)
        certs.now += certs.seconds + 1
        fetching, go_on = threading.Event(), threading.Event()

        def wait() -> None:
            fetching.set()
            assert go_on.wait(10)

        certs.before = wait
        slow = threading.Thread(target=keys.find, args=(sandbox.keys.key_id,))
        slow.start()
        assert fetching.wait(10)
        keys.find(sandbox.keys.key_id)  # meanwhile, with the old ones
        with pytest.raises(TokenError):
            keys.find("made-up")
        go_on.set()
        slow.join(10)
        assert certs.asked == 2

    def test_are_fetched_over_http(self, sandbox: Sandbox) -> None:
        found, seconds = fetch_keys(f"{sandbox.url}/oauth2/v3/certs")
        assert found == sandbox.keys.jwks()
        assert seconds > 0
        with pytest.raises((requests.RequestException, ValueError)):
            fetch_keys(f"{sandbox.url}/nowhere")
