"""Reading a mail as people's programs do: pictures are fetched, by whom and when depends on the program; links are
followed.

Only addresses on this very machine are asked for (that is where a demo's tracking pixels are); a sandbox never
speaks to the outside. What the pictures and links are for is not known here.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from html.parser import HTMLParser
from urllib.parse import urlsplit

import requests

from gmail_sync.sandbox.demo.compose import read

_log = logging.getLogger(__name__)

#: What Gmail's image proxy calls itself.
USER_AGENT = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
#: What Gmail calls itself when it fetches pictures ahead of an open tab.
PREFETCH = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 "
    "Safari/537.36 Edge/12.246 Mozilla/5.0"
)
#: What Apple's Mail Privacy Protection calls itself.
APPLE_PRIVACY = "Mozilla/5.0"
YAHOO_PROXY = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"
OUTLOOK_DESKTOP = (
    "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; WOW64; Trident/7.0; .NET4.0C; .NET4.0E; "
    "Microsoft Outlook 16.0.17328; ms-office; MSOffice 16)"
)
SCANNER = "Barracuda Sentinel (EE)"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 "
    "Safari/605.1.15"
)
_TIMEOUT = 5.0  # seconds
_MOST = 30  # addresses of one mail


class Moment(StrEnum):
    """What happens to a mail."""

    ARRIVED = "arrived"
    OPENED = "opened"
    CLICKED = "clicked"


@dataclass(frozen=True, slots=True)
class Program:
    """What somebody reads mail with, as servers see it: User-Agents, empty where it does not ask then."""

    pictures: str = ""  #: when the mail is opened
    browser: str = FIREFOX  #: when a link in it is clicked
    ahead: str = ""  #: for the pictures, when the mail arrives
    scanner: str = ""  #: for pictures and every link, when it arrives
    wait: float = 0.0  #: seconds that its reader takes longer than others


GMAIL = Program(USER_AGENT)
GMAIL_AHEAD = Program(USER_AGENT, ahead=PREFETCH)
APPLE = Program(browser=SAFARI, ahead=APPLE_PRIVACY, wait=20)
YAHOO = Program(YAHOO_PROXY)
OUTLOOK = Program(OUTLOOK_DESKTOP, wait=20)
GUARDED = Program(OUTLOOK_DESKTOP, scanner=SCANNER, wait=20)

#: Who of the story reads with something else than Gmail, by domain.
PROGRAMS = {
    "bluekestrel.example": GMAIL_AHEAD,
    "farmalevante.example": GUARDED,
    "fjellvik.example": APPLE,
    "haldencold.example": GUARDED,
    "himadri-seeds.example": YAHOO,
    "lindenau-museum.example": OUTLOOK,
    "pallas-hotels.example": OUTLOOK,
    "thornbury-records.example": OUTLOOK,
    "wattlecreek.example": APPLE,
}


def program_of(address: str) -> Program:
    """What the person with this address reads with."""
    return PROGRAMS.get(address.rpartition("@")[2].casefold(), GMAIL)


def open_mail(raw: bytes, address: str = "", moment: Moment = Moment.OPENED) -> None:
    """Ask for what the program of *address* asks for at that moment; what goes wrong is ignored."""
    for url, agent in requested(raw, program_of(address), moment):
        if is_loopback(url):
            _get(url, agent)


def requested(raw: bytes, program: Program, moment: Moment) -> list[tuple[str, str]]:
    """The addresses that are asked for then, on whatever machine, with the User-Agent that asks."""
    mail = _seen(raw)
    if moment == Moment.OPENED:
        return _each(mail.pictures, program.pictures)
    if moment == Moment.CLICKED:
        return _each(mail.links[:1], program.browser)
    return _each([*mail.links, *mail.pictures], program.scanner) or _each(mail.pictures, program.ahead)


def _each(urls: Iterable[str], agent: str) -> list[tuple[str, str]]:
    return [(url, agent) for url in urls] if agent else []


def image_urls(raw: bytes) -> list[str]:
    """The http and https addresses of the images in the HTML of *raw*, each once."""
    return _seen(raw).pictures


def is_loopback(url: str) -> bool:
    """Whether *url* is on this machine: ``localhost`` and names under it, 127.0.0.0/8, ``::1``."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _get(url: str, agent: str) -> None:
    headers = {"User-Agent": agent, "Accept": "image/*,*/*;q=0.8"}
    if agent in (FIREFOX, SAFARI):
        headers |= {"Accept": "text/html,*/*;q=0.8", "Accept-Language": "en", "Sec-Fetch-Mode": "navigate"}
    try:
        requests.get(url, headers=headers, timeout=_TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        _log.debug("%s was not fetched: %s", url, error)


@dataclass(frozen=True, slots=True)
class _Mail:
    """What in a mail leads elsewhere: each address once, in order."""

    pictures: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)  #: but those in what it quotes


def _seen(raw: bytes) -> _Mail:
    part = read(raw).get_body(("html",))
    if part is None:
        return _Mail()
    reader = _Reader()
    reader.feed(part.get_content())
    return _Mail(list(dict.fromkeys(reader.pictures))[:_MOST], list(dict.fromkeys(reader.links))[:_MOST])


class _Reader(HTMLParser):
    """Collects the sources of images, and where links lead that are not quoted."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.links: list[str] = []
        self.quoted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.quoted += tag == "blockquote"
        if tag == "img":
            self._add(self.pictures, given.get("src"))
        elif tag == "a" and not self.quoted:
            self._add(self.links, given.get("href"))

    def handle_endtag(self, tag: str) -> None:
        self.quoted -= tag == "blockquote" and self.quoted > 0

    @staticmethod
    def _add(found: list[str], url: str | None) -> None:
        if url and url.lower().startswith(("http://", "https://")):
            found.append(url)
