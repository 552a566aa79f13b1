"""Fetching from an address that somebody typed in: bounded, and never from inside our own network.

Connections are made by `tracker.outside`; redirects are followed by the same rules.
"""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection as HTTPConnection
from urllib3.util.ssl_match_hostname import CertificateError

from tracker import outside
from tracker.outside import LONGEST_URL
from tracker.outside import Refused as Refused
from tracker.outside import is_public as is_public

MOST_BYTES = 1_000_000
SECONDS = 20.0  #: for all of it
REDIRECTS = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; without a body if it is still what `etag` stands for."""

    body: bytes | None
    etag: str


def checked(url: str) -> str:
    """The address in the form in which it is fetched (`webcal:` is https). Raises `Refused`."""
    url = url.strip()
    if url.lower().startswith("webcal:"):
        url = f"https:{url[len('webcal:') :]}"
    outside.checked(url)
    return url


def fetch(url: str, *, etag: str = "", private: bool = False) -> Answer:
    """GET an address, at most `MOST_BYTES` within `SECONDS`. `private` allows addresses of one's own network.

    Raises `Refused`.
    """
    deadline = time.monotonic() + SECONDS
    url = checked(url)
    for _ in range(REDIRECTS + 1):
        answer = _get(url, etag, private, deadline)
        if isinstance(answer, Answer):
            return answer
        url = checked(_joined(url, answer))
    raise Refused("The address leads on and on to other addresses")


def _joined(url: str, to: str) -> str:
    try:
        return urljoin(url, to)
    except ValueError:
        raise Refused("The address leads on to what is no address") from None


def _get(url: str, etag: str, private: bool, deadline: float) -> Answer | str:
    """One request: what came back, or where it leads on to."""
    parts = urlsplit(url)
    host = str(parts.hostname)
    connection = outside.connection(parts, private=private)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Host": parts.netloc, "Accept": "text/calendar", "Accept-Encoding": "identity"}
    # Each byte may take its time, and there may be many: after `SECONDS` the line is cut, wherever it waits.
    watch = threading.Timer(max(deadline - time.monotonic(), 0.1), outside.cut, [connection])
    try:
        connection.connect()
        watch.start()
        connection.request(
            "GET", path, headers=headers | ({"If-None-Match": etag} if etag else {}), preload_content=False
        )
        return _answer(connection.getresponse(), host, etag)
    except CertificateError:
        raise Refused(f"{host} shows the certificate of another host; check the address") from None
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
        raise Refused(f"{host} gave no whole answer ({type(error).__name__}); it is tried again") from None
    finally:
        watch.cancel()
        connection.close()


def _answer(response: urllib3.HTTPResponse, host: str, etag: str) -> Answer | str:
    if response.status in (301, 302, 303, 307, 308):
        return response.headers.get("Location", "")[:LONGEST_URL]
    if response.status == 304 and etag:
        return Answer(None, etag)
    if response.status != 200:
        raise Refused(f"{host} answers {response.status}; look whether the address works")
    body = response.read(MOST_BYTES + 1, decode_content=False)
    if len(body) > MOST_BYTES:
        raise Refused(f"It is larger than {MOST_BYTES // 1_000_000} MB, which is more than a team's days off")
    if response.length_remaining:
        raise Refused(f"{host} broke off in the middle; it is tried again")
    return Answer(body, response.headers.get("ETag", "")[:200])
