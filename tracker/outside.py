"""Addresses that strangers or people gave us, and connections to them that never lead into our own network.

The name is looked up once, every address that it has must be public, and the connection goes to one that was
checked: a name that answers differently the second time (DNS rebinding) changes nothing.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from contextlib import suppress
from functools import cache
from urllib.parse import SplitResult, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection

SILENCE = 5.0  #: seconds without a byte
LONGEST_URL = 2_000


class Refused(ValueError):
    """It can't be asked; the text says why and what to do."""


def checked(url: str) -> SplitResult:
    """The parts of an http or https address. Raises `Refused`."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise Refused("That is no address; expected one such as https://example.com/") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or len(url) > LONGEST_URL or not url.isascii():
        raise Refused("Expected an address that begins with https://")
    if parts.username or parts.password or not url.isprintable() or " " in url:
        raise Refused("Expected an address without a name, a password or blanks in it")
    return parts


def connection(parts: SplitResult, *, private: bool = False) -> HTTPConnection:
    """A connection, not opened yet, to an address that was checked. `private` allows one's own network.

    Raises `Refused`.
    """
    host, port = str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)
    address = _address(host, port, private)
    if parts.scheme == "http":
        return HTTPConnection(address, port, timeout=SILENCE)
    return HTTPSConnection(
        address, port, timeout=SILENCE, server_hostname=host, assert_hostname=host, ssl_context=_context()
    )


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()  # reading all certificates takes a while


def cut(opened: HTTPConnection) -> None:
    """End a connection from another thread, wherever it waits."""
    if opened.sock is not None:
        with suppress(OSError):
            opened.sock.shutdown(socket.SHUT_RDWR)


def _address(host: str, port: int, private: bool) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Refused(f"{host} is not known; check the address") from None
    addresses = [str(one[4][0]) for one in found]
    if not private and not all(is_public(one) for one in addresses):
        raise Refused(f"{host} is an address inside a private network, which is not fetched from")
    return addresses[0]


#: Addresses that embed IPv4 (RFC 4291 §2.5.5.1, `::127.0.0.1`) and site-local ones (RFC 3879): both deprecated,
#: and not known to `is_global`.
_OLD = tuple(ipaddress.IPv6Network(one) for one in ("::/96", "fec0::/10"))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    for inner in (getattr(ip, "ipv4_mapped", None), getattr(ip, "sixtofour", None)):
        if inner is not None:
            return is_public(str(inner))
    if ip.version == 6 and any(ip in one for one in _OLD):
        return False
    # NAT64 (RFC 6052) leads to IPv4 addresses, which would have to be looked into as well.
    nat64 = ip.version == 6 and ip in ipaddress.ip_network("64:ff9b::/96")
    return ip.is_global and not ip.is_multicast and not nat64
