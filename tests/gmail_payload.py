"""Raw bytes of a mail as a Gmail message resource, with header values as they were written.

The sandbox does this as Gmail mostly does (headers decoded, texts in UTF-8); here nothing is decoded but the
transfer encoding, so that the tests also see what Gmail passes on undecoded.
"""

from __future__ import annotations

import base64
import email
from email.message import Message
from typing import Any


def resource(raw: bytes, **fields: Any) -> dict[str, Any]:
    """A users.messages resource for `raw`; `fields` replace those of the resource."""
    payload = _part(email.message_from_bytes(raw), "", 0)
    defaults = {
        "id": "18c2f0",
        "threadId": "18c2f0",
        "historyId": "12345",
        "internalDate": "1741021200000",
        "labelIds": ["INBOX"],
        "sizeEstimate": len(raw),
        "snippet": "",
        "payload": payload,
    }
    return defaults | fields


def mail(body: str = "Hello", **headers: str) -> dict[str, Any]:
    """A resource of a plain mail; header names are written with "_" for "-"."""
    usual = {
        "From": "Jane Doe <jane@customer.example>",
        "To": "Bob <bob@acme.example>",
        "Subject": "Offer",
        "Date": "Mon, 3 Mar 2025 18:00:00 +0100",
        "Message_ID": "<1@customer.example>",
        "Content_Type": "text/plain; charset=utf-8",
    }
    return resource_of(usual | headers, part("text/plain", body))


def resource_of(headers: dict[str, str], payload: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A resource of a payload whose root carries `headers`."""
    pairs = [{"name": name.replace("_", "-"), "value": value} for name, value in headers.items()]
    return resource(b"", **fields) | {"payload": payload | {"headers": pairs}}


def part(mime_type: str, content: str | bytes = "", *children: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """One part; `content` stands in its body, `children` in its parts."""
    data = content.encode() if isinstance(content, str) else content
    made: dict[str, Any] = {"partId": "0", "mimeType": mime_type, "filename": "", "headers": []}
    made["body"] = {"size": len(data), "data": base64.urlsafe_b64encode(data).decode().rstrip("=")}
    if children:
        made |= {"parts": list(children), "body": {"size": 0}}
    return made | fields


def header(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}


def _part(message: Message, part_id: str, depth: int) -> dict[str, Any]:
    headers = [{"name": name, "value": str(value)} for name, value in message.raw_items()]
    made: dict[str, Any] = {
        "partId": part_id,
        "mimeType": message.get_content_type(),
        "filename": "",
        "headers": headers,
        "body": {"size": 0},
    }
    children = message.get_payload()
    if isinstance(children, list) and depth < 40:
        prefix = f"{part_id}." if part_id else ""
        made["parts"] = [_part(child, f"{prefix}{number}", depth + 1) for number, child in enumerate(children)]
        return made
    content = message.get_payload(decode=True)
    data = content if isinstance(content, bytes) else b""
    made["body"] = {"size": len(data), "data": base64.urlsafe_b64encode(data).decode()}
    return made
