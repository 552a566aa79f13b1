"""Web Push: one encrypted message to a browser's push service (RFC 8030, 8188, 8291, 8292).

The address comes from a browser and is hostile: https only and public (unless a setting allows one's own network,
for trying out), no redirect is followed, and little of the answer is read.
"""

from __future__ import annotations

import base64
import email.utils
import hashlib
import http.client
import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import SplitResult

import http_ece
import urllib3
from py_vapid import Vapid02, VapidException
from pywebpush import WebPusher, WebPushException
from urllib3.connection import HTTPConnection

from tracker import outside
from webhooks.bells.deliveries import Settled, State
from webhooks.bells.lines import Lines, cut_after

SECONDS = 15.0  # for all of it
MOST_BYTES = 4096  # of an answer
LONGEST_RETRY = timedelta(hours=6)
JWT_LIFE = 12 * 3600  # seconds; RFC 8292 §2 allows 24 hours


@dataclass(frozen=True, slots=True)
class Address:
    """A browser: where its push service is, and its keys."""

    endpoint: str
    p256dh: str
    auth: str


@dataclass(frozen=True, slots=True)
class Push:
    """What is to be pushed."""

    content: Mapping[str, Any]
    ttl: int  #: seconds that the push service keeps it
    urgent: bool = False

    @property
    def topic(self) -> str:
        """What it replaces while it waits at the push service: at most 32 letters of base64url (RFC 8030 §5.4)."""
        digest = hashlib.sha256(str(self.content.get("tag", "")).encode()).digest()
        return base64.urlsafe_b64encode(digest[:24]).decode()


class Signer:
    """Signs for one team (VAPID); a push service's signature is used for all pushes to it for hours."""

    def __init__(self, private: str, contact: str) -> None:
        self._vapid, self._contact = Vapid02.from_raw(private.encode()), contact
        self._vapid.conf = {"no-strict": True}  # else an https contact may name no port
        self._kept: dict[str, tuple[float, str]] = {}
        self._mutex = threading.Lock()

    def authorization(self, origin: str, now: float) -> str:
        """The header's value for a push service."""
        with self._mutex:
            until, kept = self._kept.get(origin, (0.0, ""))
            if until - now < JWT_LIFE / 2:
                if len(self._kept) > 1000:
                    self._kept.clear()
                until = now + JWT_LIFE
                claims = {"aud": origin, "exp": int(until), "sub": self._contact}
                kept = str(self._vapid.sign(claims)["Authorization"])
                self._kept[origin] = until, kept
            return kept


def contact_of(public_url: str, admins: list[str]) -> str:
    """Whom a push service may write to (RFC 8292 §2.1)."""
    if admins:
        return f"mailto:{admins[0]}"
    return public_url if public_url.startswith("https://") else "mailto:tracker@localhost"


def encrypted(address: Address, content: bytes) -> bytes:
    """Encrypt for a browser: aes128gcm, in one record. Raises `ValueError` for keys that are none."""
    keys = {"endpoint": address.endpoint, "keys": {"p256dh": address.p256dh, "auth": address.auth}}
    try:
        return bytes(WebPusher(keys).encode(content, content_encoding="aes128gcm")["body"])
    except (WebPushException, http_ece.ECEException, ValueError, TypeError, IndexError) as error:
        raise ValueError(str(error)) from None


_FAILURES = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)


def send(
    address: Address, push: Push, signer: Signer, *, private: bool = False, lines: Lines | None = None
) -> Settled:
    """Hand a push over. Never raises: what went wrong is in what it returns."""
    try:
        parts = outside.checked(address.endpoint)
        if parts.scheme != "https" and not private:
            return Settled(State.DROPPED, "its push service has no TLS")
        body = encrypted(address, json.dumps(push.content, ensure_ascii=False).encode())
        return _post(parts, body, _headers(parts, push, signer), private, lines or Lines())
    except outside.Refused as refused:
        # A name that is not known right now may be again; an address in our own network is asked no sooner.
        return Settled(State.WAITING, str(refused))
    except VapidException:
        return Settled(State.DROPPED, "its push service can't be signed for")  # an IPv6 address in place of a name
    except ValueError:
        return Settled(State.DROPPED, "its keys are none", gone=True)


def _headers(parts: SplitResult, push: Push, signer: Signer) -> dict[str, str]:
    return {
        "Host": parts.netloc,
        "Authorization": signer.authorization(f"{parts.scheme}://{parts.netloc}", time.time()),
        "Content-Type": "application/octet-stream",
        "Content-Encoding": "aes128gcm",
        "TTL": str(max(push.ttl, 0)),
        "Urgency": "high" if push.urgent else "normal",
        "Topic": push.topic,
    }


def _post(parts: SplitResult, body: bytes, headers: Mapping[str, str], private: bool, lines: Lines) -> Settled:
    used = lines.take(parts)
    if used is not None:
        with suppress(*_FAILURES):  # it may have been closed meanwhile: then a new one is opened
            return _asked(used, parts, body, headers, lines)
    opened = outside.connection(parts, private=private)
    try:
        return _asked(opened, parts, body, headers, lines)
    except _FAILURES as error:
        return Settled(State.WAITING, f"its push service gave no answer ({type(error).__name__})")


def _asked(
    line: HTTPConnection, parts: SplitResult, body: bytes, headers: Mapping[str, str], lines: Lines
) -> Settled:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    good = False
    try:
        with cut_after(SECONDS, line):
            line.request("POST", path, body=body, headers=headers, preload_content=False)
            answer = line.getresponse()
            said = answer.read(MOST_BYTES, decode_content=False)
            good = answer.length_remaining == 0 and answer.headers.get("Connection", "").lower() != "close"
        return judged(answer.status, answer.headers.get("Retry-After", ""), said)
    finally:
        if good:
            lines.keep(parts, line)
        else:
            line.close()


def judged(status: int, retry_after: str = "", said: bytes = b"") -> Settled:
    """What an answer means (RFC 8030 §5, §7.3)."""
    if status in (200, 201, 202, 204):
        return Settled(State.SENT, status=status)
    if status in (404, 410):
        return Settled(State.DROPPED, "the browser is subscribed no more", gone=True, status=status)
    if status == 429 or status >= 500:
        reason = f"its push service answered {status}"
        return Settled(State.WAITING, reason, retry_after=_seconds(retry_after), status=status)
    words = " ".join(said[:120].decode("ascii", "replace").split())
    return Settled(State.DROPPED, f"its push service answered {status} {words}".strip(), status=status)


def _seconds(retry_after: str) -> timedelta | None:
    """RFC 9110 §10.2.3: seconds, or a date."""
    given = retry_after.strip()[:40]
    if given.isascii() and given.isdigit():
        wait = timedelta(seconds=min(int(given), int(LONGEST_RETRY.total_seconds())))
    else:
        try:
            wait = email.utils.parsedate_to_datetime(given) - datetime.now(UTC)
        except (ValueError, TypeError):
            return None
    return min(max(wait, timedelta(0)), LONGEST_RETRY)
