"""The tree of parts in a Gmail payload: walked, its bodies read, its attachments listed.

Pure. Gmail's tree (https://developers.google.com/gmail/api/reference/rest/v1/users.messages#MessagePart) has
transfer encodings already undone and bodies in base64url. The walk is iterative, and bounded in depth, in the
number of parts and in the bytes it decodes, so that no tree, not even one with a circle in it, takes long.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gmail_sync.mime_headers import Headers, parameter, read_headers
from tracker.charsets import clean, clean_line, decode_base64, decode_bytes, decode_words

MAX_DEPTH = 50
MAX_PARTS = 1_000
#: Bytes of text decoded from one message, all parts together.
MAX_TEXT_BYTES = 8 * 1024 * 1024
_MAX_PART_BYTES = 3 * 1024 * 1024
_MAX_CALENDARS = 10
_MAX_CALENDAR = 256 * 1024
_MAX_FILENAME = 255

_MIME_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100}")
_CHARSET = re.compile(r"""charset\*?\s*=\s*["']?([^\s"';]+)""", re.IGNORECASE)
#: Text that isn't there to be read as the message.
_OTHER_TEXT = frozenset(
    (
        "text/rfc822-headers",
        "text/x-amp-html",
        "text/vcard",
        "text/x-vcard",
        "text/directory",
        "text/css",
        "text/csv",
    )
)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is kept beside the text.

    part_id: its place in the tree, as Gmail numbers it.
    attachment_id: what `messages.attachments.get` asks for; None when the content came with the message.
        Gmail gives another one at every reading: use it soon, keep `part_id`.
    filename: decoded, without folders; "" when the sender gave none.
    size: bytes after decoding.
    content_id: what "cid:" addresses in the HTML point to, without <>.
    inline: meant to be shown within the text.
    """

    part_id: str
    attachment_id: str | None
    filename: str
    mime_type: str
    size: int
    content_id: str | None
    inline: bool


@dataclass(frozen=True, slots=True)
class TextPart:
    """A part of the text, and its place: the outermost multipart/alternative and which child of that."""

    text: str
    is_html: bool
    unit: int | None
    branch: int


@dataclass(slots=True)
class Contents:
    """What a walk brings home."""

    headers: Headers
    mime_type: str
    texts: list[TextPart] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    calendars: list[str] = field(default_factory=list)
    bytes_left: int = MAX_TEXT_BYTES


@dataclass(frozen=True, slots=True)
class _Place:
    """A part yet to be looked at, and where it stands."""

    part: object
    depth: int
    unit: int | None = None
    branch: int = 0
    in_related: bool = False
    is_root: bool = False


def read_tree(payload: Mapping[str, object], defects: list[str]) -> Contents:
    """Walk the tree from its root. What can't be read is noted in `defects`, in words."""
    contents = Contents(
        read_headers(payload.get("headers"), defects), _mime_type(payload.get("mimeType"), "text/plain")
    )
    stack = [_Place(payload, 0, is_root=True)]
    seen = 0
    while stack:
        place = stack.pop()
        seen += 1
        if not isinstance(place.part, Mapping):
            _note(defects, "a part is not an object")
        elif seen > MAX_PARTS:
            _note(defects, f"parts beyond the first {MAX_PARTS} were left out")
            break
        elif children := _children(place, defects):
            stack += reversed(_places(place, children, seen))
        else:
            _read_leaf(contents, place, place.part, defects)
    return contents


def _children(place: _Place, defects: list[str]) -> list[object]:
    """The parts below, unless they belong to an attached message, which keeps its own."""
    assert isinstance(place.part, Mapping)
    parts = place.part.get("parts")
    if not parts or _mime_type(place.part.get("mimeType"), "").startswith("message/"):
        return []
    if not isinstance(parts, list):
        _note(defects, "the parts of a part are not a list")
        return []
    if place.depth >= MAX_DEPTH:
        _note(defects, f"parts nested more than {MAX_DEPTH} deep were left out")
        return []
    return parts[: MAX_PARTS + 1]


def _places(parent: _Place, children: list[object], number: int) -> list[_Place]:
    assert isinstance(parent.part, Mapping)
    mime_type = _mime_type(parent.part.get("mimeType"), "")
    in_related = parent.in_related or mime_type == "multipart/related"
    if parent.unit is None and mime_type == "multipart/alternative":
        return [_Place(part, parent.depth + 1, number, branch, in_related) for branch, part in enumerate(children)]
    return [_Place(part, parent.depth + 1, parent.unit, parent.branch, in_related) for part in children]


def _read_leaf(contents: Contents, place: _Place, part: Mapping[str, object], defects: list[str]) -> None:
    headers = contents.headers if place.is_root else read_headers(part.get("headers"), defects)
    raw_body = part.get("body")
    body: Mapping[str, object] = raw_body if isinstance(raw_body, Mapping) else {}
    mime_type = (
        contents.mime_type if place.is_root else _mime_type(part.get("mimeType"), "application/octet-stream")
    )
    if mime_type.startswith("multipart/"):
        if not body.get("data"):
            return
        _note(defects, "a multipart without parts was read as text")
        mime_type = "text/plain"
    disposition = (headers.first("content-disposition") or "").strip().lower()
    filename = _filename(part, headers)
    is_attached = disposition.startswith("attachment") or (bool(filename) and not place.is_root)
    if mime_type == "text/calendar" and body.get("data") and len(contents.calendars) < _MAX_CALENDARS:
        contents.calendars.append(_text(contents, body, headers, defects)[:_MAX_CALENDAR])
        if not filename:
            return
    elif (
        mime_type.startswith("text/")
        and not is_attached
        and mime_type not in _OTHER_TEXT
        and "attachmentId" not in body
    ):
        _add_text(contents, place, _text(contents, body, headers, defects), mime_type)
        return
    attachment = _attachment(
        part, body, headers, filename, mime_type, inline=_is_inline(disposition, headers, place)
    )
    if attachment.filename or attachment.attachment_id or attachment.size or body.get("data"):
        contents.attachments.append(attachment)
    if attachment.attachment_id and not is_attached and mime_type in ("text/plain", "text/html"):
        _note(defects, "Gmail keeps a text of this message apart, as an attachment")


def _add_text(contents: Contents, place: _Place, text: str, mime_type: str) -> None:
    if text:
        contents.texts.append(TextPart(text, mime_type == "text/html", place.unit, place.branch))


def _text(contents: Contents, body: Mapping[str, object], headers: Headers, defects: list[str]) -> str:
    """The text of a body. The budget of the message is shared by all of its parts."""
    data = body.get("data")
    if not data:
        return ""
    if not isinstance(data, str):
        _note(defects, "the data of a body are not a string")
        return ""
    limit = min(_MAX_PART_BYTES, contents.bytes_left)
    if len(data) > limit * 4 // 3 + 4:
        _note(defects, f"a text was cut at {limit} bytes")
        data = data[: limit * 4 // 3 // 4 * 4]
    raw = decode_base64(data.encode("ascii", "ignore"))
    contents.bytes_left -= len(raw)
    if not raw and data.strip():
        _note(defects, "the data of a body are not base64url")
    charset = _CHARSET.search(headers.first("content-type") or "")
    text, defect = decode_bytes(raw, charset[1].rpartition("''")[2] if charset else None)
    if defect:
        _note(defects, f"a text is {defect}" if defect.startswith("not ") else f"a text has {defect}")
    return clean(text).replace("\r\n", "\n").replace("\r", "\n")


def _attachment(
    part: Mapping[str, object],
    body: Mapping[str, object],
    headers: Headers,
    filename: str,
    mime_type: str,
    *,
    inline: bool,
) -> Attachment:
    part_id, attachment_id, size = part.get("partId"), body.get("attachmentId"), body.get("size")
    content_id = "".join((headers.first("content-id") or "").strip().strip("<>").split())
    return Attachment(
        part_id=clean(part_id)[:200] if isinstance(part_id, str) else "",
        attachment_id=clean(attachment_id)[:4_096] if isinstance(attachment_id, str) and attachment_id else None,
        filename=filename,
        mime_type=mime_type,
        size=size if isinstance(size, int) and 0 <= size < 2**53 else 0,
        content_id=content_id[:998] or None,
        inline=inline,
    )


def _is_inline(disposition: str, headers: Headers, place: _Place) -> bool:
    if disposition.startswith("attachment"):
        return False
    return disposition.startswith("inline") or (place.in_related and "content-id" in headers)


def _filename(part: Mapping[str, object], headers: Headers) -> str:
    """The file's name as the sender gave it, without folders (RFC 2183 2.3)."""
    given = part.get("filename")
    name = decode_words(given) if isinstance(given, str) else ""
    if not name:
        name = parameter(headers.first("content-disposition"), "filename") or ""
    if not name:
        name = parameter(headers.first("content-type"), "name") or ""
    name = clean_line(name[:4_096].replace("\\", "/").rpartition("/")[2]).strip(". ")
    if len(name) <= _MAX_FILENAME:
        return name
    stem, dot, extension = name.rpartition(".")
    return stem[: _MAX_FILENAME - 20] + dot + extension[:19] if dot else name[:_MAX_FILENAME]


def _mime_type(value: object, default: str) -> str:
    if not isinstance(value, str):
        return default
    mime_type = value[:300].partition(";")[0].strip().lower()
    return mime_type if _MIME_TYPE.fullmatch(mime_type) else default


def _note(defects: list[str], defect: str) -> None:
    if defect not in defects and len(defects) < 50:
        defects.append(defect)
