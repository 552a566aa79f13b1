"""A local push service (RFC 8030) and its browsers: it checks the signature, and decrypts with `http_ece`."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02


def b64(content: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@dataclass
class Browser:
    """A browser that is subscribed at the service."""

    endpoint: str
    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    secret: bytes = b"sixteen bytes!!!"

    @property
    def keys(self) -> dict[str, str]:
        """What a page sends us, as a form."""
        point = self.private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {"endpoint": self.endpoint, "p256dh": b64(point), "auth": b64(self.secret)}

    def read(self, body: bytes) -> dict[str, Any]:
        """Decrypt what came."""
        plain = http_ece.decrypt(body, private_key=self.private, auth_secret=self.secret, version="aes128gcm")
        found = json.loads(plain)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class Came:
    """One push that came."""

    at: float  #: monotonic
    path: str
    headers: dict[str, str]
    body: bytes


class PushService:
    """Takes pushes; `answer` says with what status (and headers) to answer each."""

    def __init__(self) -> None:
        self.came: list[Came] = []
        self.answer: Callable[[Came], tuple[int, dict[str, str]]] = lambda _: (201, {})
        self.checked = True
        self._mutex = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # lines stay open
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                one = Came(time.monotonic(), self.path, dict(self.headers.items()), body)
                if service.checked:
                    assert Vapid02.verify(one.headers["Authorization"].replace(",k=", ",k="))
                with service._mutex:
                    service.came.append(one)
                status, headers = service.answer(one)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def browser(self, name: str = "one") -> Browser:
        """A browser that is subscribed here."""
        return Browser(f"{self.url}/push/{name}")

    def rang(self, browser: Browser) -> list[dict[str, Any]]:
        """What came for a browser, decrypted."""
        path = browser.endpoint.removeprefix(self.url)
        return [browser.read(one.body) for one in self.came if one.path == path]
