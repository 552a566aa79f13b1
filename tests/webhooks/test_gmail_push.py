"""The door that Pub/Sub knocks on: who may come in, and that nothing thrown at it breaks it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.serving import make_server

from config import teams
from gmail_sync.sandbox import Sandbox
from tests.gmail_sync.processes import sql
from tracker import mailboxes
from tracker.db import Sessions, transaction
from tracker.mailboxes import Mailbox, State
from webhooks import gmail_push
from webhooks.gmail_push import Door, Sender

ALICE, CHARLIE = "Alice.Archer@team.example", "charlie@outside.example"
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
EARLIER = datetime(2026, 11, 20, 9, tzinfo=UTC)


@dataclass
class Served:
    """The door on a server, and what it did."""

    url: str
    sandbox: Sandbox
    sessions: Sessions
    mailbox_id: int
    woken: list[int] = field(default_factory=list)
    wanted_when_woken: list[datetime | None] = field(default_factory=list)
    wake_fails: bool = False

    def wake(self, mailbox_id: int) -> None:
        """What the door calls."""
        self.woken.append(mailbox_id)
        self.wanted_when_woken.append(self.row.wanted_at)
        if self.wake_fails:
            raise ConnectionError("the queue is away")

    def now(self) -> datetime:
        """The door's clock."""
        return NOW

    @property
    def row(self) -> Mailbox:
        """Alice's mailbox as it is."""
        with self.sessions() as session:
            return session.get_one(Mailbox, self.mailbox_id)

    def post(self, body: bytes, token: str | None = None, **headers: str) -> requests.Response:
        """Knock, with a good token unless another is given."""
        bearer = self.sandbox.pushes.bearer() if token is None else token
        sent = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json", **headers}
        return requests.post(self.url, data=body, headers=sent, timeout=20)

    @property
    def untouched(self) -> bool:
        """Whether nothing was wished for."""
        return self.row.wanted_at == EARLIER and not self.woken


def notification(address: str = ALICE, history_id: Any = "12345") -> bytes:
    """What Pub/Sub sends."""
    data = base64.urlsafe_b64encode(json.dumps({"emailAddress": address, "historyId": history_id}).encode())
    message = {"data": data.decode(), "messageId": "1", "publishTime": "2026-11-21T09:00:00Z"}
    return json.dumps({"message": message, "subscription": "projects/p/subscriptions/s"}).encode()


@pytest.fixture
def door(sandbox: Sandbox, sessions: Sessions) -> Iterator[Served]:
    """The door, on a web server of its own."""
    with transaction(sessions) as session:
        alice = teams.found(session, "Test team", ALICE, "Alice")
        mailbox_id = mailboxes.connect(session, alice, ALICE, b"sealed", EARLIER).id
    app = Flask("door")
    app.testing = False  # what goes wrong is a 500, as it would be in production
    server = make_server("127.0.0.1", 0, app, threaded=True)
    served = Served(f"http://127.0.0.1:{server.port}{gmail_push.PATH}", sandbox, sessions, mailbox_id)
    sandbox.pushes.endpoint = served.url
    sender = Sender(f"{sandbox.url}/oauth2/v3/certs", served.url, sandbox.pushes.service_account)
    gmail_push.init_app(app, Door(sessions, sender, served.wake, served.now))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield served
    server.shutdown()
    thread.join(5)
    server.server_close()


def refused(answer: requests.Response, status: int) -> bool:
    """Whether it was refused so, in JSON that says why."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json()["error"]["code"] == status
    assert answer.json()["error"]["message"]
    return True


def test_a_push_is_a_wish_to_sync_and_wakes_a_worker(door: Served) -> None:
    answer = door.post(notification())
    assert (answer.status_code, answer.content) == (204, b"")
    assert (door.row.wanted_at, door.row.wanted_by, door.row.pushed_at) == (NOW, "pushed", NOW)
    assert door.woken == [door.mailbox_id]


def test_the_wish_is_committed_before_anybody_is_woken(door: Served) -> None:
    door.post(notification())
    assert door.wanted_when_woken == [NOW]


HISTORY_IDS: list[Any] = ["9876543210", 9876543210, 2**64 - 1, None, "nonsense"]


def test_the_history_id_may_be_anything_for_it_is_no_cursor(door: Served) -> None:
    cursor = door.row.history_id
    for history_id in HISTORY_IDS:
        sql(door.sessions, "UPDATE mailboxes SET wanted_at = NULL")
        assert door.post(notification(history_id=history_id)).status_code == 204
        assert door.row.history_id == cursor
        assert door.row.wanted_at == NOW


def test_the_address_is_compared_without_case(door: Served) -> None:
    assert door.post(notification(ALICE.lower())).status_code == 204
    assert door.row.wanted_at == NOW


def test_data_may_come_without_padding(door: Served) -> None:
    for address_tail in ("", "x", "xx"):
        body = json.loads(notification(ALICE, "1" + address_tail))
        body["message"]["data"] = body["message"]["data"].rstrip("=")
        assert door.post(json.dumps(body).encode()).status_code == 204


def test_an_address_that_we_do_not_sync_is_not_delivered_again(door: Served) -> None:
    assert door.post(notification(CHARLIE)).status_code == 204
    assert door.untouched


def test_a_disconnected_mailbox_is_left_alone(door: Served) -> None:
    with transaction(door.sessions) as session:
        mailboxes.move(session, door.mailbox_id, State.DISCONNECTED, reason=None, now=NOW)
    assert door.post(notification()).status_code == 204
    assert door.untouched


def test_a_wake_that_fails_leaves_the_wish(door: Served) -> None:
    door.wake_fails = True
    answer = door.post(notification())
    assert answer.status_code == 204  # the wish is recorded, a tick finds it
    assert door.woken
    assert door.row.wanted_at == NOW


WRONG_CLAIMS: list[dict[str, Any]] = [
    {"aud": "https://elsewhere.example/gmail/push"},
    {"aud": None},
    {"email": "charlie@outside.example"},
    {"email": "gmail-push@sandbox-project.iam.gserviceaccount.com.outside.example"},
    {"email": None},
    {"email_verified": False},
    {"email_verified": "true"},
    {"email_verified": None},
    {"exp": 1_000_000_000, "iat": 999_990_000},
    {"iat": 4_000_000_000, "exp": 4_000_003_600},
]


def test_a_token_that_is_not_meant_for_us_is_refused(door: Served) -> None:
    for claims in WRONG_CLAIMS:
        assert refused(door.post(notification(), door.sandbox.pushes.bearer(**claims)), 401), claims
        assert door.untouched, claims


def signed_by_somebody(door: Served) -> str:
    """A good token's claims and key id, under another key."""
    good = door.sandbox.pushes.bearer()
    claims, header = jwt.decode(good, options={"verify_signature": False}), jwt.get_unverified_header(good)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": header["kid"]})


