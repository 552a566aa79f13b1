"""Reading the header block of a raw message, whatever its bytes, and writing single headers.

Source: RFC 5322 §2.2 (fields, folding), RFC 2047 (encoded words).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.header import decode_header
from email.utils import getaddresses, parsedate_to_datetime
from functools import lru_cache

_NAME = re.compile(rb"^([!-9;-~]+)[ \t]*:[ \t]*(.*)$", re.DOTALL)
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_MESSAGE_ID = re.compile(r"<([^<>\s]+)>")

Header = tuple[str, str]


def text_of(data: bytes) -> str:
    """Bytes as text: UTF-8 where they are, else Latin-1, which takes any byte."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def header_end(raw: bytes) -> int:
    """Where the header block ends (just before the empty line), in bytes."""
    if raw[:1] == b"\n" or raw[:2] == b"\r\n":
        return 0
    ends = [end for end in (raw.find(mark) for mark in (b"\r\n\r\n", b"\n\n", b"\n\r\n")) if end >= 0]
    return min(ends, default=len(raw))


def raw_fields(raw: bytes) -> list[bytes]:
    """The header's fields as they stand, each with its folded lines, without its line end."""
    fields: list[list[bytes]] = []
    for line in raw[: header_end(raw)].split(b"\n"):
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1].append(line)
        else:
            fields.append([line])
    return [b"\n".join(lines).rstrip(b"\r") for lines in fields]


def read_headers(raw: bytes) -> list[Header]:
    """Name and decoded value of each field of the header block; lines that are no field are skipped."""
    return list(_read(raw[: header_end(raw)]))


@lru_cache(maxsize=64)
def _read(block: bytes) -> tuple[Header, ...]:
    found = []
    for field in raw_fields(block):
        match = _NAME.match(field)
        if match:
            found.append((match[1].decode("ascii"), decoded(text_of(match[2]))))
    return tuple(found)


def decoded(value: str) -> str:
    """A header's value unfolded and with its encoded words read, as Gmail's `full` format shows it."""
    if "\n" in value:
        value = _FOLD.sub("", value)
    value = value.replace("\x00", "").strip()
    if "=?" not in value:
        return value
    try:
        words = decode_header(value)
        text = "".join(word if isinstance(word, str) else _piece(word, charset) for word, charset in words)
        return text.encode("utf-8", "replace").decode()  # some charsets decode to lone surrogates
    except Exception:
        return value


def _piece(piece: bytes, charset: str | None) -> str:
    try:
        return piece.decode(charset or "utf-8")
    except (LookupError, UnicodeDecodeError):
        return text_of(piece)


def first(headers: list[Header], name: str) -> str:
    """The value of the first header of that name, or ''."""
    name = name.lower()
    return next((value for key, value in headers if key.lower() == name), "")


def every(headers: list[Header], name: str) -> str:
    """The values of all headers of that name, joined by commas."""
    name = name.lower()
    return ", ".join(value for key, value in headers if key.lower() == name)


def addresses(value: str) -> list[str]:
    """The addresses in a header's value, lower case, in their order, each once."""
    pairs = getaddresses([value])
    return list(dict.fromkeys(address.strip().lower() for _, address in pairs if "@" in address))


def message_ids(value: str) -> list[str]:
    """The Message-IDs in a value, without their angle brackets."""
    return _MESSAGE_ID.findall(value)


def date_of(value: str) -> datetime | None:
    """The instant of a Date header (RFC 5322 §3.3) in UTC, or None where it can't be read."""
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def without(raw: bytes, *names: str) -> bytes:
    """The message without its headers of these names."""
    unwanted = {name.lower().encode() for name in names}
    end = header_end(raw)
    newline = b"\r\n" if b"\r\n" in raw[: end + 2] else b"\n"
    kept = [field for field in raw_fields(raw) if field.split(b":")[0].strip().lower() not in unwanted]
    return newline.join(kept) + raw[end:] if kept else raw[end:].removeprefix(newline)


def prepend(raw: bytes, headers: list[Header]) -> bytes:
    """The message with these headers before its own."""
    newline = b"\r\n" if b"\r\n" in raw[: header_end(raw) + 2] or b"\n" not in raw else b"\n"
    lines = [f"{name}: {value}".encode() for name, value in headers]
    return b"".join(line + newline for line in lines) + raw
