"""A raw message as the API's MessagePart tree. Any bytes give a tree: nothing here may fail.

As Gmail does: header values are unfolded and decoded, the text of a part without a filename stands
inline in UTF-8 whatever its charset was, and everything else is fetched by its attachmentId.
Source: https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.messages#MessagePart
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from typing import Any

from gmail_sync.sandbox.headers import Header, decoded, header_end, read_headers, text_of

#: Nesting beyond this is shown as one opaque part.
MAX_DEPTH = 50
#: Characters of a snippet.
SNIPPET_LENGTH = 200
#: What Gmail's attachment ids begin with.
_ATTACHMENT_PREFIX = "ANGjdJ"

_TAGS = re.compile(r"<(script|style|head)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", re.IGNORECASE | re.DOTALL)
_MIME_TYPE = re.compile(r"^[\w.+-]+/[\w.+-]+$")


@dataclass
class Part:
    """One MIME part: its place ("" for the root, "0", "1.2"), headers, decoded bytes and children."""

    part_id: str
    mime_type: str
    filename: str
    headers: list[Header]
    data: bytes = b""
    children: list[Part] = field(default_factory=list)

    @property
    def is_attachment(self) -> bool:
        """Whether its data is fetched by attachments.get rather than shown inline."""
        return bool(self.filename) or (not self.children and not self.mime_type.startswith("text/"))

    def walk(self) -> list[Part]:
        """This part and all beneath it, in their order."""
        return [self, *(part for child in self.children for part in child.walk())]

    def as_json(self, message_id: str) -> dict[str, Any]:
        """The API's MessagePart."""
        answer: dict[str, Any] = {
            "partId": self.part_id,
            "mimeType": self.mime_type,
            "filename": self.filename,
            "headers": [{"name": name, "value": value} for name, value in self.headers],
            "body": self._body(message_id),
        }
        if self.children:
            answer["parts"] = [child.as_json(message_id) for child in self.children]
        return answer

    def _body(self, message_id: str) -> dict[str, Any]:
        body: dict[str, Any] = {"size": len(self.data)}
        if self.is_attachment and self.data:
            body["attachmentId"] = attachment_id(message_id, self.part_id)
        elif self.data:
            body["data"] = encode(self.data)
        return body


def encode(data: bytes) -> str:
    """Bytes in URL-safe base64, as the API carries them."""
    return base64.urlsafe_b64encode(data).decode()


def decode(text: str) -> bytes:
    """URL-safe (or standard) base64, padded or not. Raises ValueError for anything else."""
    text = "".join(text.split()).rstrip("=").replace("+", "-").replace("/", "_")
    if re.search(r"[^A-Za-z0-9_-]", text) or len(text) % 4 == 1:
        raise ValueError("not base64")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def attachment_id(message_id: str, part_id: str) -> str:
    """The id by which a part's data is fetched: opaque to clients."""
    return _ATTACHMENT_PREFIX + encode(f"{message_id}:{part_id or '-'}:sandbox-attachment".encode()).rstrip("=")


def part_id_of(attachment: str, message_id: str) -> str | None:
    """The part that an attachment id names, or None where it is not of this message."""
    try:
        owner, part_id, _ = decode(attachment.removeprefix(_ATTACHMENT_PREFIX)).decode().split(":")
    except ValueError:
        return None
    return part_id.replace("-", "") if owner == message_id else None


def parse(raw: bytes) -> Part:
    """The tree of a message's parts, whatever its bytes."""
    try:
        return _part(message_from_bytes(raw), "", 0, read_headers(raw))
    except Exception:  # RecursionError for nesting without end, defects in email's parser
        headers = read_headers(raw)
        return Part("", "text/plain", "", headers, text_of(raw[header_end(raw) :].lstrip(b"\r\n")).encode())


def _part(message: Message, part_id: str, depth: int, headers: list[Header] | None = None) -> Part:
    if headers is None:
        headers = [(name, decoded(_plain(value))) for name, value in message.raw_items()]
    mime_type = message.get_content_type()
    part = Part(part_id, mime_type if _MIME_TYPE.match(mime_type) else "text/plain", _filename(message), headers)
    inner = message.get_payload()
    if not isinstance(inner, list):
        part.data = _data(message)
    elif mime_type == "message/rfc822" or depth >= MAX_DEPTH:
        part.data = b"".join(_flat(item) for item in inner)
    if isinstance(inner, list) and depth < MAX_DEPTH:
        prefix = f"{part_id}." if part_id else ""
        part.children = [_part(item, f"{prefix}{index}", depth + 1) for index, item in enumerate(inner)]
    return part


def _plain(value: object) -> str:
    """A header's value with the bytes that email kept as surrogates read as text."""
    return text_of(str(value).encode("utf-8", "surrogateescape"))


def _flat(message: Any) -> bytes:
    try:
        return bytes(message.as_bytes())
    except Exception:
        return text_of(str(message.get_payload()).encode("utf-8", "replace")).encode()


def _filename(message: Message) -> str:
    try:
        return decoded(_plain(message.get_filename() or "")).replace("\n", "")
    except Exception:
        return ""


def _data(message: Message) -> bytes:
    """The bytes of a leaf: transfer encoding undone; a text that is shown inline in UTF-8."""
    try:
        data = message.get_payload(decode=True)
    except (ValueError, binascii.Error, LookupError):
        data = None
    if not isinstance(data, bytes):
        data = str(message.get_payload()).encode("utf-8", "surrogateescape")
    if message.get_content_maintype() != "text" or _filename(message):
        return data
    return _utf8(data, _charset(message))


def _charset(message: Message) -> str:
    try:
        return message.get_content_charset() or "utf-8"
    except Exception:
        return "utf-8"


def _utf8(data: bytes, charset: str) -> bytes:
    try:
        return data.decode(charset).encode()
    except (LookupError, ValueError):
        return text_of(data).encode()


def body_text(root: Part) -> str:
    """The readable text of a message: its plain parts, or else its HTML ones without their tags."""
    leaves = [part for part in root.walk() if part.data and not part.is_attachment and not part.children]
    plain = [text_of(part.data) for part in leaves if part.mime_type != "text/html"]
    if any(text.strip() for text in plain):
        return "\n".join(plain)
    return "\n".join(html.unescape(_TAGS.sub(" ", text_of(part.data))) for part in leaves)


def snippet(root: Part) -> str:
    """The beginning of the text, spaces collapsed, escaped for HTML as Gmail does."""
    text = " ".join(body_text(root)[: SNIPPET_LENGTH * 20].split())
    return html.escape(text[:SNIPPET_LENGTH]).replace("&#x27;", "&#39;")


def has_attachment(root: Part) -> bool:
    """What `has:attachment` looks for: a part with a filename."""
    return any(part.filename for part in root.walk())
