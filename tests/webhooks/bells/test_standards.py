"""What the standards say: RFC 8291's example, what a push service's answer means, whom we never ask."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02

from tests.webhooks.bells.services import Browser, PushService, b64
from webhooks.bells import push
from webhooks.bells.deliveries import State
from webhooks.bells.push import Address, Push, Signer, judged


def bytes_of(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# RFC 8291 §5 and appendix A.
PLAIN = b"When I grow up, I want to be a watermelon"
SENDER = bytes_of("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")
RECEIVER = bytes_of("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94")
RECEIVER_PUBLIC = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
SALT = bytes_of("DGv6ra1nlYgDCS1FRnbzlw")
CIPHERTEXT = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
    "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
    "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def key_of(number: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(number, "big"), ec.SECP256R1())


def test_the_example_of_rfc_8291_comes_out_byte_for_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    # What the library takes at random is given; the rest is our own way to it.
    monkeypatch.setattr(os, "urandom", lambda number: SALT[:number])
    monkeypatch.setattr("pywebpush.ec.generate_private_key", lambda *_: key_of(SENDER))
    made = push.encrypted(Address("https://push.example/", RECEIVER_PUBLIC, AUTH), PLAIN)
    assert b64(made) == CIPHERTEXT


def test_and_is_read_by_the_browser_it_is_for() -> None:
    read = http_ece.decrypt(
        bytes_of(CIPHERTEXT), private_key=key_of(RECEIVER), auth_secret=bytes_of(AUTH), version="aes128gcm"
    )
    assert read == PLAIN


def test_the_signature_is_that_of_rfc_8292() -> None:
    signer = Signer(b64(SENDER), "mailto:admin@team.example")
    header = signer.authorization("https://push.example", 1_000_000.0)
    assert header.startswith("vapid t=")
    assert Vapid02.verify(header)
    token = header.removeprefix("vapid t=").split(",")[0]
    head, claims, _ = (
        json.loads(bytes_of(part)) if number < 2 else part for number, part in enumerate(token.split("."))
    )
    assert head["alg"] == "ES256"
    assert claims == {
        "aud": "https://push.example", "exp": 1_000_000 + push.JWT_LIFE, "sub": "mailto:admin@team.example",
    }  # fmt: skip
    assert claims["exp"] - 1_000_000 <= 24 * 3600


def test_a_topic_is_at_most_32_characters_of_base64url() -> None:
    topic = Push({"tag": "a" * 500}, 60).topic
    assert len(topic) <= 32
    assert set(topic) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert topic == Push({"tag": "a" * 500}, 10).topic != Push({"tag": "b"}, 10).topic


@pytest.mark.parametrize(
    ("status", "state", "gone"),
    [
        (201, State.SENT, False), (200, State.SENT, False), (202, State.SENT, False), (204, State.SENT, False),
        (404, State.DROPPED, True), (410, State.DROPPED, True), (400, State.DROPPED, False),
        (401, State.DROPPED, False), (403, State.DROPPED, False), (413, State.DROPPED, False),
        (302, State.DROPPED, False), (429, State.WAITING, False), (500, State.WAITING, False),
        (503, State.WAITING, False),
    ],
)  # fmt: skip
def test_what_an_answer_means(status: int, state: State, gone: bool) -> None:
    found = judged(status)
    assert (found.state, found.gone) == (state, gone)


def test_when_to_ask_again() -> None:
    assert judged(429, "90").retry_after == timedelta(seconds=90)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    found = judged(503, date).retry_after
    assert found is not None
    assert timedelta(seconds=290) < found <= timedelta(seconds=300)
    assert judged(503, "9" * 30).retry_after == push.LONGEST_RETRY
    assert judged(503, "-5").retry_after is None
    assert judged(503, "²").retry_after is None
    assert judged(503, "next week").retry_after is None


SIGNER = Signer(b64(SENDER), "mailto:admin@team.example")


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://127.0.0.1/push", "https://localhost/push", "https://[::1]/push", "https://10.1.2.3/push",
        "https://169.254.169.254/latest/meta-data", "https://[::ffff:127.0.0.1]/", "https://0x7f000001/",
        "http://push.example/", "ftp://push.example/", "file:///etc/passwd", "https://user:pw@push.example/",
        "https://push.example:99999/", "//push.example/", "",
    ],
)  # fmt: skip
def test_our_own_network_is_never_asked(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[str] = []
    monkeypatch.setattr("urllib3.connection.HTTPConnection.connect", lambda one: connected.append(one.host))
    monkeypatch.setattr("urllib3.connection.HTTPSConnection.connect", lambda one: connected.append(one.host))
    keys = Browser(endpoint).keys
    found = push.send(Address(**keys), Push({"tag": "x"}, 60), SIGNER)
    assert found.state in (State.WAITING, State.DROPPED)
    assert connected == []


def test_an_endless_answer_and_a_silent_service_end(service: PushService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "SECONDS", 0.3)
    chrome = service.browser()

    def slow(_: object) -> tuple[int, dict[str, str]]:
        import time

        time.sleep(1)
        return 201, {}

    service.answer = slow
    found = push.send(Address(**chrome.keys), Push({"tag": "x"}, 60), SIGNER, private=True)
    assert found.state == State.WAITING
    assert "no answer" in str(found.reason)


@pytest.mark.parametrize("keys", [("", ""), ("AAAA", "AAAA"), ("B" * 87, "A" * 22), ("ä", "ö")])
def test_keys_that_are_none_are_no_error_of_ours(service: PushService, keys: tuple[str, str]) -> None:
    found = push.send(Address(f"{service.url}/x", *keys), Push({"tag": "x"}, 60), SIGNER, private=True)
    assert (found.state, found.gone, service.came) == (State.DROPPED, True, [])
