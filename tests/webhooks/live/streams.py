"""The live stream without a server: its ASGI application is called as one would call it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from flask import Flask
from sqlalchemy import Engine

from tests.loops import apart
from tests.tracker.web.factories_web import browser_of
from tracker.db import plain_url
from tracker.people import User
from webhooks import live
from webhooks.live import Live

HOST = "tracker.example.com"


def door(app: Flask, engine: Engine) -> Live:
    """The stream's door of an application."""
    url = plain_url(engine.url.render_as_string(hide_password=False))
    return Live(live.signed_in(app), url, f"https://{HOST}")


def cookies(app: Flask, user: User) -> str:
    """What the browser of a signed-in person sends."""
    client = browser_of(app, user)
    found = client.get_cookie(app.config["SESSION_COOKIE_NAME"])
    assert found is not None
    return f"{found.key}={found.value}"


@dataclass
class Stream:
    """A connection: what was said on it so far."""

    door: Live
    scope: dict[str, Any]
    status: int = 0
    said: list[tuple[str, str]] = field(default_factory=list)
    over: bool = False
    stuck: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self) -> dict[str, Any]:
        """What the server hears of the client."""
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """What the client hears of the server."""
        if self.stuck:
            await asyncio.sleep(3600)
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif body := message["body"].decode():
            for part in filter(None, body.split("\n\n")):
                lines = dict(line.split(": ", 1) for line in part.splitlines() if ": " in line)
                self.said.append((lines.get("event", part), lines.get("data", "")))
        self.over = message["type"] == "http.response.body" and not message.get("more_body")
        self.news.set()

    async def until(self, condition: Callable[[], Any], seconds: float = 5.0) -> None:
        """Wait until something was said."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.news.clear()
                await self.news.wait()

    async def kinds(self, number: int) -> list[str]:
        """The kinds of the first so many things that are said."""
        await self.until(lambda: len(self.said) >= number)
        return [kind for kind, _ in self.said[:number]]

    def topics(self) -> list[str]:
        """The topics told so far."""
        return [name for kind, data in self.said if kind == "change" for name in data.split()]


@asynccontextmanager
async def opened(door: Live, cookie: str, topics: str, age: float = 0, **headers: str) -> AsyncIterator[Stream]:
    """A page that watches."""
    given = {"host": HOST, "cookie": cookie, **{name.replace("_", "-"): value for name, value in headers.items()}}
    stream = Stream(
        door,
        {
            "type": "http", "method": "GET", "path": "/live",
            "query_string": urlencode({"topics": topics, "age": age}).encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        },
    )  # fmt: skip
    task = asyncio.create_task(door(stream.scope, stream.receive, stream.send))
    try:
        await stream.until(lambda: stream.said)
        yield stream
    finally:
        stream.left.set()
        async with asyncio.timeout(5):
            await task


def running(door: Live, work: Callable[[], Awaitable[None]]) -> None:
    """Run a test within the door's life, from the moment that it hears."""

    async def whole() -> None:
        await door.start()
        try:
            async with asyncio.timeout(30):
                while door.hub.whole_since is None:
                    await asyncio.sleep(0.01)
                await work()
        finally:
            await door.stop()

    apart(whole())
