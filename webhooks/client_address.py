"""Who asks, behind proxies: only what proxies of our own say of it counts (pure)."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

MOST_HOPS = 20  # no chain of proxies is longer
MOST_CHARACTERS = 2000  # of what they say, from the right


def networks(listed: str) -> tuple[Network, ...]:
    """Addresses and networks separated by spaces or commas. Raises `ValueError` naming the one that is neither."""
    found: list[Network] = []
    for word in listed.replace(",", " ").split():
        try:
            found.append(ip_network(word))
        except ValueError:
            raise ValueError(
                f"{word[:60]!r} is no address or network; expected such as 10.0.0.2 or 192.168.1.0/24"
            ) from None
    return tuple(found)


def client_address(peer: str | None, forwarded_for: Iterable[str], trusted: Sequence[Network]) -> str | None:
    """The address of whoever asks, as PostgreSQL's `inet` takes it; None where it can't be known.

    `peer` is the other end of the connection, `forwarded_for` are the values of X-Forwarded-For in their order.
    Each proxy writes whom it heard at the right end, so we walk from there, as long as the speaker is `trusted`;
    what stands further left may be anybody's invention. A trusted proxy that names no address leaves it unknown.
    """
    speaker = _address(peer or "")
    for said in _from_the_right(",".join(forwarded_for)) if trusted else ():
        if speaker is None:
            return None
        if not _is_of(speaker, tuple(trusted)):
            break
        speaker = _address(said)
    return speaker


@lru_cache(1024)
def _is_of(address: str, networks: tuple[Network, ...]) -> bool:
    found = ip_address(address)
    return any(found in network for network in networks)


def _from_the_right(whole: str) -> list[str]:
    if not whole.strip():
        return []
    said = whole[-MOST_CHARACTERS:].split(",")
    if len(whole) > MOST_CHARACTERS:
        del said[0]  # our cut went through it
    return said[: -MOST_HOPS - 1 : -1]


def _address(said: str) -> str | None:
    """An address with or without a port, quotes and brackets; IPv4 in IPv6 is IPv4; a zone is cut."""
    bare = said.strip().strip('"')
    try:
        socket.inet_pton(socket.AF_INET, bare)  # most are, and this takes a tenth of the time
    except (OSError, ValueError):
        return _rarer(bare)
    return bare


def _rarer(bare: str) -> str | None:
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        found = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return str((found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found)
