"""The doors that recipients' mail programs knock on: the pixel and the rewritten links. Before Flask.

``/t/…`` answers the same GIF whatever is asked and however: known tokens, unknown ones and nonsense, every method.
``/l/<token>`` leads to the address that we rewrote, and to no other; GET and HEAD only. A GET or HEAD of a
well-formed token is a hit, and answered once it is durable. Bodies are not read.
"""

from __future__ import annotations

import re
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from webhooks.client_address import MOST_CHARACTERS, Network, client_address
from webhooks.hit_limits import Limits, Recent
from webhooks.hit_record import Hit, a_hit_saying, saying, words
from webhooks.hit_writer import Outcome, Writer
from webhooks.hits import Kind

if TYPE_CHECKING:
    from flask import Flask

PIXELS, LINKS = "/t/", "/l/"
GIF = b64decode("R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==")  # one transparent point
AGENT_LENGTH = 500  # characters that are kept
HEADER_LENGTH = 200  # characters that are kept of each other header
COOKIES_LENGTH = 8192  # bytes; browsers keep cookies of 4096
ADDRESSES = 4096  # whose peer and proxies we have read already
PROGRAMS = 256  # by their headers, read already; of the longest that can be 13 MB
LINKS_KNOWN = 4096  # links that work while the database is away: those that were followed last
#: Other headers that tell who asks, and why.
TELLING = {
    name.encode(): name
    for name in (
        "accept", "accept-language", "accept-encoding", "referer", "via", "from", "purpose", "x-purpose", "x-moz",
        "x-requested-with", "sec-purpose", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user",
        "sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform",
    )
}  # fmt: skip

MOST_HEADERS = 25  # that tell; there are fewer
MOST_BYTES = AGENT_LENGTH * 4 + 4  # of a header that are looked at: no character has more than four
_OF_PROGRAM = {b"user-agent", *TELLING}
_LINE_ENDS = dict.fromkeys(map(ord, "\r\n\t"))
_PIXEL = re.compile(r"/t/([A-Za-z0-9_-]{16,64})\.gif")
_LINK = re.compile(r"/l/([A-Za-z0-9_-]{16,64})")
_PIXEL_HEADERS = [
    (b"content-type", b"image/gif"),
    (b"content-length", str(len(GIF)).encode()),
    (b"cache-control", b"no-store, no-cache, max-age=0"),
    (b"x-content-type-options", b"nosniff"),
]
_LINK_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-robots-tag", b"noindex, nofollow"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
_UNKNOWN = ("This link leads nowhere", "It may have been cut or mistyped: try it again from the mail.")
_LATER = ("One moment, please", "This link can't be looked up just now. Try it again in a minute: it isn't lost.")
_METHODS = ("This is a link", "It can be followed, and nothing else.")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Who = Callable[[str], str | None]  #: a user's key, from the Cookie header


def signed_in(app: Flask) -> Who:
    """Asks an application's own signed cookies who is signed in, and no database whether they still may."""
    from tracker.web.frame import USER

    name = f"{app.config['SESSION_COOKIE_NAME']}="

    def who(cookies: str) -> str | None:
        if name not in cookies or len(cookies) > COOKIES_LENGTH:
            return None
        request = app.request_class({"HTTP_COOKIE": cookies, "REQUEST_METHOD": "GET"})
        session = app.session_interface.open_session(app, request)
        key = session.get(USER) if session else None
        return key if isinstance(key, str) else None

    return who


