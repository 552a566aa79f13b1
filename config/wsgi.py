"""Flask behind an asynchronous server: a WSGI application as an ASGI one, in a few threads of its own.

A thread is taken when the request is here and given back when the answer is made; a client that sends or reads
slowly holds none. Sources: PEP 3333; the ASGI specification, "HTTP & WebSocket" and "WSGI Compatibility".
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from io import BufferedReader, BytesIO, RawIOBase
from typing import Any
from urllib.parse import unquote_to_bytes

log = logging.getLogger(__name__)

SMALL = 256 * 1024  # bytes; a body up to this is here before a thread is taken, an answer goes in one piece
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Wsgi = Callable[..., Iterable[bytes]]


class Behind:
    """The ASGI application that hands requests to a WSGI one."""

    def __init__(self, app: Wsgi, threads: int) -> None:
        self.app = app
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="web")

    def close(self) -> None:
        """Wait for what is under way."""
        self.pool.shutdown()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        loop, context = asyncio.get_running_loop(), copy_context()
        body = await _body(scope, receive, loop)
        if body is None:
            return
        answer = Answer()

        async def in_thread(work: Callable[..., bytes], *arguments: Any) -> bytes:
            # One context for the whole answer, whichever threads make its parts: Flask keeps its own in it.
            return await loop.run_in_executor(self.pool, context.run, work, *arguments)

        try:
            part = await in_thread(answer.begin, self.app, environ(scope, body))
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            answer = Answer(500, [("Content-Type", "text/plain")], done=True)
            part = b"Something broke on our side\n"
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.raw_headers()})
        try:
            while not answer.done:
                await send({"type": "http.response.body", "body": part, "more_body": True})
                part = await in_thread(answer.next_part)
        finally:
            if not answer.done:
                await in_thread(answer.close)
        await send({"type": "http.response.body", "body": part, "more_body": False})


@dataclass(slots=True)
class Answer:
    """A WSGI application's answer on its way."""

    status: int = 500
    headers: list[tuple[str, str]] = field(default_factory=list)
    done: bool = False
    iterable: Iterable[bytes] = ()
    parts: Iterator[bytes] = field(default_factory=lambda: iter(()))

    def begin(self, app: Wsgi, given: dict[str, Any]) -> bytes:
        """Call the application; the first part of its body, mostly the whole."""
        self.iterable = app(given, self._start)
        self.parts = iter(self.iterable)
        return self.next_part()

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], Any]:
        self.status, self.headers = int(status[:3]), headers
        return self._write

    def _write(self, _: bytes) -> None:
        raise NotImplementedError("PEP 3333 keeps write() for old frameworks")

    def next_part(self) -> bytes:
        """The next part; at the end the answer is `done`, and closed."""
        part = bytearray()
        try:
            for chunk in self.parts:
                part += chunk
                if len(part) >= SMALL:
                    return bytes(part)
        except BaseException:
            self.close()
            raise
        self.close()
        return bytes(part)

    def close(self) -> bytes:
        """Say to the application that its answer is over."""
        if not self.done:
            self.done = True
            getattr(self.iterable, "close", lambda: None)()
        return b""

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as ASGI has them."""
        return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers]


async def _body(scope: Message, receive: Receive, loop: asyncio.AbstractEventLoop) -> Any:
    """The request's body as a file, or None when the client left while it sent."""
    headers = {name for name, _ in scope["headers"]}
    if b"transfer-encoding" in headers:
        return BufferedReader(_Arriving(receive, loop))
    if b"content-length" not in headers and scope["http_version"][:1] != "2":
        return BytesIO()
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    if not declared.isdigit() or int(declared) > SMALL:
        return BufferedReader(_Arriving(receive, loop))
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts += message.get("body", b"")
        if not message.get("more_body"):
            return BytesIO(bytes(parts))


class _Arriving(RawIOBase):
    """A large body, read by the application's thread as far as it wants: it may refuse it by its length."""

    def __init__(self, receive: Receive, loop: asyncio.AbstractEventLoop) -> None:
        self.receive, self.loop = receive, loop
        self.rest, self.over = memoryview(b""), False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.rest and not self.over:
            message = asyncio.run_coroutine_threadsafe(self._next(), self.loop).result()
            self.rest = memoryview(message.get("body", b""))
            self.over = not message.get("more_body", False)
        taken = min(len(buffer), len(self.rest))
        buffer[:taken] = self.rest[:taken]
        self.rest = self.rest[taken:]
        return taken

    async def _next(self) -> Message:
        return await self.receive()


def environ(scope: Message, body: Any) -> dict[str, Any]:
    """A request as WSGI has it."""
    raw_path = scope.get("raw_path")
    path = unquote_to_bytes(raw_path) if raw_path else scope["path"].encode()
    server, client = scope.get("server") or ("localhost", 80), scope.get("client")
    found = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 0),
        "REMOTE_ADDR": client[0] if client else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if "_" in name:  # it would pass for the one with a hyphen, which a proxy sets
            continue
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        between = "; " if key == "HTTP_COOKIE" else ","  # HTTP/2 may send each cookie on its own
        found[key] = f"{found[key]}{between}{value}" if key in found else value
    return found
