"""Refresh and access tokens: who may do what, until when."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gmail_sync.sandbox.store import Store

#: Seconds that an access token lasts.
ACCESS_LIFETIME = 3600
_PREFIXES = {"refresh": "1//0", "access": "ya29."}


@dataclass(frozen=True)
class Grant:
    """What a token stands for."""

    token: str
    user_id: int
    client_id: str
    scopes: frozenset[str]


class Tokens:
    """All tokens of a sandbox; they live in the store, so that a restart keeps them."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def issue(
        self, kind: Literal["refresh", "access"], user_id: int, client_id: str, scopes: Iterable[str]
    ) -> str:
        """A new token; an access token is good for an hour, a refresh token until it is revoked."""
        token = _PREFIXES[kind] + secrets.token_urlsafe(32)
        expires_at = None if kind == "refresh" else self._clock().timestamp() + ACCESS_LIFETIME
        self._store.run(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?)",
            token, kind, user_id, client_id, " ".join(sorted(scopes)), expires_at,
        )  # fmt: skip
        return token

    def find(self, kind: Literal["refresh", "access"], token: str) -> Grant | None:
        """What a token stands for, or None when it is unknown, expired or revoked."""
        row = self._store.row("SELECT * FROM tokens WHERE token = ? AND kind = ?", token, kind)
        if row is None or (row["expires_at"] is not None and row["expires_at"] <= self._clock().timestamp()):
            return None
        return Grant(token, row["user_id"], row["client_id"], frozenset(row["scopes"].split()))

    def has_refresh(self, user_id: int, client_id: str) -> bool:
        """Whether a user has already given a client lasting access."""
        sql = "SELECT 1 FROM tokens WHERE user_id = ? AND client_id = ? AND kind = 'refresh'"
        return self._store.row(sql, user_id, client_id) is not None

    def revoke(self, token: str) -> bool:
        """Withdraw a grant by either of its tokens, with all tokens of that user and client."""
        row = self._store.row("SELECT user_id, client_id FROM tokens WHERE token = ?", token)
        if row is None:
            return False
        self._store.run("DELETE FROM tokens WHERE user_id = ? AND client_id = ?", row["user_id"], row["client_id"])
        return True

    def revoke_user(self, user_id: int) -> None:
        """Withdraw all that a user has granted."""
        self._store.run("DELETE FROM tokens WHERE user_id = ?", user_id)
