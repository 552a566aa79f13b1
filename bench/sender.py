"""A worker that only sends, as `bench.send` starts it: against the sandbox or a made-up Gmail.

Options come as JSON in BENCH_SENDER: database, google; or `gmail_seconds`, which the made-up one takes.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gmail_sync import drafts, oauth
from gmail_sync.session import Services
from gmail_sync.vault import Vault
from scheduler import dispatch
from scheduler.dispatch import Dispatcher
from scheduler.doors import Prepaid
from scheduler.post import Post
from tracker.db import make_engine, make_sessions

SECRET = "only for measuring, nothing secret in it"
UNLIMITED = 10**9


class Free(Prepaid):
    """Quota is lifted."""

    def __init__(self) -> None:
        pass

    def pay(self, calls: Mapping[str, int]) -> None:
        """Nothing."""

    def acquire(self, calls: Mapping[str, int]) -> None:
        """Nothing."""

    def block(self, seconds: float) -> None:
        """Nothing."""


class MadeUp:
    """A Gmail that takes its time and forgets everything."""

    def close(self) -> None:
        """Nothing."""

    def profile(self) -> None:
        """Nothing."""


def make_up(dispatcher: Dispatcher, seconds: float, asked: list[tuple[float, str]]) -> None:
    """Have a dispatcher speak with nobody; `asked` takes when each draft was sent."""
    numbers = iter(range(10**12))
    base = os.getpid() << 24

    def send(_gmail: Any, draft_id: str) -> tuple[str, str]:
        asked.append((time.time(), draft_id))
        if seconds:
            time.sleep(seconds)
        name = f"{base + next(numbers):x}"
        return name, name

    dispatcher._make_door = lambda _mailbox: (MadeUp(), Free())  # type: ignore[assignment,method-assign,return-value]
    dispatcher._doors._make = dispatcher._make_door
    dispatch.drafts = type("drafts", (), {**vars(drafts), "send": send, "headers": lambda _gmail, _ids: {}})  # type: ignore[assignment]


def post(options: dict[str, Any]) -> Post:
    """What the dispatcher is handed."""
    google = {"client_id": "", "client_secret": "", "api_url": "", **options.get("google", {})}
    there = oauth.Google(auth_url="", token_url="", certs_url="", **google)
    sessions = make_sessions(make_engine(options["database"], pool_size=20))
    services = Services(sessions, Vault(SECRET), there, UNLIMITED, 0, timedelta(seconds=60), patience=0.0)
    return Post(services, ask_after=timedelta(seconds=options.get("ask_after", 0.2)))


def main() -> None:
    """Send until told to stop (SIGTERM); then say when each mail was asked for."""
    options = json.loads(os.environ["BENCH_SENDER"])
    dispatcher = Dispatcher(post(options), threads=options.get("threads", dispatch.THREADS))
    asked: list[tuple[float, str]] = []
    if "gmail_seconds" in options:
        make_up(dispatcher, options["gmail_seconds"], asked)
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    dispatcher.start()
    print(f"ready {datetime.now(UTC).isoformat()}", flush=True)
    ending.wait()
    dispatcher.stop()
    print(json.dumps(asked), flush=True)


if __name__ == "__main__":
    main()
