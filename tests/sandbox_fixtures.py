"""A served sandbox for tests, and people who use it: Alice owns, Bob is a teammate, Charlie is outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
import requests

from gmail_sync.sandbox import Sandbox, SandboxServer
from gmail_sync.sandbox.payload import encode
from tests import discovery

ALICE, BOB, CHARLIE = "alice@example.com", "bob@example.com", "charlie@example.net"


class Clock:
    """A clock that tests set. It stands still."""

    def __init__(self) -> None:
        self.now = datetime(2026, 8, 11, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **units: float) -> None:
        """Move on, by the units of timedelta."""
        self.now += timedelta(**units)


class Api:
    """REST calls as one user, each answer checked against the discovery document."""

    def __init__(
        self, sandbox: Sandbox, address: str, scopes: tuple[str, ...] = ("https://mail.google.com/",)
    ) -> None:
        self.url = sandbox.url
        self.session = requests.Session()
        token = sandbox.tokens.issue("access", sandbox.mailbox(address).user_id, sandbox.client_id, scopes)
        self.session.headers["Authorization"] = f"Bearer {token}"
        self.session.hooks["response"].append(discovery.hook)

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> requests.Response:
        """One call; `path` is below users/me/."""
        address = f"{self.url}/gmail/v1/users/me/{path}"
        return self.session.request(method, address, json=body, params=query, timeout=20)

    def get(self, path: str, **query: Any) -> Any:
        """A GET that succeeds."""
        return self._good(self.call("GET", path, **query))

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """A POST that succeeds."""
        return self._good(self.call("POST", path, body, **query))

    @staticmethod
    def _good(answer: requests.Response) -> Any:
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None


def mail(
    subject: str = "Hello",
    *,
    sender: str = CHARLIE,
    to: str = ALICE,
    message_id: str = "",
    reply_to: str = "",
    body: str = "Good morning.",
    **headers: str,
) -> bytes:
    """A raw message."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Date"] = "Tue, 11 Aug 2026 08:00:00 +0000"
    if message_id:
        message["Message-ID"] = f"<{message_id}>"
    if reply_to:
        message["References"] = message["In-Reply-To"] = f"<{reply_to}>"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(body)
    return message.as_bytes()


def as_raw(raw: bytes) -> str:
    """A message as requests carry it."""
    return encode(raw)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until it is advanced."""
    return Clock()


@pytest.fixture
def make_sandbox() -> Iterator[Callable[..., Sandbox]]:
    """Makes served sandboxes with the users Alice and Bob; they end with the test."""
    running: list[tuple[SandboxServer, Sandbox]] = []

    def make(**options: Any) -> Sandbox:
        sandbox = Sandbox(**options)
        sandbox.add_user(ALICE, "Alice Archer")
        sandbox.add_user(BOB, "Bob Baker")
        server = SandboxServer(sandbox)
        server.start()
        running.append((server, sandbox))
        return sandbox

    yield make
    for server, sandbox in running:
        server.stop()
        sandbox.close()


@pytest.fixture
def sandbox(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox in memory, served on a free loopback port (`sandbox.url`), without a quota."""
    return make_sandbox(units_per_minute=0)


@pytest.fixture
def api(sandbox: Sandbox) -> Api:
    """Alice's calls."""
    return Api(sandbox, ALICE)
