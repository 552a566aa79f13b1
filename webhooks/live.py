"""The live stream: which topics of an open page changed, as server-sent events. Before Flask: it holds no thread.

A stream carries the opaque names of `tracker.topics` and nothing else; what one may read is decided when the page
asks again. Events: ``hello`` (connected), ``change`` with topics, ``refresh`` (look at everything again), ``beat``
(still there), ``poll`` (too many streams, ask `/live/since` instead).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import uniform
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from tracker import people, row_security, sessions, sight
from tracker.topics import Watch
from tracker.web import frame
from webhooks.live_hub import Hub, Page
from webhooks.live_listen import listen

log = logging.getLogger(__name__)

PATH = "/live"
BEAT = 20.0  # seconds
LIFE = 30 * 60.0  # seconds; then the page connects anew, and who is signed in is asked again
PACE = 0.5  # seconds between two messages
PATIENCE = 30.0  # seconds for a message to go out
QUERY_LIMIT = 16_000  # bytes
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx hands on each message at once
    (b"x-content-type-options", b"nosniff"),
]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Refused(Exception):
    """No stream; the status says why."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True, slots=True)
class Seen:
    """Who is signed in."""

    team_id: int
    user_key: str
    topics: str = ""  #: of those that were asked for, what they may see


#: From the Cookie header, and the topics that are asked for; it may wait for the database.
Who = Callable[..., Seen | None]


def signed_in(app: Flask) -> Who:
    """Asks an application's own sessions who is signed in."""

    def who(cookies: str, topics: str = "") -> Seen | None:
        request = app.request_class({"HTTP_COOKIE": cookies, "REQUEST_METHOD": "GET"})
        session = app.session_interface.open_session(app, request)
        if not session or frame.TOKEN not in session:
            return None
        with frame.of(app).sessions() as database:
            found = sessions.signed_in(database, session[frame.TOKEN], frame.of(app).now())
            if not found:
                return None
            row_security.enter(database, found[1].team_id)
            sight.look_as(database, people.viewer_of(found[1], "live"))
            return Seen(found[1].team_id, found[1].key, sight.watchable(database, topics))

    return who


@dataclass(slots=True)
class Live:
    """The stream's door, an ASGI application. `start` before the first request, `stop` at the end."""

    who: Who
    database_url: str  #: libpq's
    public_url: str
    hub: Hub = field(default_factory=Hub)
    ending: bool = False
    _listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to hear what changes."""
        self._listening = asyncio.create_task(listen(self.database_url, self.hub))

    def end(self) -> None:
        """End every stream, and begin none."""
        self.ending = True
        for page in self.hub.everybody():
            page.leave()

    async def stop(self) -> None:
        """End every stream, and hear no more."""
        self.end()
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request for the stream."""
        try:
            page, age, cookies = await self._admit(scope)
        except Refused as refused:
            await _refuse(send, refused)
            return
        leaving = asyncio.create_task(_watch_leaving(page, receive))
        self.hub.add(page, age)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await _stream(page, send, lambda: self._still(page, cookies))
        except (OSError, TimeoutError):
            log.debug("A page went away")
        finally:
            self.hub.remove(page)
            leaving.cancel()

    async def _still(self, page: Page, cookies: str) -> bool:
        """Whether the same person is still signed in. While the database is away nothing is told anyway."""
        page.doubted = False
        try:
            seen = await asyncio.to_thread(self.who, cookies)
        except SQLAlchemyError:
            return True
        return seen is not None and (seen.team_id, seen.user_key) == (page.team_id, page.user_key)

    async def _admit(self, scope: Message) -> tuple[Page, float, str]:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["method"] != "GET":
            raise Refused(405, "The stream is read, nothing else")
        self._check_origin(headers)
        if len(scope["query_string"]) > QUERY_LIMIT:
            raise Refused(414, "These are too many topics")
        query = parse_qs(scope["query_string"].decode("latin-1"))
        try:
            asked = query.get("topics", [""])[0]
            seen = await asyncio.to_thread(self.who, headers.get("cookie", ""), asked)
        except SQLAlchemyError:
            raise Refused(503, "The database can't be reached") from None
        if self.ending:
            raise Refused(503, "The server stops")
        if seen is None:
            raise Refused(401, "Sign in first")
        watch = Watch.of(seen.user_key, seen.topics)
        if not watch.names:
            raise Refused(400, "Name the topics")
        age = _age(query.get("age", [""])[0])
        return Page(seen.team_id, seen.user_key, watch), age, headers.get("cookie", "")

    def _check_origin(self, headers: dict[str, str]) -> None:
        """Other sites' pages get nothing: the cookie is SameSite=Lax, and this doesn't rely on it."""
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refused(403, "Another site's page asks")
        origin = headers.get("origin")
        if origin and _host(origin) not in (headers.get("host"), _host(self.public_url)):
            raise Refused(403, "Another site's page asks")


def _host(address: str) -> str:
    try:
        return urlsplit(address).netloc
    except ValueError:  # made up, such as http://[
        return ""


def _age(given: str) -> float:
    """How old, in seconds, what the page shows is; beyond all knowledge where it can't tell."""
    try:
        age = float(given)
    except ValueError:
        return float("inf")
    return age if age >= 0 else float("inf")  # NaN is neither


async def _watch_leaving(page: Page, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    page.leave()


async def _stream(page: Page, send: Send, still: Callable[[], Awaitable[bool]]) -> None:
    loop = asyncio.get_running_loop()
    ends = loop.time() + LIFE * uniform(0.9, 1.0)  # noqa: S311 - so that they don't all come back at once
    await _say(send, "hello")
    while loop.time() < ends and not page.gone:
        try:
            async with asyncio.timeout(BEAT):
                await page.wake.wait()
        except TimeoutError:
            if not await still():
                break
            await _say(send, "beat")
            continue
        if page.doubted and not await still():
            break
        refresh, topics = page.take()
        if refresh:
            await _say(send, "refresh")
        elif topics:
            await _say(send, "change", " ".join(sorted(topics)))
        if not page.gone:
            await asyncio.sleep(PACE)
    if page.surplus:
        await _say(send, "poll")
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _say(send: Send, kind: str, data: str = "") -> None:
    # Not a comment, of which a page would not know: by the beats it sees that the line is still there.
    body = f"event: {kind}\ndata: {data}\n\n".encode()
    async with asyncio.timeout(PATIENCE):
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _refuse(send: Send, refused: Refused) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{refused}\n".encode(), "more_body": False})