class Doors:
    """Two ASGI applications that share a writer of hits."""

    def __init__(self, writer: Writer, who: Who, trusted: Sequence[Network], now: Callable[[], datetime]) -> None:
        """`trusted` are the proxies whose word counts (see `client_address`)."""
        self.writer, self.who, self.now = writer, who, now
        self._address = lru_cache(ADDRESSES)(lambda peer, said: client_address(peer, [said], trusted))
        self.limits = Limits()
        self.links: Recent[str, str] = Recent(LINKS_KNOWN)

    async def pixel(self, scope: Message, _: Receive, send: Send) -> None:
        """``/t/<token>.gif``: always the GIF."""
        found = _PIXEL.fullmatch(scope["path"])
        if found and scope["method"] in ("GET", "HEAD"):
            await self.writer.keep(self._hit(Kind.OPEN, found[1], scope))
        await send({"type": "http.response.start", "status": 200, "headers": _PIXEL_HEADERS})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else GIF})

    async def link(self, scope: Message, _: Receive, send: Send) -> None:
        """``/l/<token>``: there, or a plain page that says why not."""
        found = _LINK.fullmatch(scope["path"])
        if scope["method"] not in ("GET", "HEAD"):
            await _page(scope, send, 405, _METHODS, (b"allow", b"GET, HEAD"))
            return
        if not found:
            await _page(scope, send, 404, _UNKNOWN)
            return
        token = found[1]
        hit = self._hit(Kind.CLICK, token, scope)
        outcome = await self.writer.keep(hit)
        url = self._leads_to(token, hit, outcome)
        if url is None:
            await _page(scope, send, 503, _LATER, (b"retry-after", b"30"))
        elif there := location(url):
            headers = [*_LINK_HEADERS, (b"location", there), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 302, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        else:
            await _page(scope, send, 404, _UNKNOWN)

    def _leads_to(self, token: str, hit: Hit, outcome: Outcome) -> str | None:
        """Where a link leads; nowhere: empty; None where we can't say."""
        if not outcome.asked:
            return self.links.get(token)
        url = outcome.links.get(hit.key)
        if url is None:
            self.links.forget(token)
            return ""
        return self.links.put(token, url)

    def _hit(self, kind: Kind, token: str, scope: Message) -> Hit:
        """A new hit, or the one that this request was counted on."""
        forwarded_for, cookies, of_program = [], b"", []
        for pair in scope["headers"]:
            name, value = pair
            if name in _OF_PROGRAM:
                of_program.append((name, value[:MOST_BYTES]))
            elif name == b"x-forwarded-for":
                forwarded_for.append(value.decode("latin-1"))
            elif name == b"cookie":
                cookies = cookies + b"; " + value if cookies else value
        agent, said = _program(scope["method"], tuple(of_program[:MOST_HEADERS]))
        peer = scope.get("client")
        address = self._address(peer[0] if peer else "", ",".join(forwarded_for)[-MOST_CHARACTERS:])

        def make(flood: bool) -> Hit:
            user_key = self.who(cookies.decode("latin-1")) if cookies else None
            return a_hit_saying(kind, token, self.now(), address, said, user_key, flood)

        # Who only asks whether it is there may fetch it next: that is no repetition.
        about = f"{kind} {token}" if scope["method"] == "GET" else f"{kind} {token} HEAD"
        return self.limits.admit(about, address, agent, time.monotonic(), make)


@lru_cache(PROGRAMS)
def _program(method: str, headers: tuple[tuple[bytes, bytes], ...]) -> tuple[str | None, str]:
    """The agent, and what a line says of these headers: those of Google's proxy come a million times."""
    agent, telling = None, {"method": method}
    for name, value in headers:
        if name == b"user-agent":
            agent = words(value, AGENT_LENGTH) if agent is None else agent
        else:
            telling.setdefault(TELLING[name], words(value, HEADER_LENGTH))
    return agent, saying(agent, telling)


def location(url: str) -> bytes | None:
    """A web address as a Location header has it (RFC 9110, section 10.2.2), ASCII only; None if it is none.

    It stems from anybody's mail: line ends and tabs are cut out, as browsers do, what else a header can't hold is
    percent-encoded, and no other scheme passes.
    """
    whole = url.strip().translate(_LINE_ENDS)
    try:
        parts = urlsplit(whole)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return None
        if not parts.netloc.isascii():
            whole = whole.replace(parts.netloc, _ascii_netloc(parts.netloc), 1)
    except ValueError:
        return None
    return quote(whole, safe="!#$%&'()*+,/:;=?@[]~|\\^`{}", errors="replace").encode("ascii")


def _ascii_netloc(netloc: str) -> str:
    """A host beyond ASCII by its name in the DNS, if it has one; otherwise it is percent-encoded with the rest."""
    before, at, host = netloc.rpartition("@")
    name, colon, port = host.partition(":")
    try:
        return f"{before}{at}{name.encode('idna').decode()}{colon}{port}"
    except UnicodeError:
        return netloc


async def _page(
    scope: Message, send: Send, status: int, said: tuple[str, str], *headers: tuple[bytes, bytes]
) -> None:
    title, text = said
    body = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><h1>{title}</h1><p>{text}</p></html>\n"
    ).encode()
    length = (b"content-length", str(len(body)).encode())
    kind = (b"content-type", b"text/html; charset=utf-8")
    await send(
        {"type": "http.response.start", "status": status, "headers": [*_LINK_HEADERS, kind, length, *headers]}
    )
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
