"""The HTTP server: werkzeug's threaded one, with connections kept alive.

werkzeug's own handler closes every connection and waits 10 ms after each answer; the one here
answers on, and closes without an answer when a fault says so.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from werkzeug.serving import BaseWSGIServer, ThreadedWSGIServer, WSGIRequestHandler

from gmail_sync.sandbox.faults import ConnectionDropped
from gmail_sync.sandbox.routes.http import App
from gmail_sync.sandbox.sandbox import Sandbox

log = logging.getLogger(__name__)

Write = Callable[[bytes], object]
#: Seconds that a connection may idle.
IDLE = 120.0


class _Handler(WSGIRequestHandler):
    """HTTP/1.1 with keep-alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = IDLE

    def setup(self) -> None:
        super().setup()
        self.server.open_sockets.add(self.connection)  # type: ignore[attr-defined]

    def finish(self) -> None:
        self.server.open_sockets.discard(self.connection)  # type: ignore[attr-defined]
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def run_wsgi(self) -> None:
        """Answer one request; raising what the server's base class takes for a lost connection."""
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        status: list[Any] = []

        def start_response(line: str, headers: list[tuple[str, str]], exc_info: object = None) -> Write:
            status.extend((line, headers))
            return _nothing

        try:
            pieces = self.server.app(self.make_environ(), start_response)
        except ConnectionDropped:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._write(status[0], status[1], b"".join(pieces))

    def _write(self, line: str, headers: list[tuple[str, str]], body: bytes) -> None:
        code, _, reason = line.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        log.debug("%s %s", getattr(self, "requestline", ""), code)


def _nothing(_data: bytes) -> None:
    """WSGI's old way of writing, which the application here does not use."""


class _Server(ThreadedWSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, app: App) -> None:
        self.open_sockets: set[socket.socket] = set()
        super().__init__(host, port, app, handler=_Handler)

    def close_all(self) -> None:
        """Close the connections that are kept alive."""
        for connection in list(self.open_sockets):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class SandboxServer:
    """Serves a sandbox. Port 0 takes a free one; `url` is known from the beginning."""

    def __init__(self, sandbox: Sandbox, host: str = "127.0.0.1", port: int = 0) -> None:
        self._server: BaseWSGIServer = _Server(host, port, App(sandbox))
        shown = "127.0.0.1" if host in ("0.0.0.0", "") else f"[{host}]" if ":" in host else host  # noqa: S104
        self.url = f"http://{shown}:{self._server.port}"
        sandbox.url = self.url
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Serve in a background thread."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="sandbox-server", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close what is open."""
        if self._thread:
            self._server.shutdown()
            self._thread.join(timeout=5)
        self._server.server_close()
        self._server.close_all()  # type: ignore[attr-defined]

    def serve_forever(self) -> None:
        """Serve in this thread until interrupted."""
        try:
            self._server.serve_forever()
        finally:
            self.stop()


def serve(
    host: str,
    port: int,
    mboxes: list[tuple[Path, str]],
    data: Path | None,
    units_per_minute: int,
    push_endpoint: str | None,
    *,
    users: Iterable[tuple[str, str]] = (),
    redirect_uris: Iterable[str] = (),
    ready: Callable[[Sandbox, SandboxServer], None] | None = None,
) -> None:
    """Run a sandbox until SIGTERM or Ctrl-C.

    mboxes: files with the address of their owner, who is added if missing. data: the file that keeps
    everything, None for memory. users: addresses with names. ready: called once it serves.
    """
    sandbox = Sandbox(data, units_per_minute=units_per_minute)
    sandbox.redirect_uris += redirect_uris
    sandbox.pushes.endpoint = push_endpoint
    for address, name in users:
        sandbox.add_user(address, name)
    server = SandboxServer(sandbox, host, port)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):  # whoever started us in the background ignored the latter
            signal.signal(number, _interrupt)
    try:
        server.start()
        for path, owner in mboxes:
            sandbox.add_user(owner)
            log.info("loaded %d messages of %s from %s", sandbox.load_mbox(path, owner), owner, path)
        if ready:
            ready(sandbox, server)
        threading.Event().wait()
    except KeyboardInterrupt:
        log.info("stopping")
    finally:
        server.stop()
        sandbox.close()


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