def unsigned(door: Served) -> str:
    """The algorithm "none"."""
    claims = jwt.decode(door.sandbox.pushes.bearer(), options={"verify_signature": False})
    return jwt.encode(claims, None, algorithm="none")


def tampered(door: Served) -> str:
    """A good token with another body."""
    head, _, signature = door.sandbox.pushes.bearer().split(".")
    body = base64.urlsafe_b64encode(json.dumps({"email": "charlie@outside.example"}).encode()).decode().rstrip("=")
    return f"{head}.{body}.{signature}"


def of_unknown_key(door: Served) -> str:
    """Signed by a key that nobody knows."""
    claims = jwt.decode(door.sandbox.pushes.bearer(), options={"verify_signature": False})
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": "nobody's"})


def test_a_token_with_a_bad_signature_is_refused(door: Served) -> None:
    for make in (signed_by_somebody, unsigned, tampered, of_unknown_key):
        assert refused(door.post(notification(), make(door)), 401), make
        assert door.untouched, make


NO_TOKENS = ["", "Bearer", "Bearer ", "Basic YWxpY2U6c2VjcmV0", "Bearer a.b.c", "nonsense"]


def test_without_a_token_nobody_comes_in(door: Served) -> None:
    for header in NO_TOKENS:
        assert refused(door.post(notification(), Authorization=header), 401), header
        assert door.untouched, header


def test_a_huge_body_is_refused(door: Served) -> None:
    assert refused(door.post(notification("a" * 70_000)), 400)
    assert refused(door.post(b" " * 3_000_000), 400)
    assert door.untouched


NO_NOTIFICATIONS = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b'{"message": null}',
    b'{"message": {"data": null}}',
    b'{"message": {"data": 17}}',
    b'{"message": {"data": "\xff\xfe"}}',
    b'{"message": {"data": "!!!"}}',
    b'{"message": {"data": "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"}}',
    b"[" * 50_000,
    notification(address=17),  # type: ignore[arg-type]
    notification(address=""),
    notification(address=["a@b.example"]),  # type: ignore[arg-type]
    notification(address="a" * 400 + "@team.example"),
]


def test_what_is_no_notification_is_refused(door: Served) -> None:
    for body in NO_NOTIFICATIONS:
        assert refused(door.post(body), 400), body[:100]
        assert door.untouched, body[:100]


ODD_ADDRESSES = ["alice\x00@team.example", "alice\ud800@team.example", "\U0001f600" * 50]


def test_an_odd_address_breaks_nothing(door: Served) -> None:
    for address in ODD_ADDRESSES:
        assert door.post(notification(address)).status_code in (204, 400), address
        assert door.untouched, address


def receive(door: Served, body: bytes, authorization: str) -> int:
    """Knock without the wire, for speed."""
    sandbox = door.sandbox
    sender = Sender(f"{sandbox.url}/oauth2/v3/certs", door.url, sandbox.pushes.service_account)
    status, said = gmail_push.receive(Door(door.sessions, sender, door.wake, door.now), body, authorization)
    if status != 204:
        assert json.loads(said)["error"]["code"] == status
    return status


texts = st.text(st.characters(), max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
datas = st.builds(
    lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode(),
    st.fixed_dictionaries({"emailAddress": texts | values, "historyId": values}) | values,
)
bodies = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda value: json.dumps(value).encode(), values),
    st.builds(lambda data: json.dumps({"message": {"data": data}}).encode(), datas | values),
)
relaxed = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


@relaxed
@given(body=bodies)
def test_no_body_breaks_the_door(door: Served, body: bytes) -> None:
    bearer = f"Bearer {door.sandbox.pushes.bearer()}"
    assert receive(door, body, bearer) in (204, 400)
    assert door.untouched


@relaxed
@given(token=st.text(st.characters(codec="latin-1"), max_size=60) | st.builds(
    lambda parts: ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts),
    st.lists(values, min_size=3, max_size=3),
))  # fmt: skip
def test_no_token_breaks_the_door(door: Served, token: str) -> None:
    assert receive(door, notification(), f"Bearer {token}") == 401
    assert door.untouched
