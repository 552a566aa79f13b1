"""A request and an answer, apart from any web framework: batches carry them inside one another."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_REASONS = {
    200: "OK", 204: "No Content", 302: "Found", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 412: "Precondition Failed",
    413: "Content Too Large", 415: "Unsupported Media Type", 429: "Too Many Requests",
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


@dataclass
class Request:
    """A request: `headers` by lower-case name, `query` with every value of a parameter."""

    method: str
    path: str
    query: dict[str, list[str]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def to(cls, method: str, target: str, headers: dict[str, str], body: bytes) -> Request:
        """A request to a target such as "/gmail/v1/users/me/profile?fields=historyId"."""
        parts = urlsplit(target)
        return cls(method.upper(), unquote(parts.path), parse_query(parts.query), headers, body)

    def one(self, name: str, default: str = "") -> str:
        """The last value of a query parameter."""
        return self.query.get(name, [default])[-1]

    def form(self) -> dict[str, str]:
        """The body as a form, the last value of each field."""
        return {name: values[-1] for name, values in parse_query(self.body.decode("utf-8", "replace")).items()}

    @property
    def bearer(self) -> str:
        """The access token, from the header or the `access_token` parameter."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else self.one("access_token")


@dataclass
class Response:
    """An answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """Status and its reason, as in "404 Not Found"."""
        return f"{self.status} {_REASONS.get(self.status, 'Status')}"


def parse_query(text: str) -> dict[str, list[str]]:
    """A query string or form as name to values."""
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        found.setdefault(name, []).append(value)
    return found


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON; None is an empty 204, as for Gmail's deletes."""
    if value is None:
        return Response(204, b"", dict(headers or {}))
    kind = {"Content-Type": "application/json; charset=UTF-8", "Cache-Control": "private"}
    return Response(status, json.dumps(value).encode(), kind | (headers or {}))


def html_response(title: str, body: str, status: int = 200) -> Response:
    """A small page; `body` is HTML already, `title` plain text without markup."""
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        'content="light dark"><style>body{font:1rem/1.5 system-ui,sans-serif;max-width:30rem;margin:3rem auto;'
        "padding:0 1rem}li{margin:.5rem 0}a.choice{display:block;padding:.6rem 1rem;border:1px solid;"
        "border-radius:.5rem;text-decoration:none}</style></head>"
        f"<body><main><h1>{title}</h1>{body}</main></body></html>"
    )
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "X-Frame-Options": "DENY"}
    return Response(status, page.encode(), headers)
