"""Flask behind an asynchronous server: a WSGI application as an ASGI one, in a few threads of its own.

A thread is taken when the request is here and given back when the answer is made; a client that sends or reads
slowly holds none. Sources: PEP 3333; the ASGI specification, "HTTP & WebSocket" and "WSGI Compatibility".
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import unquote_to_bytes

log = logging.getLogger(__name__)

SMALL = 256 * 1024  # bytes; a body up to this is kept in memory, an answer goes in one piece
LARGEST = 8 * 1024 * 1024  # bytes; no door behind takes a larger body, but those that are `ROOMY`
ROOMY = 30 * 1024 * 1024  # bytes; a mail with its files
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Wsgi = Callable[..., Iterable[bytes]]


class Behind:
    """The ASGI application that hands requests to a WSGI one.

    `roomy` are the beginnings of the paths that take up to `ROOMY` bytes. Who is signed in is not known here.
    """

    def __init__(self, app: Wsgi, threads: int, roomy: Sequence[str] = ()) -> None:
        self.app = app
        self.roomy = tuple(roomy)
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="web")

    def close(self) -> None:
        """Wait for what is under way."""
        self.pool.shutdown()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        most = ROOMY if scope["path"].startswith(self.roomy) else LARGEST
        body = await _body(scope, receive, most)
        if body is not None:
            with body:
                await self._answer(scope, body, send)

    async def _answer(self, scope: Message, body: IO[bytes], send: Send) -> None:
        loop, context = asyncio.get_running_loop(), copy_context()
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


async def _body(scope: Message, receive: Receive, most: int) -> IO[bytes] | None:
    """The request's body as a file, or None when the client left while it sent.

    All of it is here before a thread is taken. Of one that is larger than anything we take there is nothing, or as
    much as it needs to be refused.
    """
    headers = dict(scope["headers"])
    if b"transfer-encoding" not in headers:
        declared = headers.get(b"content-length", b"")
        if not declared and scope["http_version"][:1] != "2":
            return BytesIO()
        if declared.isdigit() and int(declared) > most:
            return BytesIO()
    body, size = SpooledTemporaryFile(SMALL), 0  # noqa: SIM115 - closed once it is answered
    while size <= most:
        message = await receive()
        if message["type"] == "http.disconnect":
            body.close()
            return None
        size += body.write(message.get("body", b""))
        if not message.get("more_body"):
            break
    body.seek(0)
    return body


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
