"""Whose addresses are whose, as far as their owners publish it. Data, with its sources.

A range that is missing costs little: a hit through Gmail's proxy, or its prefetch, from an address that we don't
know as Google's is called possible rather than lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from webhooks.verdicts.facts import Network


def _networks(*given: str) -> tuple[Network, ...]:
    return tuple(ip_network(one) for one in given)


#: Google's own addresses: the ranges of its netblocks (TXT of `_netblocks.google.com`, `_netblocks2` and
#: `_netblocks3`, and the services' part of https://www.gstatic.com/ipranges/goog.json without Google Cloud's
#: customers), as of 2025. Images of Gmail come from 66.249.80.0/20, 66.102.0.0/20 and 74.125.0.0/16 above all.
GOOGLE = _networks(
    "64.233.160.0/19", "66.102.0.0/20", "66.249.64.0/19", "72.14.192.0/18", "74.125.0.0/16", "108.177.0.0/17",
    "142.250.0.0/15", "172.217.0.0/16", "172.253.0.0/16", "173.194.0.0/16", "192.178.0.0/15", "209.85.128.0/17",
    "216.58.192.0/19", "216.239.32.0/19", "2001:4860::/32", "2404:6800::/32", "2607:f8b0::/32", "2800:3f0::/32",
    "2a00:1450::/32", "2c0f:fb50::/32",
)  # fmt: skip

#: Apple's (ARIN: NET-17-0-0-0-1). Its relay also leaves through partners' addresses, which it lists at
#: https://mask-api.icloud.com/egress-ip-ranges.csv; there are too many to carry, and no rule needs them.
APPLE = _networks("17.0.0.0/8", "2620:149::/32", "2a01:b740::/32")

#: Exchange Online Protection ("Office 365 URLs and IP address ranges", ids 9 and 10) and 40.94.0.0/16, from
#: where Safe Links looks at links (MicrosoftDocs/OfficeDocs-Enterprise issue 544; gophish issue 973). Mail is
#: filtered there; what Outlook shows is fetched from elsewhere, and clicks come from the reader's browser.
MICROSOFT_FILTERS = _networks(
    "40.92.0.0/15", "40.94.0.0/16", "40.107.0.0/16", "52.100.0.0/14", "104.47.0.0/17", "2a01:111:f400::/48",
    "2a01:111:f403::/48",
)  # fmt: skip

#: Says nothing of who asked: this machine, or a proxy in front of us that the settings don't list.
LOCAL = _networks(
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "::1/128",
    "fc00::/7", "fe80::/10",
)  # fmt: skip


@lru_cache(maxsize=4096)
def parsed(address: str | None) -> IPv4Address | IPv6Address | None:
    """An address that tells something; None for none, a local one, or what is no address."""
    if not address:
        return None
    try:
        found = ip_address(address.partition("/")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return None if within(found, LOCAL) else found


def within(address: IPv4Address | IPv6Address, networks: Iterable[Network]) -> bool:
    """Whether one of the networks holds the address."""
    return any(address.version == network.version and address in network for network in networks)


def load(lines: Iterable[str]) -> tuple[Network, ...]:
    """The operator's list: a network a line, ``#`` begins a comment. Raises `ValueError` with the line."""
    found: list[Network] = []
    for number, line in enumerate(lines, 1):
        written = line.partition("#")[0].strip()
        try:
            found += [ip_network(written, strict=False)] if written else []
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return tuple(found)


def read(path: Path | None) -> tuple[Network, ...]:
    """The operator's list in a file, or none. Raises `OSError`, and `ValueError` as `load` does."""
    return load(path.read_text(encoding="utf-8", errors="replace").splitlines()) if path else ()


def is_google(address: str | None) -> bool | None:
    """Whether it is Google's own; None where the address tells nothing."""
    return _belongs(address, GOOGLE)


def is_scanner(address: str | None, listed: Sequence[Network]) -> str:
    """Whose scanner asks from there, or nothing."""
    if _belongs(address, listed):
        return "an address of the operator’s list of scanners"
    return "an address of Microsoft’s mail filters" if _belongs(address, MICROSOFT_FILTERS) else ""


def _belongs(address: str | None, networks: Sequence[Network]) -> bool | None:
    found = parsed(address)
    return None if found is None else within(found, networks)
