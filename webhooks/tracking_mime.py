"""The HTML part of a mail, found in its bytes and put back, so that every other byte stays as it is.

Pure. `email` would write the whole message anew; here only the part's body is replaced, and its
Content-Transfer-Encoding if the new body needs another.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import policy
from email.message import Message
from email.parser import BytesHeaderParser

MOST_PARTS, DEEPEST = 200, 10
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_CTE = re.compile(rb"(?im)^content-transfer-encoding:[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*(\r?\n|\Z)")
_LONGEST_LINE = 998  # RFC 5322 §2.1.1


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is HTML: where it stands in the message, and what it says."""

    begins: int  #: its headers
    start: int  #: its body
    end: int
    encoding: str
    charset: str
    html: str


def html_part(raw: bytes) -> Part | None:
    """The first HTML of a mail that is no file; None if there is none, or none that can be read for certain."""
    for begins, start, end, headers in _parts(raw, 0, len(raw), 0):
        if headers.get_content_type() != "text/html" or headers.get_content_disposition() == "attachment":
            continue
        if headers.get_filename() is None:
            return _read(raw, begins, start, end, headers)
    return None


def _parts(raw: bytes, begins: int, end: int, depth: int) -> Iterator[tuple[int, int, int, Message]]:
    """The leaves of a message or a part: where headers and body stand. Attached messages are not looked into."""
    blank = _BLANK_LINE.search(raw, begins, end)
    start = blank.end() if blank else end
    if raw[begins : begins + 2] == b"\r\n":
        start = begins + 2
    headers = BytesHeaderParser(policy=policy.compat32).parsebytes(raw[begins:start])
    boundary = headers.get_boundary()
    if headers.get_content_maintype() != "multipart" or boundary is None:
        yield begins, start, end, headers
    elif depth < DEEPEST:
        for first, last in _between(raw, start, end, boundary):
            yield from _parts(raw, first, last, depth + 1)


def _between(raw: bytes, start: int, end: int, boundary: str) -> Iterator[tuple[int, int]]:
    """What stands between a multipart's boundaries (RFC 2046 §5.1.1); the line end before is its own."""
    mark = re.compile(
        rb"(?:\A|\r?\n)--" + re.escape(boundary.encode("ascii", "surrogateescape")) + rb"(--)?[ \t]*(?:\r?\n|\Z)"
    )
    position: int | None = None
    # A line end belongs to two boundaries where a part is empty, so the search goes on before it.
    at, count = max(start - 2, 0), 0
    while count < MOST_PARTS and (found := mark.search(raw, at, end)) is not None:
        if position is not None:
            yield position, max(found.start(), position)
        if found[1]:
            return
        position, count = found.end(), count + 1
        at = max(found.end() - 2, found.start() + 3)


def _read(raw: bytes, begins: int, start: int, end: int, headers: Message) -> Part | None:
    encoding = str(headers.get("Content-Transfer-Encoding", "7bit")).strip().lower()
    charset = str(headers.get_content_charset("us-ascii"))
    body = raw[start:end]
    try:
        if encoding == "base64":
            body = binascii.a2b_base64(body)
        elif encoding == "quoted-printable":
            body = binascii.a2b_qp(body)
        elif encoding not in ("7bit", "8bit", "binary"):
            return None
        return Part(begins, start, end, encoding, charset, body.decode(charset))
    except (binascii.Error, UnicodeError, LookupError):
        return None


def replaced(raw: bytes, part: Part, html: str) -> bytes:
    """The message with other HTML in that part."""
    body = html.encode(part.charset)
    encoding = part.encoding
    if encoding not in ("base64", "quoted-printable") and not (_fits(body) and _may_stand(body, encoding)):
        encoding = "quoted-printable"
    headers = raw[part.begins : part.start]
    if encoding != part.encoding:
        headers = _CTE.sub(b"", headers)
        ending = b"\r\n" if b"\r\n" in headers else b"\n"
        headers = b"Content-Transfer-Encoding: " + encoding.encode() + ending + headers
    return raw[: part.begins] + headers + _encoded(body, encoding) + raw[part.end :]


def _may_stand(body: bytes, encoding: str) -> bool:
    """Whether these bytes may be written as they are (RFC 2045 §2.7)."""
    return encoding != "7bit" or body.isascii()


def _fits(body: bytes) -> bool:
    return all(len(line) <= _LONGEST_LINE for line in body.splitlines())


def _encoded(body: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        lines = [binascii.b2a_base64(body[at : at + 57], newline=False) for at in range(0, len(body), 57)]
        return b"\r\n".join(lines) + b"\r\n"
    return quoted_printable(body) if encoding == "quoted-printable" else body


def quoted_printable(body: bytes) -> bytes:
    """RFC 2045 §6.7. Line by line: Python's guesses the text's line end from its first."""
    lines = [binascii.b2a_qp(line, istext=False) for line in body.split(b"\r\n")]
    return b"\r\n".join(re.sub(rb"(?<!\r)\n", b"\r\n", line) for line in lines)
