"""What the rules are handed, and what they hand back. Nothing here asks a database, a clock or the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

from webhooks.tracks import Confidence

RULES = 2  #: the version of the rules; whoever changes what they say makes it one more

Network = IPv4Network | IPv6Network


class Verdict(StrEnum):
    """What one hit was."""

    OWN = "own"  #: the sender, a teammate, or this side before the mail went out
    PREFETCH = "prefetch"  #: Gmail fetched it ahead of any reader
    APPLE = "apple"  #: Apple's Mail Privacy Protection: fetched whether read or not
    SCANNER = "scanner"  #: a security product looked
    BOT = "bot"  #: an HTTP library, a link preview, a crawler
    PROXY = "proxy"  #: a mail service's image proxy, for a person most of the time
    PERSON = "person"  #: a mail program or browser, with somebody before it
    UNCLEAR = "unclear"  #: it may have been a person


MACHINES = frozenset({Verdict.OWN, Verdict.PREFETCH, Verdict.APPLE, Verdict.SCANNER, Verdict.BOT})


@dataclass(frozen=True, slots=True)
class RawHit:
    """One request as it came. `recorded`: the verdict and why of a hit whose raw data is forgotten."""

    key: str  #: two hits of one key are one hit
    at: datetime
    kind: str  #: `webhooks.hits.Kind`
    address: str | None = None
    agent: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)  #: names in lower case
    user_key: str | None = None  #: whose signed-in browser it came from
    repeats: int = 0  #: more of the same that were counted and not kept
    link: int | None = None  #: which link, for a click
    recorded: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """The mail that the hits belong to."""

    at: datetime | None  #: None: it was not sent (or nobody knows yet)
    sender: str | None = None  #: user key
    recipients: int = 1
    links: int = 0  #: rewritten ones
    answered_at: datetime | None = None
    answered_by: str = ""  #: "colleague": not one of the recipients, but somebody of their domain


@dataclass(frozen=True, slots=True)
class Seen:
    """Somebody of ours used an address, in this span."""

    user_key: str
    name: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the own side.

    `team_addresses`: an IP address, as text, and who of the team used it with a signed-in browser, and when.
    `own_views`: a teammate (user key) had the thread open at that instant, as a page or the side panel reported.
    `scanner_networks`: those that the operator loaded.
    """

    team_addresses: Mapping[str, tuple[Seen, ...]] = field(default_factory=dict)
    own_views: tuple[tuple[str, datetime], ...] = ()
    scanner_networks: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """What one hit was, and why, in words."""

    verdict: Verdict
    why: str
    confidence: Confidence  #: what this hit alone says of a person having read the mail
    via: str = ""  #: "Gmail's proxy"


@dataclass(frozen=True, slots=True)
class View:
    """Hits that are one look at the mail."""

    via: str
    first: datetime
    last: datetime
    clicked: bool = False  #: it began with a click: the images had not been loaded


@dataclass(frozen=True, slots=True)
class Sitting:
    """Clicks without a long pause between them."""

    at: datetime
    last: datetime
    link: int | None  #: the first one
    cold: bool  #: of a mail with several links that nobody had opened yet: so begins a scanner's burst


@dataclass(frozen=True, slots=True)
class Reading:
    """What all hits of a mail say together."""

    hits: Mapping[str, Judged]  #: by the hit's key
    confidence: Confidence
    why: str
    via: str = ""
    clicked: int = 0  #: clicks of a person; the same link again within the window is no other
    views: tuple[View, ...] = ()  #: those that count as a read, in order of time
    sittings: tuple[Sitting, ...] = ()

    @property
    def first_view_at(self) -> datetime | None:
        """When it was first read, if it was."""
        return self.views[0].first if self.views else None

    @property
    def last_view_at(self) -> datetime | None:
        """When it was last read, if it was."""
        return max((view.last for view in self.views), default=None)
