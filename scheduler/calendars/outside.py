"""Fetching from an address that somebody typed in: bounded, and never from inside our own network.

The name is looked up once, every address that it has must be public, and the connection goes to one that was
checked: a name that answers differently the second time (DNS rebinding) changes nothing. Redirects are followed by
the same rules.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_match_hostname import CertificateError

MOST_BYTES = 1_000_000
SECONDS = 20.0  #: for all of it
SILENCE = 5.0  #: seconds without a byte
REDIRECTS = 3
LONGEST_URL = 2_000


class Refused(ValueError):
    """It can't be fetched; the text says why and what to do."""


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
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise Refused("That is no address; expected one such as https://example.com/days.ics") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or len(url) > LONGEST_URL or not url.isascii():
        raise Refused("Expected an address that begins with https:// or webcal://")
    if parts.username or parts.password or not url.isprintable() or " " in url:
        raise Refused("Expected an address without a name, a password or blanks in it")
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
    connection = _connection(parts, private)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Host": parts.netloc, "Accept": "text/calendar", "Accept-Encoding": "identity"}
    # Each byte may take its time, and there may be many: after `SECONDS` the line is cut, wherever it waits.
    watch = threading.Timer(max(deadline - time.monotonic(), 0.1), _cut, [connection])
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


def _connection(parts: SplitResult, private: bool) -> HTTPConnection:
    host, port = str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)
    address = _address(host, port, private)
    if parts.scheme == "http":
        return HTTPConnection(address, port, timeout=SILENCE)
    return HTTPSConnection(
        address, port, timeout=SILENCE, server_hostname=host, assert_hostname=host,
        ssl_context=ssl.create_default_context(),
    )  # fmt: skip


def _cut(connection: HTTPConnection) -> None:
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


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


def _address(host: str, port: int, private: bool) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Refused(f"{host} is not known; check the address") from None
    addresses = [str(one[4][0]) for one in found]
    if not private and not all(is_public(one) for one in addresses):
        raise Refused(f"{host} is an address inside a private network, which is not fetched from")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    for inner in (getattr(ip, "ipv4_mapped", None), getattr(ip, "sixtofour", None)):
        if inner is not None:
            return is_public(str(inner))
    # NAT64 (RFC 6052) leads to IPv4 addresses, which would have to be looked into as well.
    nat64 = ip.version == 6 and ip in ipaddress.ip_network("64:ff9b::/96")
    return ip.is_global and not ip.is_multicast and not nat64
