"""Whoever signs tokens as Google does, with a key of its own that it serves."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa


@dataclass(slots=True)
class Google:
    """Signs as Google does, and serves the key."""

    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    url: str = ""

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Answer with the key set."""
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        body = json.dumps({"keys": [public | {"kid": "bench", "use": "sig", "alg": "RS256"}]}).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Cache-Control", "max-age=3600")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_address[1]}/certs"
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()

    def token(self, audience: str, address: str) -> str:
        """An identity token, good for an hour."""
        now = int(time.time())
        claims = {
            "iss": "https://accounts.google.com", "aud": audience, "iat": now, "exp": now + 3600,
            "sub": f"subject of {address}", "email": address, "email_verified": True,
        }  # fmt: skip
        return jwt.encode(claims, self.key, "RS256", {"kid": "bench"})
