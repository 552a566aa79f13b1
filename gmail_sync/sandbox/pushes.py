"""Push notifications: watches, and the Pub/Sub messages that they cause.

Sources: https://developers.google.com/workspace/gmail/api/guides/push,
https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions
"""

from __future__ import annotations

import base64
import heapq
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import requests

from gmail_sync.sandbox.keys import Keys
from gmail_sync.sandbox.oauth import ISSUER
from gmail_sync.sandbox.store import Store

if TYPE_CHECKING:
    from gmail_sync.sandbox.mailbox import SandboxMailbox

log = logging.getLogger(__name__)

#: A watch lasts this long.
WATCH_LIFETIME = timedelta(days=7)
#: Answers that count as delivered.
ACKNOWLEDGED = frozenset({102, 200, 201, 202, 204})


@dataclass(order=True)
class _Delivery:
    due: float
    turn: int
    body: bytes = field(compare=False)
    attempt: int = field(default=0, compare=False)


class Pushes:
    """Sends what watches ask for to `endpoint`, from one background thread.

    Switches: `lose` (how many of the next pushes are lost, True for all), `delay` (seconds), `double`
    (each is sent twice), `reorder` (each waits for the next and goes after it, or for half a second),
    `throttle` (least seconds between two of one user, the rest dropped; 0 lifts it), `backoff`
    (seconds before the first redelivery, doubling up to a minute).
    """

    def __init__(self, store: Store, keys: Keys, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self.endpoint: str | None = None
        #: The `aud` of the bearer token; the endpoint's address when None.
        self.audience: str | None = None
        self.service_account = "gmail-push@sandbox-project.iam.gserviceaccount.com"
        self.subscription = "projects/sandbox-project/subscriptions/gmail-push"
        self.lose: bool | int = False
        self.delay = 0.0
        self.double = False
        self.reorder = False
        self.throttle = 1.0
        self.backoff = 0.2
        #: Bodies that were acknowledged, and those dropped for the throttle or lost.
        self.delivered = 0
        self.dropped = 0
        self._last: dict[int, float] = {}
        self._numbers = itertools.count(1)
        self._queue: list[_Delivery] = []
        self._wake = threading.Condition()
        self._worker: threading.Thread | None = None
        self._stopped = False

    @property
    def mode(self) -> dict[str, Any]:
        """All switches at once."""
        names = ("lose", "delay", "double", "reorder", "throttle", "backoff")
        return {name: getattr(self, name) for name in names}

    @mode.setter
    def mode(self, switches: dict[str, Any]) -> None:
        for name, value in switches.items():
            if name not in self.mode:
                raise ValueError(f"no such switch: {name}")
            setattr(self, name, value)

    def watch(self, mailbox: SandboxMailbox, request: dict[str, Any]) -> dict[str, Any]:
        """Register (or renew) a watch; the API's WatchResponse."""
        expiration = int((self._clock() + WATCH_LIFETIME).timestamp() * 1000)
        kept = {key: request.get(key) for key in ("labelIds", "labelFilterBehavior", "labelFilterAction")}
        with self._store.transaction():
            text = json.dumps(kept | {"expiration": expiration})
            self._store.run("UPDATE users SET watch = ? WHERE id = ?", text, mailbox.user_id)
            return {"historyId": str(mailbox.history_id), "expiration": str(expiration)}

    def stop_watch(self, mailbox: SandboxMailbox) -> None:
        """Forget a watch."""
        self._store.run("UPDATE users SET watch = NULL WHERE id = ?", mailbox.user_id)

    def notify(self, mailbox: SandboxMailbox, labels: str) -> None:
        """A change happened to a message with these labels (ids with spaces between)."""
        if not self.endpoint or not self._is_watched(mailbox, set(labels.split())):
            return
        now = time.monotonic()
        with self._wake:
            last = self._last.get(mailbox.user_id)
            if last is not None and self.throttle and now - last < self.throttle:
                self.dropped += 1
                return
            self._last[mailbox.user_id] = now
            if self.lose:
                self.lose = self.lose if self.lose is True else self.lose - 1
                self.dropped += 1
                return
            self._enqueue(self._envelope(mailbox), now + self.delay)

    def _is_watched(self, mailbox: SandboxMailbox, labels: set[str]) -> bool:
        text = self._store.value("SELECT watch FROM users WHERE id = ?", mailbox.user_id)
        if not text:
            return False
        watch = json.loads(text)
        if watch["expiration"] <= self._clock().timestamp() * 1000:
            return False
        wanted = set(watch["labelIds"] or ())
        behavior = watch["labelFilterBehavior"] or watch["labelFilterAction"] or "include"
        return not wanted or bool(wanted & labels) is (behavior.lower() == "include")

    def _envelope(self, mailbox: SandboxMailbox) -> bytes:
        """The Pub/Sub message; `historyId` is a number, as Gmail mostly sends it."""
        data = json.dumps({"emailAddress": mailbox.address, "historyId": mailbox.history_id}).encode()
        number = str(next(self._numbers) + 2_000_000_000_000_000)
        published = self._clock().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        message = {"data": base64.urlsafe_b64encode(data).decode(), "messageId": number, "message_id": number}
        message |= {"publishTime": published, "publish_time": published}
        return json.dumps({"message": message, "subscription": self.subscription}).encode()

    def _enqueue(self, body: bytes, due: float) -> None:
        held = [delivery for delivery in self._queue if delivery.attempt == 0] if self.reorder else []
        due = due + 0.5 if self.reorder and not held else due
        for _ in range(2 if self.double else 1):
            heapq.heappush(self._queue, _Delivery(due, next(self._numbers), body))
        for delivery in held:
            delivery.due = due + 0.001
        heapq.heapify(self._queue)
        if self._worker is None:
            self._worker = threading.Thread(target=self._run, name="sandbox-pushes", daemon=True)
            self._worker.start()
        self._wake.notify()

    def stop(self) -> None:
        """End the background thread; what waits is not sent."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        if self._worker:
            self._worker.join(timeout=5)

    def _run(self) -> None:
        with requests.Session() as session:
            while delivery := self._next():
                if not self._post(session, delivery.body):
                    self._again(delivery)

    def _next(self) -> _Delivery | None:
        with self._wake:
            while not self._stopped:
                wait = self._queue[0].due - time.monotonic() if self._queue else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._queue)
                self._wake.wait(wait)
        return None

    def _again(self, delivery: _Delivery) -> None:
        delivery.due = time.monotonic() + min(self.backoff * 2**delivery.attempt, 60.0)
        delivery.attempt += 1
        with self._wake:
            heapq.heappush(self._queue, delivery)

    def _post(self, session: requests.Session, body: bytes) -> bool:
        endpoint = self.endpoint
        if not endpoint:
            return True
        headers = {"Authorization": f"Bearer {self.bearer()}", "Content-Type": "application/json"}
        try:
            answer = session.post(endpoint, data=body, headers=headers, timeout=10, allow_redirects=False)
        except requests.RequestException as error:
            log.info("push to %s failed: %s", endpoint, error)
            return False
        if answer.status_code in ACKNOWLEDGED:
            self.delivered += 1
            return True
        return False

    def bearer(self, **changes: Any) -> str:
        """The token that a push carries; `changes` to its claims make bad ones for tests."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": self.audience or self.endpoint,
            "azp": "100000000000000000001",
            "sub": "100000000000000000001",
            "email": self.service_account,
            "email_verified": True,
            "iat": now,
            "exp": now + 3600,
        }
        return self._keys.sign(claims | changes)
