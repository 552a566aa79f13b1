"""Batches: up to 100 calls in one multipart/mixed request, each with its own fate.

Source: https://developers.google.com/workspace/gmail/api/guides/batch
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from gmail_sync.sandbox.errors import ApiError, invalid
from gmail_sync.sandbox.faults import ConnectionDropped
from gmail_sync.sandbox.http import Request, Response, json_response
from gmail_sync.sandbox.routes import table

if TYPE_CHECKING:
    from gmail_sync.sandbox.sandbox import Sandbox

#: Calls that one batch may hold.
MAX_CALLS = 100
_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"([^"]+)"|([^\s;]+))', re.IGNORECASE)
_BLANK = re.compile(rb"\r?\n\r?\n")


def handle(sandbox: Sandbox, request: Request) -> Response:
    """Answer a batch. Raises ConnectionDropped when a fault of the batch or of a part asks for it."""
    try:
        parts = _split(request)
        token = request.bearer
        grant = sandbox.tokens.find("access", token) if token else None
        user = sandbox.mailbox_by_id(grant.user_id).address if grant else None
        fault = sandbox.faults.strike("batch", user)
    except ApiError as error:
        return json_response(error.body(), error.status, error.headers)
    boundary = f"batch_{secrets.token_urlsafe(16)}"
    pieces = [_answered(sandbox, part, request.headers.get("authorization", ""), boundary) for part in parts]
    if fault:
        raise ConnectionDropped("batch")
    body = b"".join(pieces) + f"--{boundary}--\r\n".encode()
    return Response(200, body, {"Content-Type": f"multipart/mixed; boundary={boundary}"})


def _split(request: Request) -> list[bytes]:
    match = _BOUNDARY.search(request.headers.get("content-type", ""))
    if not match:
        raise ApiError(400, "badRequest", "Failed to parse batch request, error: missing boundary")
    delimiter = b"--" + (match[1] or match[2]).encode()
    pieces = re.split(rb"(?:^|\r?\n)" + re.escape(delimiter) + rb"(?:--)?[ \t]*(?=\r?\n|$)", request.body)
    parts = [piece.lstrip(b"\r\n") for piece in pieces[1:] if piece.strip()]
    if not parts:
        raise ApiError(400, "badRequest", "Failed to parse batch request, error: 0 items in batch")
    if len(parts) > MAX_CALLS:
        raise invalid(f"The batch request contains {len(parts)} calls: the limit is {MAX_CALLS}")
    return parts


def _answered(sandbox: Sandbox, part: bytes, authorization: str, boundary: str) -> bytes:
    outer, _, inner = _cut(part)
    headers = _headers(outer)
    answer = table.handle(sandbox, _request(inner, authorization))
    lines = [f"--{boundary}", "Content-Type: application/http"]
    if content_id := headers.get("content-id"):
        lines.append(f"Content-ID: <response-{content_id.strip().removeprefix('<')}")
    lines += ["", f"HTTP/1.1 {answer.line}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    lines += [f"Content-Length: {len(answer.body)}", "", ""]
    return "\r\n".join(lines).encode() + answer.body + b"\r\n"


def _request(inner: bytes, authorization: str) -> Request:
    """The call inside a part; without a token of its own it has the batch's."""
    head, _, body = _cut(inner)
    first, _, rest = head.partition(b"\n")
    words = first.decode("latin-1").split()
    if len(words) < 2:
        return Request("GET", "/")
    target = re.sub(r"^https?://[^/]+", "", words[1])
    headers = {"authorization": authorization} | _headers(rest)
    return Request.to(words[0], target, headers, body if body.strip() else b"")


def _cut(data: bytes) -> tuple[bytes, bytes, bytes]:
    match = _BLANK.search(data)
    return (data[: match.start()], match[0], data[match.end() :]) if match else (data, b"", b"")


def _headers(block: bytes) -> dict[str, str]:
    pairs = (line.decode("latin-1").partition(":") for line in block.splitlines() if b":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
