"""What the web server loads: the doors that answer before Flask, and Flask for the rest."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from config import rooms
from config.app import create_app
from config.settings import Settings, load
from config.wsgi import Behind
from scheduler.web import compose as web_compose
from scheduler.zones import places
from tracker.db import plain_url, utc_now
from webhooks import doors, live
from webhooks.client_address import networks
from webhooks.hit_writer import Writer

THREADS = 4

Message = MutableMapping[str, Any]
Asgi = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class Front:
    """Hands each request to the door of its path, or else to `rest`; starts and stops what lasts.

    A door's path is the whole path, or, with a slash at its end, the beginning of one.
    """

    def __init__(
        self,
        doors: Mapping[str, Asgi],
        rest: Asgi,
        start: Callable[[], Awaitable[None]],
        stop: Callable[[], Awaitable[None]],
    ) -> None:
        self.exact = {path: door for path, door in doors.items() if not path.endswith("/")}
        self.below = [(path, door) for path, door in doors.items() if path.endswith("/")]
        self.rest, self.start, self.stop = rest, start, stop

    def __call__(self, scope: Message, receive: Any, send: Any) -> Awaitable[None]:
        """Answer one request."""
        if scope["type"] == "http":
            return self._door(scope["path"])(scope, receive, send)
        if scope["type"] == "lifespan":
            return self._live(receive, send)
        closed: Awaitable[None] = send({"type": "websocket.close"})
        return closed

    def _door(self, path: str) -> Asgi:
        if found := self.exact.get(path):
            return found
        for beginning, door in self.below:
            if path.startswith(beginning):
                return door
        return self.rest

    async def _live(self, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        await self.start()
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})


def create_front(settings: Settings) -> Front:
    """The whole web server for these settings, which name a database and a secret key."""
    assert settings.database_url is not None
    furnished = rooms.furnish(settings)
    flask = create_app(settings, furnished)
    behind = Behind(flask, THREADS, roomy=web_compose.DOORS)
    url = plain_url(settings.database_url)
    stream = live.Live(live.signed_in(flask), url, settings.url)
    hits = Writer(url, settings.data_dir / "hits")
    tracking = doors.Doors(hits, doors.signed_in(flask), networks(settings.trusted_proxies), utc_now)

    async def start() -> None:
        await hits.start()
        await stream.start()
        _at_stop_signal(stream.end)

    async def stop() -> None:
        await stream.stop()
        await hits.stop()
        behind.close()
        furnished.close()

    paths: dict[str, Asgi] = {live.PATH: stream, doors.PIXELS: tracking.pixel, doors.LINKS: tracking.link}
    return Front(paths, behind, start, stop)


def _at_stop_signal(action: Callable[[], None]) -> None:
    """The server waits for answers under way before it says that it stops, and a stream would never end.

    asyncio hears of signals through its wake-up descriptor, so its own handlers (the server's) are called as well.
    """
    loop = asyncio.get_running_loop()
    with suppress(ValueError):  # not the main thread: whoever started us ends us otherwise
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(action))


def app() -> Front:
    """From the environment; the server calls it in each process of its own."""
    front = create_front(load())
    places.warm()  # else whoever asks first where a recipient is would wait for it
    be_swift()
    return front


def be_swift() -> None:
    """Settings of the interpreter for a server of many small requests, once everything is loaded."""
    gc.collect()
    gc.freeze()  # what is there stays: to look through it again and again would hold hits up
    gc.set_threshold(20_000, 50, 50)
    sys.setswitchinterval(0.0005)  # seconds; those who read requests and those who answer them take turns
