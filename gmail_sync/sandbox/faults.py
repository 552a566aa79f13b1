"""Faults on demand: what goes wrong between a client and Gmail, switched on by tests and demos."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from gmail_sync.sandbox.errors import ApiError

Kind = Literal["drop", "lost_answer", "status", "latency"]


class ConnectionDropped(Exception):
    """The connection is to be closed without an answer."""


@dataclass
class Fault:
    """One thing that goes wrong.

    kind: "drop" (request read, **not** executed, connection closed without an answer),
    "lost_answer" (read **and** executed, connection closed without an answer), "status" (an error
    answer in Google's shape), "latency" (wait `seconds`, then go on).
    method: a glob over method names such as "messages.get", "drafts.*", "oauth.token", "batch", "*".
    user: an address, or None for all. times: how often it strikes, None for ever; `skip` matching
    requests pass first. probability: 0 to 1. retry_after: seconds for a Retry-After header.
    """

    kind: Kind
    method: str = "*"
    user: str | None = None
    times: int | None = None
    probability: float = 1.0
    status: int = 429
    reason: str = "rateLimitExceeded"
    message: str = ""
    retry_after: float | None = None
    seconds: float = 0.0
    skip: int = 0
    #: How often it has struck.
    hits: int = field(default=0, compare=False)

    def matches(self, method: str, user: str | None) -> bool:
        """Whether it concerns a request, leaving counts and chance aside."""
        mine = self.user is None or (user is not None and self.user.lower() == user.lower())
        return mine and fnmatchcase(method, self.method) and (self.times is None or self.hits < self.times)

    def error(self) -> ApiError:
        """The answer of a "status" fault."""
        headers = {} if self.retry_after is None else {"Retry-After": f"{self.retry_after:g}"}
        return ApiError(self.status, self.reason, self.message, headers=headers)


class Faults:
    """The faults that are switched on, in the order they were added."""

    def __init__(self, seed: int = 1) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._random = random.Random(seed)  # noqa: S311  chance of a fault, not a secret

    def add(self, fault: Fault) -> Fault:
        """Switch a fault on; returns it, so that its `hits` can be read."""
        if fault.kind not in ("drop", "lost_answer", "status", "latency"):
            raise ValueError(f"unknown kind of fault: {fault.kind}")
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Switch all faults off."""
        with self._lock:
            self._faults.clear()

    def strike(self, method: str, user: str | None) -> Fault | None:
        """Let what is due happen to one request, before it is executed.

        Sleeps for latency; raises ConnectionDropped for a drop and ApiError for a status; returns
        a "lost_answer" fault, which the caller honours after executing.
        """
        for fault in self._due(method, user):
            if fault.kind == "latency":
                time.sleep(fault.seconds)
            elif fault.kind == "drop":
                raise ConnectionDropped(method)
            elif fault.kind == "status":
                raise fault.error()
            else:
                return fault
        return None

    def _due(self, method: str, user: str | None) -> list[Fault]:
        due: list[Fault] = []
        with self._lock:
            for fault in self._faults:
                if not fault.matches(method, user) or not self._falls(fault):
                    continue
                fault.hits += 1
                due.append(fault)
                if fault.kind != "latency":
                    break
        return due

    def _falls(self, fault: Fault) -> bool:
        if fault.skip > 0:
            fault.skip -= 1
            return False
        return fault.probability >= 1 or self._random.random() < fault.probability
