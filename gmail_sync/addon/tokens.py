"""Who posts: Google's identity tokens, verified with keys that are fetched now and then, not for each event.

Each event brings two. The system's says that Google's add-on service posts (its audience is the address that was
posted to, its e-mail the add-on's service account); the user's says who looks (its audience is the add-on's OAuth
client). Source: https://developers.google.com/workspace/add-ons/guides/alternate-runtimes#validate-requests
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import requests

from gmail_sync.oauth import GOOGLE_ISSUERS

log = logging.getLogger(__name__)

LEEWAY = 10  # seconds that the clocks of two machines may differ by
LEAST, MOST = 60.0, 24 * 3600.0  # seconds that keys are kept, whatever the answer says
PAUSE = 30.0  # seconds between two fetches for what is not known or did not come
STALE = 24 * 3600.0  # seconds that old keys stay good while no new ones can be had
SIZE_LIMIT = 256 * 1024  # bytes
TIMEOUT = 5.0  # seconds
KEYS_LIMIT = 50
_MAX_AGE = re.compile(r"max-age=(\d{1,9})")


class TokenError(Exception):
    """A token is missing, or not what it has to be; the text says what, and tells nothing else."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who looks, as Google vouches for it."""

    subject: str
    address: str


#: From an address to a key set's JSON and its lifetime in seconds. Raises `RequestException`, `ValueError`.
Fetch = Callable[[str], tuple[Any, float]]


def fetch(url: str) -> tuple[Any, float]:
    """Fetch a JSON Web Key Set; see `Fetch`."""
    with requests.get(url, timeout=TIMEOUT, allow_redirects=False, stream=True) as answer:
        answer.raise_for_status()
        body = answer.raw.read(SIZE_LIMIT + 1, decode_content=True)
        if answer.status_code != 200 or len(body) > SIZE_LIMIT:
            raise ValueError("This is no key set")
        found = _MAX_AGE.search(answer.headers.get("Cache-Control", ""))
        return json.loads(body), float(found[1]) if found else LEAST


class Keys:
    """Google's signing keys by their ids, for all threads of a process."""

    def __init__(self, url: str, fetch: Fetch = fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._fetch, self._clock = url, fetch, clock
        self._keys: Mapping[str, Any] = {}
        self._good_until = self._usable_until = self._not_before = float("-inf")
        self._lock = threading.Lock()

    def find(self, key_id: str) -> Any:
        """The key with this id. Raises `TokenError`."""
        if key_id not in self._keys or self._clock() >= self._good_until:
            self._refresh(key_id)
        found = self._keys.get(key_id) if self._clock() < self._usable_until else None
        if found is None:
            raise TokenError("The token is signed with a key that is not Google's")
        return found

    def _refresh(self, key_id: str) -> None:
        """Fetch the keys: one thread at a time, and not again at once if that brought nothing."""
        # Where there are keys, only one request waits for newer ones: else made-up ids could hold all threads.
        if not self._lock.acquire(blocking=not self._keys):
            return
        try:
            known = key_id in self._keys and self._clock() < self._good_until  # another thread was faster
            if not known and self._clock() >= self._not_before:
                self._not_before = self._clock() + PAUSE
                self._take(*self._fetch(self._url))
        except (requests.RequestException, ValueError) as error:
            log.warning("Google's signing keys could not be fetched: %s", error)
        finally:
            self._lock.release()

    def _take(self, found: Any, seconds: float) -> None:
        self._keys = _read(found)
        self._good_until = self._clock() + min(max(seconds, LEAST), MOST)
        self._usable_until = self._good_until + STALE


def _read(found: Any) -> dict[str, Any]:
    """The keys of a set that sign with RS256. Raises `ValueError`. Source: RFC 7517."""
    entries = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise ValueError("This is no key set")  # noqa: TRY004 - whatever it is
    keys: dict[str, Any] = {}
    for entry in entries[:KEYS_LIMIT]:
        if isinstance(entry, dict) and entry.get("kty") == "RSA" and entry.get("use", "sig") == "sig":
            try:
                keys[str(entry["kid"])] = jwt.PyJWK(entry, algorithm="RS256").key
            except (jwt.PyJWTError, KeyError, ValueError, TypeError):
                log.warning("One of Google's signing keys can't be read")
    if not keys:
        raise ValueError("There is no key in the set")
    return keys


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies both tokens of an event."""

    keys: Keys
    service_account: str
    client_id: str

    def system(self, token: str, url: str) -> None:
        """That Google posts, to this address of ours. Raises `TokenError`."""
        claims = self._claims(token, url, "system")
        if claims.get("email") != self.service_account or claims.get("email_verified") is not True:
            raise TokenError("The system token is not of this add-on's service account")

    def user(self, token: str) -> Person:
        """Who looks. Raises `TokenError`."""
        claims = self._claims(token, self.client_id, "user")
        subject, address = claims.get("sub"), claims.get("email")
        if claims.get("email_verified") is not True or not isinstance(address, str) or not address:
            raise TokenError("Google has not verified the user token's e-mail address")
        if not isinstance(subject, str) or not subject or len(subject) > 255 or len(address) > 320:
            raise TokenError("The user token does not say whose it is")
        return Person(subject, address)

    def _claims(self, token: str, audience: str, whose: str) -> Mapping[str, Any]:
        if not token:
            raise TokenError(f"The {whose} token is missing")
        try:
            key = self.keys.find(str(jwt.get_unverified_header(token).get("kid", "")))
            claims: dict[str, Any] = jwt.decode(
                token, key, algorithms=["RS256"], audience=audience, leeway=LEEWAY,
                options={"require": ["exp", "iat", "aud", "iss"]},
            )  # fmt: skip
        except jwt.ExpiredSignatureError:
            raise TokenError(f"The {whose} token has expired") from None
        except jwt.InvalidAudienceError:
            raise TokenError(f"The {whose} token was made for somebody else") from None
        except (jwt.PyJWTError, ValueError):
            raise TokenError(f"The {whose} token is not valid") from None
        # The library lets others be named beside us.
        if claims.get("aud") not in (audience, [audience]) or claims.get("iss") not in GOOGLE_ISSUERS:
            raise TokenError(f"The {whose} token was made for somebody else")
        return claims
